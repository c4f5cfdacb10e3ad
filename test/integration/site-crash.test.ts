import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test, type TestContext } from 'node:test';
import { asVmId, type DiskId, type VmId } from '../../core/domain/ids.js';
import type { HypervisorHost } from '../../core/ports/hypervisor-host.js';
import { openSimulatedSite } from '../../providers/simulated-site/client.js';
import { SiteConnection } from '../../providers/simulated-site/connection.js';
import { checkOrderedHistory, type ReadDisk } from '../../providers/simulated-site/guests/ordered-records.js';
import { openFileReader } from '../../providers/local-files/random-access-file.js';
import { compareImages, judge } from '../support/judges.js';
import { applyLog, assertSameBytes, copyToRaw } from '../support/site/disk-images.js';
import { spawnSite } from '../support/site/site-process.js';
import { temporaryFolder } from '../support/site/test-site.js';

const protectionId = 'f1d0c6a0-0000-4000-8000-000000000001';
const seed = ['--seed-disk-size', '16M', '--journal'];
const limit = { timeout: 60_000 };
const sampleBytes = 64 * 1024;

interface Subject {
  folder: string;
  host: HypervisorHost;
  site: SiteConnection;
  vmId: VmId;
  disks: { diskId: DiskId; name: string; sizeBytes: number }[];
}

async function openSubject(folder: string): Promise<Subject> {
  const siteFolder = join(folder, 'site');
  const host = openSimulatedSite({ siteFolder });
  const vm = (await host.inventory()).vms.find(({ name }) => name === 'sql-01');
  assert.ok(vm);
  const disks = vm.disks.map(({ diskId, name, sizeBytes }) => ({ diskId: diskId as DiskId, name, sizeBytes }));
  return { folder, host, site: new SiteConnection(siteFolder), vmId: asVmId(vm.vmId), disks };
}

/** What the guest sees of the disks of sql-01, read through the site. */
const guestReaders = ({ site, disks }: Subject): ReadDisk[] =>
  disks.map((_, diskIndex) => async (offsetBytes, lengthBytes) => {
    const { dataBase64 } = await site.call('read', { vm: 'sql-01', diskIndex, offsetBytes, lengthBytes });
    return Buffer.from(dataBase64, 'base64');
  });

const layoutOf = ({ vmId, disks }: Subject) => ({
  diskSizes: disks.map((disk) => disk.sizeBytes),
  tag: Number.parseInt(vmId.slice(0, 8), 16),
});

test(
  'acknowledged writes survive a killed site, its checkpoint stays as it was, and replication asks for a resync',
  limit,
  async (t) => {
    const folder = await temporaryFolder(t);
    let process = await spawnSite(t, join(folder, 'site'), seed);
    const subject = await openSubject(folder);
    const { host, site, vmId, disks } = subject;
    await host.createReplicationRelationship(vmId, protectionId);
    await site.call('guest', { vm: 'sql-01', writesPerSecond: 400 });

    for (let epoch = 1; epoch <= 3; epoch += 1) {
      const { checkpointId } = await host.startInitialReplication(vmId, { protectionId, epoch });
      const base = disks.map(({ name }) => join(folder, `${name}.base.raw`));
      await copyCheckpoint(subject, checkpointId, base);
      const closed = [];
      for (let cycle = 1; cycle <= 2; cycle += 1) {
        closed.push(await host.switchLogs(vmId, { protectionId, cycle, consistency: 'crashConsistent' }));
      }
      // Half of the rounds die while the checkpoint's side file is being merged, the others with it in use.
      const merging = epoch % 2 === 0;
      const release = merging ? host.releaseCheckpoint(vmId, checkpointId).catch(() => undefined) : Promise.resolve();
      const acknowledged = writeSamples(site, epoch);
      await sleep(20 + Math.random() * 250);
      await process.kill();
      const samples = await acknowledged;
      await release;

      await assert.rejects(host.tracking(vmId, protectionId), (error: unknown) => hasCode(error, 'US5001'));
      process = await spawnSite(t, join(folder, 'site'), seed);
      const status = await host.tracking(vmId, protectionId);
      assert.ok(status.kind === 'resyncRequired' && status.reason === 'hostCrash', JSON.stringify(status));
      assert.match(status.message, /was not closed/);

      for (const { offsetBytes, fill } of samples) {
        const { dataBase64 } = await site.call('read', {
          vm: 'sql-01',
          diskIndex: 0,
          offsetBytes,
          lengthBytes: sampleBytes,
        });
        assert.ok(
          Buffer.from(dataBase64, 'base64').equals(Buffer.alloc(sampleBytes, fill)),
          `write at ${offsetBytes} lost`,
        );
      }
      await site.call('guest', { vm: 'sql-01', writesPerSecond: 0 });
      const history = await checkOrderedHistory(layoutOf(subject), guestReaders(subject));
      assert.equal(history.kind, 'prefix', JSON.stringify(history));
      await site.call('guest', { vm: 'sql-01', writesPerSecond: 400 });

      assert.deepEqual(await host.closedCycles(vmId, protectionId), closed, 'committed cycles changed');
      if (!merging) {
        const again = disks.map(({ name }) => join(folder, `${name}.again.raw`));
        await copyCheckpoint(subject, checkpointId, again);
        for (const [index, path] of base.entries()) await assertSameBytes(path, again[index] ?? '');
      }
      await assertCyclesEqualJournal(t, subject, base, closed.length);
    }
    assert.equal(await process.stop(), 0);
  },
);

