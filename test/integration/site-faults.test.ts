import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test, type TestContext } from 'node:test';
import { openHrlReader } from '../../core/dataplane/hrl/reader.js';
import { asVmId } from '../../core/domain/ids.js';
import { openLineFaults, openSimulatedSite } from '../../providers/simulated-site/client.js';
import type { FaultKind } from '../../providers/simulated-site/faults.js';
import { mib, startTestSite } from '../support/site/test-site.js';

const protectionId = 'f1d0c6a0-0000-4000-8000-000000000001';
const vm = 'sql-01';
const code = (wanted: string) => (error: unknown) => error instanceof Error && 'code' in error && error.code === wanted;

/** sql-01 replicated under epoch 1, its checkpoint released. */
async function replicated(t: TestContext, options: Parameters<typeof startTestSite>[1] = {}) {
  const testSite = await startTestSite(t, options);
  const { connection, siteFolder } = testSite;
  const host = openSimulatedSite({ siteFolder });
  const found = (await host.inventory()).vms.find(({ name }) => name === vm);
  const vmId = asVmId(found?.vmId ?? '');
  await host.createReplicationRelationship(vmId, protectionId);
  const checkpoint = await host.startInitialReplication(vmId, { protectionId, epoch: 1 });
  await host.releaseCheckpoint(vmId, checkpoint.checkpointId);
  const write = (diskIndex: number, offsetBytes: number, data: Buffer) =>
    connection.call('write', { vm, diskIndex, offsetBytes, dataBase64: data.toString('base64') });
  const read = async (diskIndex: number, offsetBytes: number, lengthBytes: number) =>
    Buffer.from((await connection.call('read', { vm, diskIndex, offsetBytes, lengthBytes })).dataBase64, 'base64');
  return {
    testSite,
    siteFolder,
    folder: join(siteFolder, vm),
    connection,
    host,
    vmId,
    disks: checkpoint.disks,
    write,
    read,
    close: (cycle: number, consistency: 'crashConsistent' | 'applicationConsistent' = 'crashConsistent') =>
      host.switchLogs(vmId, { protectionId, cycle, consistency }),
    tracking: () => host.tracking(vmId, protectionId),
    power: (powerState: 'running' | 'off') => connection.call('power', { vm, powerState }),
    fault: (kind: FaultKind) => connection.call('addFault', { kind, vm }),
    reason: async () => {
      const status = await host.tracking(vmId, protectionId);
      return status.kind === 'resyncRequired' ? status.reason : status.kind;
    },
  };
}

test('a log that cannot be written ends tracking, says why, and never the guest', async (t) => {
  const expected = { 'log-write-failure': 'logWriteFailure', 'disk-full': 'diskFull' } as const;
  for (const kind of ['log-write-failure', 'disk-full'] as const) {
    const site = await replicated(t);
    await site.write(0, 0, randomBytes(4096));
    await site.close(1);
    await site.fault(kind);
    const data = randomBytes(4096);
    await site.write(0, 0, data);
    assert.deepEqual(await site.read(0, 0, 4096), data);
    assert.equal(await site.reason(), expected[kind]);
    assert.deepEqual(
      (await readdir(site.folder)).filter((name) => /(os|data)\.hrl$/.test(name)),
      [],
    );
    await site.connection.call('clearFaults', {});
    assert.equal(await site.reason(), expected[kind], 'clearing the fault brings no lost change back');
    await assert.rejects(site.close(2), code('US5014'));
    assert.equal((await site.close(1)).cycle, 1);
    await site.testSite.restart();
    assert.equal(await site.reason(), expected[kind]);
    await site.host.startInitialReplication(site.vmId, { protectionId, epoch: 2 });
    assert.equal(await site.reason(), 'tracking');
  }
});

test('logs at half of a disk end tracking; what is discarded does not count', async (t) => {
  const site = await replicated(t, { diskSizeBytes: 4 * mib });
  const piece = randomBytes(mib);
  await site.write(0, 0, piece);
  await site.close(1);
  await site.host.discardCyclesThrough(site.vmId, protectionId, 1);
  await site.write(0, 0, piece);
  assert.equal(await site.reason(), 'tracking');
  await site.write(0, 0, piece);
  assert.equal(await site.reason(), 'logTooLarge');
});

test('low memory refuses a switch until it is cleared', async (t) => {
  const site = await replicated(t);
  await site.fault('low-memory');
  await assert.rejects(
    site.close(1),
    (error) => code('US5015')(error) && (error as { retry?: string }).retry === 'later',
  );
  await site.connection.call('clearFaults', {});
  assert.equal((await site.close(1)).cycle, 1);
});

