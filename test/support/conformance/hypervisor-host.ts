import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { randomBytes } from 'node:crypto';
import { openHrlReader } from '../../../core/dataplane/hrl/reader.js';
import { siteInventory } from '../../../core/domain/site/inventory.js';
import { asDiskId, asVmId, type DiskId, type VmId } from '../../../core/domain/ids.js';
import type { Checkpoint, HypervisorHost } from '../../../core/ports/hypervisor-host.js';
import { assertNoRecord, assertRecordLeadsTo, checkpointImages, wholeDisk } from '../site/checkpoint-images.js';

/** A site with one running VM of two disks (8 MiB or more), whose guest writes only what the test tells it. */
export interface HypervisorHostSubject {
  host: HypervisorHost;
  vmId: VmId;
  write: (diskIndex: number, offsetBytes: number, data: Buffer) => Promise<void>;
}

const protectionId = 'f1d0c6a0-0000-4000-8000-000000000001';
const other = 'f1d0c6a0-0000-4000-8000-000000000002';
const crash = 'crashConsistent' as const;
const code = (wanted: string) => (error: unknown) => error instanceof Error && 'code' in error && error.code === wanted;

/** What every HypervisorHost must keep. */
export function hypervisorHostConformance(
  name: string,
  open: (t: TestContext) => Promise<HypervisorHostSubject>,
): void {
  const started = async (t: TestContext) => {
    const subject = await open(t);
    await subject.host.createReplicationRelationship(subject.vmId, protectionId);
    const checkpoint = await subject.host.startInitialReplication(subject.vmId, { protectionId, epoch: 1 });
    return { ...subject, checkpoint, disks: checkpoint.disks.map((disk) => disk.diskId) };
  };

  test(`${name}: the inventory names clouds, hosts, networks and VMs`, async (t) => {
    const { host, vmId } = await open(t);
    const inventory = siteInventory.parse(await host.inventory());
    const vm = inventory.vms.find((candidate) => candidate.vmId === vmId);
    assert.equal(vm?.disks.length, 2);
    assert.equal(vm.powerState, 'running');
    assert.ok(inventory.clouds.some(({ cloudId }) => cloudId === vm.cloudId));
    assert.ok(inventory.hosts.some(({ hostId }) => hostId === vm.hostId));
    assert.ok(inventory.networks.some(({ networkId }) => networkId === vm.nics[0]?.networkId));
    assert.deepEqual(await host.inventory(), inventory);
  });

  test(`${name}: a VM is replicated under one protection at a time`, async (t) => {
    const { host, vmId } = await open(t);
    await host.createReplicationRelationship(vmId, protectionId);
    await host.createReplicationRelationship(vmId, protectionId);
    await assert.rejects(host.createReplicationRelationship(vmId, other), code('US5010'));
    await host.removeReplicationRelationship(vmId, other);
    await assert.rejects(host.createReplicationRelationship(vmId, other), code('US5010'));
    await host.removeReplicationRelationship(vmId, protectionId);
    await host.removeReplicationRelationship(vmId, protectionId);
    await host.createReplicationRelationship(vmId, other);
  });

  test(`${name}: an unknown VM is refused`, async (t) => {
    const { host } = await open(t);
    const vmId = asVmId('00000000-0000-4000-8000-000000000000');
    await assert.rejects(host.createReplicationRelationship(vmId, protectionId), code('US5005'));
  });

  test(`${name}: a checkpoint shows the disks of its instant while the guest goes on writing`, async (t) => {
    const subject = await open(t);
    const before = randomBytes(8192);
    await subject.write(0, 4096, before);
    const { host, vmId, write, checkpoint, disks } = await startOn(subject);
    await write(0, 4096, randomBytes(8192));
    await write(0, 512 * 1024 + 512, randomBytes(1536));
    await write(1, 0, randomBytes(4096));
    const [first, second] = await Promise.all(
      disks.map((diskId) => host.openCheckpointDisk(vmId, checkpoint.checkpointId, diskId)),
    );
    assert.ok(first && second);
    try {
      assert.equal(first.sizeBytes, checkpoint.disks[0]?.sizeBytes);
      assert.deepEqual(await first.read(4096, 8192), before);
      const image = await wholeDisk(first);
      await write(0, 0, randomBytes(65536));
      assert.ok((await wholeDisk(first)).equals(image), 'the checkpoint moved');
    } finally {
      await first.close();
      await second.close();
    }
  });

  test(`${name}: the same epoch gives the same checkpoint, an earlier one is refused, a later one a new one`, async (t) => {
    const { host, vmId, checkpoint } = await started(t);
    const start = (epoch: number) => host.startInitialReplication(vmId, { protectionId, epoch });
    assert.deepEqual(await start(1), checkpoint);
    const later = await start(3);
    assert.notEqual(later.checkpointId, checkpoint.checkpointId);
    await assert.rejects(start(2), code('US5013'));
    const [disk] = checkpoint.disks;
    assert.ok(disk);
    await assert.rejects(host.openCheckpointDisk(vmId, checkpoint.checkpointId, disk.diskId), code('US5007'));
    await host.releaseCheckpoint(vmId, later.checkpointId);
    await assert.rejects(start(3), code('US5013'));
  });

  test(`${name}: a released checkpoint is gone, and releasing it again is no error`, async (t) => {
    const { host, vmId, write, checkpoint, disks } = await started(t);
    await write(0, 0, randomBytes(4096));
    const [diskId] = disks;
    assert.ok(diskId);
    const open = await host.openCheckpointDisk(vmId, checkpoint.checkpointId, diskId);
    try {
      await host.releaseCheckpoint(vmId, checkpoint.checkpointId);
      await host.releaseCheckpoint(vmId, checkpoint.checkpointId);
      await assert.rejects(open.read(0, 4096), code('US5007'));
    } finally {
      await open.close();
    }
    await assert.rejects(host.openCheckpointDisk(vmId, checkpoint.checkpointId, diskId), code('US5007'));
    const status = await host.tracking(vmId, protectionId);
    assert.ok(status.kind === 'tracking' && status.checkpointId === undefined);
  });

  test(`${name}: closed logs hold exactly the writes since the checkpoint or the last switch, in order`, async (t) => {
    const { host, vmId, write, disks } = await started(t);
    const [a, b, c] = [randomBytes(4096), randomBytes(512), randomBytes(65536)];
    await write(0, 4096, a);
    await write(1, 512, b);
    const first = await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash });
    await write(0, 8192, c);
    await write(0, 4096, b);
    const second = await host.switchLogs(vmId, { protectionId, cycle: 2, consistency: crash });
    const third = await host.switchLogs(vmId, { protectionId, cycle: 3, consistency: crash });

    assert.deepEqual(
      first.logs.map((log) => log.entryCount),
      [1, 1],
    );
    assert.deepEqual(
      second.logs.map((log) => log.entryCount),
      [2, 0],
    );
    assert.deepEqual(
      third.logs.map((log) => log.entryCount),
      [0, 0],
    );
    assert.ok(first.takenAt < second.takenAt && second.takenAt < third.takenAt);
    const [disk0, disk1] = disks;
    assert.ok(disk0 && disk1);
    assert.deepEqual(await readLog(host, vmId, 1, disk0), [{ offsetBytes: 4096, data: a }]);
    assert.deepEqual(await readLog(host, vmId, 1, disk1), [{ offsetBytes: 512, data: b }]);
    assert.deepEqual(await readLog(host, vmId, 2, disk0), [
      { offsetBytes: 8192, data: c },
      { offsetBytes: 4096, data: b },
    ]);
    assert.deepEqual(await host.closedCycles(vmId, protectionId), [first, second, third]);
  });

  test(`${name}: logs of a disk form a chain`, async (t) => {
    const { host, vmId, disks } = await started(t);
    const [diskId] = disks;
    assert.ok(diskId);
    const headers = [];
    for (const cycle of [1, 2]) {
      await host.switchLogs(vmId, { protectionId, cycle, consistency: crash });
      const log = await host.openLog(vmId, cycle, diskId);
      headers.push((await openHrlReader(log)).header);
      await log.close();
    }
    assert.equal(headers[1]?.previousUniqueId, headers[0]?.uniqueId);
  });

  test(`${name}: a switch repeated gives what was closed, a number out of order is refused`, async (t) => {
    const { host, vmId, write } = await started(t);
    const close = (cycle: number) => host.switchLogs(vmId, { protectionId, cycle, consistency: crash });
    await assert.rejects(close(2), code('US5011'));
    const closed = await close(1);
    await write(0, 0, randomBytes(512));
    assert.deepEqual(await close(1), closed);
    await assert.rejects(close(3), code('US5011'));
    assert.equal((await close(2)).logs[0]?.entryCount, 1);
  });

  test(`${name}: discarded cycles are gone, their numbers are not used again`, async (t) => {
    const { host, vmId, disks } = await started(t);
    for (const cycle of [1, 2, 3]) await host.switchLogs(vmId, { protectionId, cycle, consistency: crash });
    await host.discardCyclesThrough(vmId, protectionId, 2);
    await host.discardCyclesThrough(vmId, protectionId, 2);
    assert.deepEqual(
      (await host.closedCycles(vmId, protectionId)).map(({ cycle }) => cycle),
      [3],
    );
    const [diskId] = disks;
    assert.ok(diskId);
    await assert.rejects(host.openLog(vmId, 2, diskId), code('US5008'));
    await host.discardCyclesThrough(vmId, protectionId, 3);
    await assert.rejects(host.switchLogs(vmId, { protectionId, cycle: 3, consistency: crash }), code('US5011'));
    await host.switchLogs(vmId, { protectionId, cycle: 4, consistency: crash });
  });

  test(`${name}: a new epoch may go on counting after an earlier one`, async (t) => {
    const { host, vmId } = await started(t);
    await host.startInitialReplication(vmId, { protectionId, epoch: 2, baseCycle: 7 });
    await assert.rejects(host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash }), code('US5011'));
    assert.equal((await host.switchLogs(vmId, { protectionId, cycle: 8, consistency: crash })).cycle, 8);
  });

  test(`${name}: a new epoch counts its cycles from 1 and drops the old logs`, async (t) => {
    const { host, vmId, write } = await started(t);
    await write(0, 0, randomBytes(512));
    await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash });
    await host.startInitialReplication(vmId, { protectionId, epoch: 2 });
    assert.deepEqual(await host.closedCycles(vmId, protectionId), []);
    const first = await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash });
    assert.equal(first.logs[0]?.entryCount, 0);
  });

  test(`${name}: a resync starts tracking anew as initial replication does`, async (t) => {
    const { host, vmId, write, checkpoint } = await started(t);
    await write(0, 0, randomBytes(512));
    await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash });
    const start = (epoch: number, changedSince = { epoch: 1, cycle: 0 }) =>
      host.startResynchronization(vmId, { protectionId, epoch, baseCycle: 7, changedSince });
    const resync = await start(3);
    assert.notEqual(resync.checkpointId, checkpoint.checkpointId);
    assert.equal(resync.epoch, 3);
    assert.deepEqual(await start(3), resync);
    await assert.rejects(start(2), code('US5013'));
    assert.deepEqual(await host.closedCycles(vmId, protectionId), []);
    await write(0, 0, randomBytes(512));
    await assert.rejects(host.switchLogs(vmId, { protectionId, cycle: 2, consistency: crash }), code('US5011'));
    const first = await host.switchLogs(vmId, { protectionId, cycle: 8, consistency: crash });
    assert.equal(first.logs[0]?.entryCount, 1);
    const [disk] = resync.disks;
    assert.ok(disk);
    await host.releaseCheckpoint(vmId, resync.checkpointId);
    await assert.rejects(host.changedChunks(vmId, resync.checkpointId, disk.diskId), code('US5007'));
    await assert.rejects(start(3), code('US5013'));
  });

  test(`${name}: a resync under a relationship that was never started has no record`, async (t) => {
    const subject = await open(t);
    const { host, vmId } = subject;
    await host.createReplicationRelationship(vmId, protectionId);
    const changedSince = { epoch: 1, cycle: 0 };
    const options = { protectionId, epoch: 2, baseCycle: 0, changedSince };
    await assertNoRecord(subject, await host.startResynchronization(vmId, options));
  });

  test(`${name}: outside of the chunks that a host recorded the checkpoint equals what the replica holds`, async (t) => {
    const subject = await started(t);
    const { host, vmId, write, checkpoint } = subject;
    if (!host.capabilities.tracksWhileWaiting) return;
    const replica = await checkpointImages(host, vmId, checkpoint);
    await host.releaseCheckpoint(vmId, checkpoint.checkpointId);
    const first = randomBytes(4096);
    await write(0, 65536 - 512, first);
    first.copy(replica[0] ?? assert.fail(), 65536 - 512);
    await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash });
    await host.discardCyclesThrough(vmId, protectionId, 1);
    await write(1, 1024 * 1024, randomBytes(70_144));
    await host.switchLogs(vmId, { protectionId, cycle: 2, consistency: crash });
    await write(0, 0, randomBytes(512));
    const resync = (epoch: number, changedSince?: { epoch: number; cycle: number }) =>
      host.startResynchronization(vmId, { protectionId, epoch, baseCycle: 9, ...(changedSince && { changedSince }) });
    const { markedCount } = await assertRecordLeadsTo(subject, await resync(2, { epoch: 1, cycle: 1 }), replica);
    assert.ok(markedCount <= 4, `${markedCount} chunks are marked`);
    await assertNoRecord(subject, await resync(3, { epoch: 1, cycle: 1 }));
    await assertNoRecord(subject, await resync(4));
  });

  test(`${name}: the tracking status counts what is logged`, async (t) => {
    const { host, vmId, write, checkpoint } = await started(t);
    await write(0, 0, randomBytes(100 * 1024));
    const open = await host.tracking(vmId, protectionId);
    assert.ok(open.kind === 'tracking');
    assert.equal(open.checkpointId, checkpoint.checkpointId);
    assert.ok(open.openLogBytes >= 100 * 1024 && open.closedLogBytes === 0);
    const { logs } = await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash });
    const closed = await host.tracking(vmId, protectionId);
    assert.ok(closed.kind === 'tracking');
    assert.equal(closed.lastClosedCycle, 1);
    assert.equal(
      closed.closedLogBytes,
      logs.reduce((sum, log) => sum + log.lengthBytes, 0),
    );
    assert.deepEqual(await host.tracking(vmId, other), { kind: 'notReplicated' });
    await host.discardCyclesThrough(vmId, protectionId, 1);
    const discarded = await host.tracking(vmId, protectionId);
    assert.ok(discarded.kind === 'tracking' && discarded.closedLogBytes === 0 && discarded.lastClosedCycle === 1);
  });

  test(`${name}: a removed relationship leaves no logs, and the disks keep what the guest wrote`, async (t) => {
    const { host, vmId, write, disks } = await started(t);
    const data = randomBytes(4096);
    await write(0, 0, data);
    await host.removeReplicationRelationship(vmId, protectionId);
    assert.deepEqual(await host.tracking(vmId, protectionId), { kind: 'notReplicated' });
    await assert.rejects(host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash }), code('US5012'));
    const again = await startOn({ host, vmId, write });
    const [diskId] = disks;
    assert.ok(diskId);
    const disk = await host.openCheckpointDisk(vmId, again.checkpoint.checkpointId, diskId);
    assert.deepEqual(await disk.read(0, 4096), data);
    await disk.close();
  });

  test(`${name}: shutting down turns the VM off, and its last cycle can still be closed`, async (t) => {
    const { host, vmId, write } = await started(t);
    await write(0, 0, randomBytes(512));
    await host.shutDown(vmId);
    await host.shutDown(vmId);
    assert.equal((await host.inventory()).vms.find((vm) => vm.vmId === vmId)?.powerState, 'off');
    await assert.rejects(write(0, 0, randomBytes(512)));
    const last = await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash });
    assert.equal(last.logs[0]?.entryCount, 1);
  });

  test(`${name}: a locked VM is off, stays off, and runs again after its lock is lifted; it goes on being tracked`, async (t) => {
    const { host, vmId, write } = await started(t);
    const lock = (lockId: string) => ({ protectionId, lockId });
    const isRunning = async () => (await host.inventory()).vms.find((vm) => vm.vmId === vmId)?.powerState === 'running';
    const lockId = async () => {
      const status = await host.tracking(vmId, protectionId);
      return status.kind === 'tracking' ? status.lockId : status.kind;
    };
    await write(0, 0, randomBytes(512));
    await host.lockSource(vmId, lock('a'));
    await host.lockSource(vmId, lock('a'));
    assert.equal(await isRunning(), false);
    assert.equal(await lockId(), 'a');
    await assert.rejects(write(0, 0, randomBytes(512)));
    await assert.rejects(host.lockSource(vmId, { protectionId: other, lockId: 'b' }), code('US5010'));
    await host.unlockSource(vmId, lock('b'));
    assert.equal(await lockId(), 'a', 'another lock is left alone');

    await host.lockSource(vmId, lock('c'));
    assert.equal(await lockId(), 'c', 'a later lock takes over, and with it that the VM ran');
    const last = await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: crash });
    assert.equal(last.logs[0]?.entryCount, 1);
    await host.unlockSource(vmId, lock('c'));
    await host.unlockSource(vmId, lock('c'));
    assert.equal(await isRunning(), true);
    assert.equal(await lockId(), undefined);
    await write(0, 0, randomBytes(512));
    const next = await host.switchLogs(vmId, { protectionId, cycle: 2, consistency: crash });
    assert.equal(next.logs[0]?.entryCount, 1);

    await host.shutDown(vmId);
    await host.lockSource(vmId, lock('d'));
    await host.unlockSource(vmId, lock('d'));
    assert.equal(await isRunning(), false, 'a VM that was off stays off');
  });
}

async function startOn(
  subject: HypervisorHostSubject,
): Promise<HypervisorHostSubject & { checkpoint: Checkpoint; disks: DiskId[] }> {
  await subject.host.createReplicationRelationship(subject.vmId, protectionId);
  const checkpoint = await subject.host.startInitialReplication(subject.vmId, { protectionId, epoch: 1 });
  return { ...subject, checkpoint, disks: checkpoint.disks.map(({ diskId }) => asDiskId(diskId)) };
}

async function readLog(
  host: HypervisorHost,
  vmId: VmId,
  cycle: number,
  diskId: DiskId,
): Promise<{ offsetBytes: number; data: Buffer }[]> {
  const log = await host.openLog(vmId, cycle, diskId);
  try {
    const reader = await openHrlReader(log);
    const writes = [];
    for await (const entry of reader.entries()) {
      writes.push({ offsetBytes: entry.offsetBytes, data: await reader.readData(entry) });
    }
    return writes;
  } finally {
    await log.close();
  }
}