test(
  'a site stopped by SIGTERM goes on tracking at its next start, and every cycle equals the journal',
  limit,
  async (t) => {
    const folder = await temporaryFolder(t);
    let process = await spawnSite(t, join(folder, 'site'), seed);
    const subject = await openSubject(folder);
    const { host, site, vmId, disks } = subject;
    await host.createReplicationRelationship(vmId, protectionId);
    await site.call('guest', { vm: 'sql-01', writesPerSecond: 200 });
    const { checkpointId } = await host.startInitialReplication(vmId, { protectionId, epoch: 1 });
    const base = disks.map(({ name }) => join(folder, `${name}.base.raw`));
    let cycle = 0;
    const close = (consistency: 'crashConsistent' | 'applicationConsistent') =>
      host.switchLogs(vmId, { protectionId, cycle: (cycle += 1), consistency });

    await moreWrites(site);
    await close('crashConsistent');
    assert.equal(await process.stop(), 0);
    process = await spawnSite(t, join(folder, 'site'), seed);
    await copyCheckpoint(subject, checkpointId, base);
    await moreWrites(site);
    assert.equal((await close('applicationConsistent')).consistency, 'applicationConsistent');
    const release = host.releaseCheckpoint(vmId, checkpointId);
    await moreWrites(site);
    await close('crashConsistent');
    await release;
    assert.equal(await process.stop(), 0);
    process = await spawnSite(t, join(folder, 'site'), seed);
    await moreWrites(site);
    await close('crashConsistent');
    const status = await host.tracking(vmId, protectionId);
    assert.ok(status.kind === 'tracking' && status.lastClosedCycle === cycle, JSON.stringify(status));

    // Logs that nobody discards grow too large for an item that goes on writing, and go.
    await site.call('guest', { vm: 'sql-01', writesPerSecond: 0 });
    const frozen = await assertCyclesEqualJournal(t, subject, base, cycle);
    assert.deepEqual(frozen, [false, true, false, false]);
    assert.equal(await process.stop(), 0);
  },
);

test('two processes cannot serve one folder, and a dead one does not bar the next', limit, async (t) => {
  const folder = join(await temporaryFolder(t), 'site');
  const process = await spawnSite(t, folder, ['--seed-disk-size', '1M', '--seed-vms', '1']);
  await assert.rejects(spawnSite(t, folder), /US5002/);
  await process.kill();
  const next = await spawnSite(t, folder);
  assert.equal(await next.stop(), 0);
});

async function copyCheckpoint({ host, vmId, disks }: Subject, checkpointId: string, paths: readonly string[]) {
  for (const [index, { diskId }] of disks.entries()) {
    const disk = await host.openCheckpointDisk(vmId, checkpointId, diskId);
    try {
      await copyToRaw(disk, paths[index] ?? '');
    } finally {
      await disk.close();
    }
  }
}

/**
 * Base plus closed logs in order is the journal's disk of each cycle, and an ordered prefix over both disks. Tells for each
 * cycle whether the guest was frozen at it.
 */
async function assertCyclesEqualJournal(
  t: TestContext,
  subject: Subject,
  images: readonly string[],
  lastCycle: number,
): Promise<boolean[]> {
  const { folder, host, site, vmId, disks } = subject;
  const frozen: boolean[] = [];
  for (let cycle = 1; cycle <= lastCycle; cycle += 1) {
    for (const [index, { diskId }] of disks.entries()) {
      const log = await host.openLog(vmId, cycle, diskId);
      try {
        await applyLog(log, images[index] ?? '');
      } finally {
        await log.close();
      }
    }
    const { disks: rebuilt } = await site.call('diskAt', { vm: 'sql-01', cycle, outFolder: join(folder, 'out') });
    for (const [index, image] of images.entries()) await assertSameBytes(image, rebuilt[index]?.path ?? '');
    await judge(t, 'qemu-img', async () => {
      for (const [index, path] of images.entries()) {
        await compareImages({ path, format: 'raw' }, { path: rebuilt[index]?.path ?? '', format: 'raw' });
      }
    });
    const files = await Promise.all(images.map(openFileReader));
    const readers = files.map((file) => (offset: number, length: number) => file.read(offset, length));
    const history = await checkOrderedHistory(layoutOf(subject), readers);
    for (const file of files) await file.close();
    assert.ok(history.kind === 'prefix', `cycle ${cycle}: ${JSON.stringify(history)}`);
    assert.ok(history.lastSequence > 0);
    frozen.push(history.frozenAt === history.lastSequence);
  }
  return frozen;
}

/** Resolves when the guest has written some more records. */
async function moreWrites(site: SiteConnection): Promise<void> {
  const done = async () => (await site.call('list', {})).vms.find(({ name }) => name === 'sql-01')?.writesDone ?? 0;
  const before = await done();
  while ((await done()) < before + 3) await sleep(10);
}

/** Writes of our own at the end of the first disk until the site dies; gives those that were acknowledged. */
async function writeSamples(site: SiteConnection, round: number): Promise<{ offsetBytes: number; fill: number }[]> {
  const acknowledged: { offsetBytes: number; fill: number }[] = [];
  for (let index = 0; index < 60; index += 1) {
    const offsetBytes = 12 * 1024 * 1024 + index * sampleBytes;
    const fill = (round * 60 + index) % 255;
    try {
      const dataBase64 = Buffer.alloc(sampleBytes, fill).toString('base64');
      await site.call('write', { vm: 'sql-01', diskIndex: 0, offsetBytes, dataBase64 });
    } catch {
      return acknowledged;
    }
    acknowledged.push({ offsetBytes, fill });
  }
  return acknowledged;
}

const hasCode = (error: unknown, code: string) => error instanceof Error && 'code' in error && error.code === code;