test('an application-consistent switch becomes crash-consistent when the guest cannot be frozen', async (t) => {
  const site = await replicated(t);
  const frozen = await site.close(1, 'applicationConsistent');
  assert.deepEqual([frozen.consistency, frozen.freezeFailure], ['applicationConsistent', undefined]);
  await site.fault('freeze-failure');
  const failed = await site.close(2, 'applicationConsistent');
  assert.equal(failed.consistency, 'crashConsistent');
  assert.match(failed.freezeFailure ?? '', /did not freeze/);
  assert.equal((await site.close(3)).freezeFailure, undefined, 'nobody asked for it');
  await site.connection.call('clearFaults', {});
  await site.power('off');
  const off = await site.close(4, 'applicationConsistent');
  assert.equal(off.consistency, 'crashConsistent');
  assert.match(off.freezeFailure ?? '', /is off/);
  await site.testSite.restart();
  assert.deepEqual(await site.close(2, 'applicationConsistent'), failed, 'a repeat says the same');
  assert.deepEqual((await site.host.closedCycles(site.vmId, protectionId))[1], failed);
});

test('a corrupted log is found by its reader', async (t) => {
  const site = await replicated(t);
  await site.fault('log-corrupt');
  await site.write(0, 0, randomBytes(4096));
  await site.close(1);
  const [disk] = site.disks;
  assert.ok(disk);
  const log = await site.host.openLog(site.vmId, 1, disk.diskId);
  try {
    const reader = await openHrlReader(log);
    await assert.rejects(async () => {
      for await (const entry of reader.entries()) await reader.readData(entry);
    }, code('US2032'));
  } finally {
    await log.close();
  }
});

test('a disk changed while the VM was off asks for a resync: at power on, at a switch, after a restart', async (t) => {
  const discoveries = {
    'power on': (site: Awaited<ReturnType<typeof replicated>>) => site.power('running'),
    switch: (site: Awaited<ReturnType<typeof replicated>>) => assert.rejects(site.close(1), code('US5014')),
    restart: (site: Awaited<ReturnType<typeof replicated>>) => site.testSite.restart(),
  };
  for (const [name, discover] of Object.entries(discoveries)) {
    const site = await replicated(t);
    const data = randomBytes(4096);
    const offline = { vm, diskIndex: 1, offsetBytes: 8192, dataBase64: data.toString('base64') };
    await assert.rejects(site.connection.call('offlineWrite', offline), code('US5006'));
    await site.power('off');
    await site.connection.call('offlineWrite', offline);
    await discover(site);
    assert.equal(await site.reason(), 'diskChangedOffline', name);
    assert.deepEqual(await site.read(1, 8192, 4096), data);
  }
});

test('turning a VM off and on, and restarting the site, change no disk offline', async (t) => {
  const site = await replicated(t);
  await site.write(0, 0, randomBytes(4096));
  await site.power('off');
  await site.power('running');
  await site.write(0, 0, randomBytes(4096));
  await site.testSite.restart();
  await site.write(0, 0, randomBytes(4096));
  await site.power('off');
  await site.testSite.restart();
  await site.power('running');
  assert.equal((await site.close(1)).logs[0]?.entryCount, 3);
});

test('reverting brings the saved disks back and asks for a resync', async (t) => {
  const site = await replicated(t);
  const [before, after] = [randomBytes(4096), randomBytes(4096)];
  await site.write(0, 0, before);
  await site.connection.call('saveDisks', { vm });
  await site.write(0, 0, after);
  await assert.rejects(site.connection.call('revert', { vm }), code('US5006'));
  await site.power('off');
  await site.connection.call('revert', { vm });
  assert.deepEqual(await site.read(0, 0, 4096), before);
  assert.equal(await site.reason(), 'reverted');
});

test('a resized disk keeps its content and its id, and is refused for replication', async (t) => {
  const site = await replicated(t);
  const data = randomBytes(4096);
  await site.write(0, 4096, data);
  await site.power('off');
  await site.connection.call('resize', { vm, diskIndex: 0, sizeBytes: 16 * mib });
  await site.power('running');
  await site.write(0, 12 * mib, data);
  assert.deepEqual(await site.read(0, 4096, 4096), data);
  const listed = (await site.host.inventory()).vms.find(({ name }) => name === vm)?.disks[0];
  assert.equal(listed?.sizeBytes, 16 * mib);
  assert.equal(listed.diskId, site.disks[0]?.diskId);
  await assert.rejects(site.close(1), code('US5021'));
});

test('an added disk takes writes but is not replicated', async (t) => {
  const site = await replicated(t);
  const { diskId } = await site.connection.call('addDisk', { vm, sizeBytes: 4 * mib });
  await site.write(2, 0, randomBytes(4096));
  const { logs } = await site.close(1);
  assert.deepEqual(
    logs.map((log) => [log.diskId === diskId, log.entryCount]),
    [
      [false, 0],
      [false, 0],
    ],
  );
  await site.testSite.restart();
  assert.equal((await site.host.inventory()).vms.find(({ name }) => name === vm)?.disks.length, 3);
});

