import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { formatTable } from '../cli/table.js';
import { SiteConnection } from '../providers/simulated-site/connection.js';
import { eventually, startSystem, type UnderstudySystem } from '../test/support/system/understudy-system.js';
import {
  changedPieceAt,
  changedPieceBytes,
  changedPieceCount,
  mib,
  peakMemoryMib,
  prepareSite,
  writeRaw,
} from './image-site.js';

const run = promisify(execFile);
const timeoutMs = 30 * 60_000;
const vm = 'web-01';

interface Measured extends Record<string, string | number> {
  what: string;
  s: number;
  'MiB up': number;
  'MiB down': number;
}

/**
 * A 2 GiB image, half zeros, of which 1% was changed all over it behind the tracker's back: from the request to resynchronize
 * to the first recovery point, every chunk compared. Beside it, in the same run, rsync between two local files of the same
 * content, with its default block size. Then once more with the site's record of changed chunks, and once with nothing taken
 * on trust, as an operator asks for it: the replica is read too, instead of believing the checksums kept of it.
 */
export async function benchResync(print: (line: string) => void = console.log): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-bench-'));
  const siteFolder = join(folder, 'site');
  await prepareSite(siteFolder);
  const system = await startSystem({ speed: 1, siteFolder, journal: false });
  try {
    await system.site('guest', '--vm', vm, '--rate', '1', '--kind', 'idle');
    await system.protectVm(vm, 300);
    await eventually('a first recovery point', timeoutMs, async () =>
      (await system.points(vm)).length > 0 ? true : undefined,
    );
    await eventually('the end of initial replication', timeoutMs, async () =>
      (await system.item(vm)).state === 'Protected' ? true : undefined,
    );
    const disk = join(siteFolder, vm, `${(await system.item(vm)).disks[0]?.name}.vhdx`);
    await system.site('power', 'off', '--vm', vm);
    await writeRaw(disk, join(folder, 'before.raw'));
    await changeOffline(system);
    await writeRaw(disk, join(folder, 'after.raw'));
    const rows = [await measureRsync(folder)];
    await system.site('power', 'on', '--vm', vm);
    rows.push(await measureUs(system, 'Understudy, every chunk compared'));
    await changeWhileWaiting(system);
    rows.push(await measureUs(system, 'Understudy, with the record of changed chunks'));
    rows.push(await measureUs(system, 'Understudy, every chunk read on both sides, none changed', { isMarked: false }));
    print(formatTable(rows, ['what', 's', 'MiB up', 'MiB down']));
    const [rsync, ours] = rows;
    if (rsync && ours) {
      print(`time: ours / rsync = ${(ours.s / rsync.s).toFixed(2)}`);
      const bytes = (row: Measured) => row['MiB up'] + row['MiB down'];
      print(`bytes in both directions: ours / rsync = ${(bytes(ours) / bytes(rsync)).toFixed(2)}`);
    }
    print(`relay: ${await peakMemoryMib(system.environment.processes.relay.pid)} MiB RSS at its peak`);
  } finally {
    await system.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function changeOffline(system: UnderstudySystem): Promise<void> {
  const site = new SiteConnection(system.siteFolder);
  for (let piece = 0; piece < changedPieceCount; piece++) {
    const dataBase64 = randomBytes(changedPieceBytes).toString('base64');
    await site.call('offlineWrite', { vm, diskIndex: 0, offsetBytes: changedPieceAt(piece), dataBase64 });
  }
}

/** The same change, while the item waits because a log could not be written: the site goes on noting what changes. */
async function changeWhileWaiting(system: UnderstudySystem): Promise<void> {
  const site = new SiteConnection(system.siteFolder);
  await site.call('addFault', { kind: 'log-write-failure', vm });
  for (let piece = 0; piece < changedPieceCount; piece++) {
    const dataBase64 = randomBytes(changedPieceBytes).toString('base64');
    await site.call('write', { vm, diskIndex: 0, offsetBytes: changedPieceAt(piece), dataBase64 });
  }
  await site.call('clearFaults', {});
}

async function measureUs(
  system: UnderstudySystem,
  what: string,
  { isMarked }: { isMarked: boolean } = { isMarked: true },
): Promise<Measured> {
  const before = await eventually(isMarked ? 'the mark' : 'a healthy item', timeoutMs, async () => {
    const item = await system.item(vm);
    const { resyncRequired, resync } = item.replication;
    return isMarked === (resyncRequired !== undefined) && resync === undefined ? item : undefined;
  });
  const { itemName, fabricName, containerName } = before;
  const sentBefore = sum(before.disks.map(({ bytesReceived }) => bytesReceived));
  const startedAt = performance.now();
  await system.vault.sdk.replicationProtectedItems.beginRepairReplication(
    ...system.vault.scope,
    fabricName,
    containerName,
    itemName,
  );
  const after = await eventually('the resynchronization to end', timeoutMs, async () => {
    const item = await system.item(vm);
    const { phase, epoch, torn } = item.replication;
    return phase === 'delta' && epoch > before.replication.epoch && !torn ? item : undefined;
  });
  const seconds = (performance.now() - startedAt) / 1000;
  const point = (await system.points(vm)).at(-1);
  if (point?.epoch !== after.replication.epoch) throw new Error('the resynchronization made no recovery point');
  const sent = sum(after.disks.map(({ bytesReceived }) => bytesReceived)) - sentBefore;
  const digestBytes = await fetchedDigestBytes(system);
  return { what, s: round(seconds), 'MiB up': round(sent / mib), 'MiB down': round(digestBytes / mib) };
}

/** Checksums that the relay fetched, as its log tells at the end of the last comparison. */
async function fetchedDigestBytes(system: UnderstudySystem): Promise<number> {
  const lines = (await readFile(join(system.folder, 'data', 'relay', 'relay.log'), 'utf8')).split('\n');
  const last = lines.findLast((line) => line.includes('all disks are compared'));
  const { digestBytes } = JSON.parse(last ?? '{}') as { digestBytes?: number };
  return digestBytes ?? Number.NaN;
}

async function measureRsync(folder: string): Promise<Measured> {
  const target = join(folder, 'target.raw');
  await copyFile(join(folder, 'before.raw'), target);
  const startedAt = performance.now();
  const options = ['-I', '--inplace', '--no-whole-file', '--stats'];
  const { stdout } = await run('rsync', [...options, join(folder, 'after.raw'), target]);
  const seconds = (performance.now() - startedAt) / 1000;
  const total = (name: string): number =>
    Number(new RegExp(`Total bytes ${name}: ([\\d,]+)`).exec(stdout)?.[1]?.replaceAll(',', '') ?? Number.NaN);
  return {
    what: `rsync ${options.slice(0, 3).join(' ')}, local files`,
    s: round(seconds),
    'MiB up': round(total('sent') / mib),
    'MiB down': round(total('received') / mib),
  };
}

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
const round = (value: number): number => Math.round(value * 100) / 100;
