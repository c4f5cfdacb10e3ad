import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { formatTable } from '../cli/table.js';
import { SiteConnection } from '../providers/simulated-site/connection.js';
import {
  changedPieceAt,
  changedPieceBytes,
  changedPieceCount,
  mib,
  peakMemoryMib,
  prepareSite,
  writeRaw,
} from './image-site.js';
import { eventually, startSystem, type UnderstudySystem } from '../test/support/system/understudy-system.js';

const run = promisify(execFile);
/** A first replication takes minutes on a slow machine. */
const timeoutMs = 30 * 60_000;

interface Measured extends Record<string, string | number> {
  what: string;
  s: number;
  'MiB on the wire': number;
}

/**
 * A 2 GiB image, half zeros: from its VHDX at the source to the first recovery point, then a cycle after a scattered
 * change of 1%. Beside it, in the same run and into the same Azurite, azcopy (where AZCOPY names its binary), which
 * knows only the whole image.
 */
export async function benchReplication(print: (line: string) => void = console.log): Promise<void> {
  const preparing = await mkdtemp(join(tmpdir(), 'understudy-bench-'));
  const siteFolder = join(preparing, 'site');
  await prepareSite(siteFolder);
  const system = await startSystem({ speed: 1, siteFolder });
  try {
    const rows = await measureUs(system);
    const azcopy = process.env.AZCOPY;
    if (azcopy) rows.push(...(await measureAzcopy(azcopy, system, siteFolder, preparing)));
    else print('azcopy is not compared: set AZCOPY to its binary');
    print(formatTable(rows, ['what', 's', 'MiB on the wire']));
    const [ours, theirs] = [rows[0], rows.find(({ what }) => what.startsWith('azcopy, whole'))];
    if (ours && theirs) print(`whole image, time: ours / azcopy = ${(ours.s / theirs.s).toFixed(2)}`);
    const [delta, again] = [rows[1], rows.find(({ what }) => what.startsWith('azcopy, after'))];
    if (delta && again) print(`after 1% changed, time: ours / azcopy = ${(delta.s / again.s).toFixed(2)}`);
    print(`relay: ${await peakMemoryMib(system.environment.processes.relay.pid)} MiB RSS at its peak`);
  } finally {
    await system.stop();
    await rm(preparing, { recursive: true, force: true });
  }
}

async function measureUs(system: UnderstudySystem): Promise<Measured[]> {
  await system.site('guest', '--vm', 'web-01', '--rate', '1', '--kind', 'idle');
  const startedAt = performance.now();
  await system.protectVm('web-01', 30);
  await eventually('a first recovery point', timeoutMs, async () =>
    (await system.points('web-01')).length > 0 ? true : undefined,
  );
  const firstSeconds = (performance.now() - startedAt) / 1000;
  const first = await system.item('web-01');
  const sentFirst = sum(first.disks.map(({ bytesReceived }) => bytesReceived));

  const site = new SiteConnection(system.siteFolder);
  for (let piece = 0; piece < changedPieceCount; piece++) {
    await site.call('write', {
      vm: 'web-01',
      diskIndex: 0,
      offsetBytes: changedPieceAt(piece),
      dataBase64: randomBytes(changedPieceBytes).toString('base64'),
    });
  }
  const written = (await system.item('web-01')).replication.receivedCycle;
  // The cycle that holds the change may be the open one or the next: the change has arrived when the bytes have.
  const expected = changedPieceCount * changedPieceBytes;
  const after = await eventually('the change in a recovery point', timeoutMs, async () => {
    const item = await system.item('web-01');
    const sent = sum(item.disks.map(({ bytesReceived }) => bytesReceived)) - sentFirst;
    return sent >= expected &&
      item.replication.appliedCycle === item.replication.receivedCycle &&
      item.replication.appliedCycle > written
      ? item
      : undefined;
  });
  const { receivedTakenAt, appliedAt } = after.replication;
  const point = (await system.points('web-01')).at(-1);
  const deltaSeconds =
    point && appliedAt ? (Date.parse(appliedAt) - Date.parse(receivedTakenAt ?? point.takenAt)) / 1000 : Number.NaN;
  return [
    {
      what: 'Understudy, VHDX to first recovery point',
      s: round(firstSeconds),
      'MiB on the wire': round(sentFirst / mib),
    },
    {
      what: 'Understudy, log switch to recovery point after 1% changed',
      s: round(deltaSeconds),
      'MiB on the wire': round((sum(after.disks.map(({ bytesReceived }) => bytesReceived)) - sentFirst) / mib),
    },
  ];
}

/** azcopy takes a raw file; making it is not counted. */
async function measureAzcopy(
  azcopy: string,
  system: UnderstudySystem,
  siteFolder: string,
  folder: string,
): Promise<Measured[]> {
  const raw = join(folder, 'image.vhd');
  const item = await system.item('web-01');
  await writeRaw(join(siteFolder, 'web-01', `${item.disks[0]?.name}.vhdx`), raw);
  const { url } = await system.transfers.grantUpload(item.target.storageAccountId, 'bench/azcopy.vhd', 3600);
  const rows: Measured[] = [];
  for (const what of ['azcopy, whole image', 'azcopy, after 1% changed (whole again)']) {
    const startedAt = performance.now();
    const { stdout } = await run(
      azcopy,
      [
        'copy',
        raw,
        url,
        '--from-to=LocalBlob',
        '--blob-type=PageBlob',
        '--overwrite=true',
        '--check-length=false',
        '--output-type=text',
      ],
      {
        env: {
          ...process.env,
          AZCOPY_DISABLE_SYSLOG: 'true',
          AZCOPY_LOG_LOCATION: folder,
          AZCOPY_JOB_PLAN_LOCATION: folder,
        },
        maxBuffer: 64 * mib,
      },
    );
    const sent = Number(
      /(?:Total Number of Bytes Transferred|TotalBytesTransferred):\s*(\d+)/.exec(stdout)?.[1] ?? Number.NaN,
    );
    rows.push({ what, s: round((performance.now() - startedAt) / 1000), 'MiB on the wire': round(sent / mib) });
  }
  return rows;
}

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
const round = (value: number): number => Math.round(value * 10) / 10;