test('writes outside of the disk, of part sectors, and to a VM that is off are refused', async (t) => {
  const site = await replicated(t);
  await assert.rejects(site.write(0, 8 * mib - 512, randomBytes(1024)), code('US5006'));
  await assert.rejects(site.write(0, 100, randomBytes(512)), code('US5006'));
  await assert.rejects(site.write(0, 0, randomBytes(100)), code('US5006'));
  await assert.rejects(site.write(7, 0, randomBytes(512)), code('US5005'));
  await assert.rejects(site.write(-1, 0, randomBytes(512)), code('US5004'));
  await site.power('off');
  await assert.rejects(site.write(0, 0, randomBytes(512)), code('US5006'));
});

test('network faults are kept and told, over a restart', async (t) => {
  const site = await replicated(t);
  await site.fault('network-cut');
  await site.testSite.restart();
  const { faults } = await site.connection.call('list', {});
  assert.deepEqual(faults, [{ kind: 'network-cut', vmId: site.vmId }]);
  await site.connection.call('clearFaults', {});
  assert.deepEqual((await site.connection.call('list', {})).faults, []);
});

test('who sends over the line learns its faults from the folder, the cut before the slow', async (t) => {
  const site = await replicated(t);
  const line = openLineFaults({ siteFolder: site.siteFolder });
  const other = asVmId('00000000-0000-4000-8000-000000000000');
  const all = async () => [await line.current(), await line.current(site.vmId), await line.current(other)];
  const settled = () => sleep(250);
  assert.deepEqual(await all(), ['none', 'none', 'none']);
  await site.connection.call('addFault', { kind: 'network-slow' });
  await settled();
  assert.deepEqual(await all(), ['slow', 'slow', 'slow']);
  await site.fault('network-cut');
  await settled();
  assert.deepEqual(await all(), ['slow', 'cut', 'slow']);
  await site.testSite.stop();
  await settled();
  assert.deepEqual(await all(), ['slow', 'cut', 'slow'], 'the site need not run');
  await site.testSite.restart();
  await site.connection.call('clearFaults', {});
  await settled();
  assert.deepEqual(await all(), ['none', 'none', 'none']);
});

test('the journal tells the cycles of every epoch of a protection, and of no other protection', async (t) => {
  const site = await replicated(t, { journal: true });
  const out = join(site.siteFolder, 'out');
  const diskAt = async (cycle: number, epoch?: number) => {
    const request = { vm, cycle, outFolder: out, ...(epoch !== undefined && { epoch }) };
    const { disks } = await site.connection.call('diskAt', request);
    return (await readFile(disks[0]?.path ?? '')).subarray(0, 4096);
  };
  const [a, b, c] = [randomBytes(4096), randomBytes(4096), randomBytes(4096)];
  await site.write(0, 0, a);
  await site.close(1);
  await site.write(0, 0, b);
  await site.host.startResynchronization(site.vmId, { protectionId, epoch: 2, baseCycle: 1 });
  await site.write(0, 0, c);
  await site.close(2);
  assert.deepEqual(await diskAt(1, 1), a);
  assert.deepEqual(await diskAt(1), b, 'the newest epoch that has the cycle');
  assert.deepEqual(await diskAt(1, 2), b);
  assert.deepEqual(await diskAt(2), c);
  await assert.rejects(diskAt(2, 1), code('US5017'));
  await assert.rejects(diskAt(1, 3), code('US5017'));
  await site.host.startResynchronization(site.vmId, { protectionId, epoch: 3, baseCycle: 9 });
  assert.deepEqual(await diskAt(1), b, 'older epochs are looked through');

  await site.host.removeReplicationRelationship(site.vmId, protectionId);
  const other = 'f1d0c6a0-0000-4000-8000-000000000002';
  await site.host.createReplicationRelationship(site.vmId, other);
  await site.host.startInitialReplication(site.vmId, { protectionId: other, epoch: 1 });
  assert.deepEqual(await diskAt(0), c);
  await assert.rejects(diskAt(1), code('US5017'));
});

test('the token stands in a file that only its owner reads, and nothing answers without it', async (t) => {
  const site = await replicated(t);
  const { mode } = await stat(join(site.siteFolder, 'run.json'));
  assert.equal(mode & 0o777, 0o600);
  const { port, token } = JSON.parse(await readFile(join(site.siteFolder, 'run.json'), 'utf8')) as {
    port: number;
    token: string;
  };
  const call = (headers: Record<string, string>) =>
    fetch(`http://127.0.0.1:${port}/v1/list`, { method: 'POST', body: '{}', headers });
  assert.equal((await call({})).status, 401);
  assert.equal((await call({ authorization: `Bearer ${token}x` })).status, 401);
  assert.equal((await call({ authorization: `Bearer ${token}`, origin: 'http://evil.example' })).status, 401);
  assert.equal((await call({ authorization: `Bearer ${token}` })).status, 200);
});
