import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sitePaths, vmPaths } from '../../../providers/simulated-site/site-file.js';
import { killCount } from '../../support/kill-count.js';
import { eventually, startRelayBench } from '../../support/relay/relay-bench.js';

const mebibyte = 1024 * 1024;
const settled = () => sleep(500);

test('a VM whose guest writes all the time is replicated: base, cycles, every byte', async (t) => {
  const bench = await startRelayBench(t, { speed: 60, diskSizeBytes: 32 * mebibyte });
  const { app, site } = bench;
  await site.connection.call('guest', { vm: 'sql-01', kind: 'ordered', writesPerSecond: 10 });
  const relay = bench.startRelay();
  const item = await bench.protect('sql-01', { intervalSeconds: 30, protection: 1 });
  await eventually('five cycles are applied', () => item.progress().appliedCycle >= 5);

  const second = await bench.relay('run', '--site', site.siteFolder);
  assert.equal(second.exitCode, 1);
  assert.match(second.output, /^US5104 /);
  const status = await bench.relay('status');
  assert.equal(status.exitCode, 0);
  assert.match(status.output, /running, process \d+[^]*sql-01: /);

  await relay.kill('SIGTERM');
  assert.ok((await item.compare()) >= 5);
  assert.deepEqual(app.problems, []);
  assert.match(relay.output(), /stopped\n$/);
  const tracking = await item.tracking();
  assert.ok(tracking.kind === 'tracking');
  assert.equal(tracking.checkpointId, undefined, 'the checkpoint is released once the base is applied');
  assert.equal(app.lastHeartbeat?.items[0]?.itemId, item.itemId);
  assert.equal((await bench.relay('status')).exitCode, 3);
  t.diagnostic(`relay RSS ${Math.round(app.lastHeartbeat.memoryRssBytes / mebibyte)} MiB`);
});

const kills = killCount({ short: 5, long: 10 });
test(`killed with -9 at ${kills} random points, the relay goes on by itself and no byte is lost`, async (t) => {
  const bench = await startRelayBench(t, { speed: 60, diskSizeBytes: 32 * mebibyte });
  const { app, site } = bench;
  await site.connection.call('guest', { vm: 'sql-01', kind: 'ordered', writesPerSecond: 10 });
  let relay = bench.startRelay();
  const item = await bench.protect('sql-01', { intervalSeconds: 30, protection: 2 });
  for (let kill = 0; kill < kills; kill++) {
    // A fifth at any point of the start, then as many in contact, during the base; the others while cycles are sent and applied.
    const before = item.progress().appliedCycle;
    if (kill >= kills / 5) await eventually('the relay is in contact', () => relay.output().includes('in contact'));
    if (kill >= kills / 2) await eventually('a cycle is applied', () => item.progress().appliedCycle > before);
    const afterMilliseconds = Math.round(100 + Math.random() * 1500);
    await sleep(afterMilliseconds);
    if (kill % 3 === 2) {
      app.loseAnswerAfter = 0;
      await sleep(300);
    }
    await relay.kill('SIGKILL');
    await settled();
    const { appliedCycle } = item.progress();
    t.diagnostic(`kill ${kill} after ${afterMilliseconds} ms at applied cycle ${appliedCycle}`);
    if (appliedCycle > 0) await item.compare();
    relay = bench.startRelay();
  }
  const { appliedCycle } = item.progress();
  await eventually('two more cycles are applied', () => item.progress().appliedCycle >= appliedCycle + 2);
  await relay.kill('SIGTERM');
  await item.compare();
  assert.deepEqual(app.problems, []);
  assert.deepEqual(app.item(item.itemId).resyncRequired, []);
});

test('an app that is away for hours costs missed cycles, and its return ends the wait at once', async (t) => {
  const bench = await startRelayBench(t, { speed: 1, diskSizeBytes: 16 * mebibyte });
  const { app, site } = bench;
  await site.connection.call('guest', { vm: 'web-01', kind: 'ordered', writesPerSecond: 5 });
  const relay = bench.startRelay();
  const item = await bench.protect('web-01', { intervalSeconds: 300, protection: 3 });
  await eventually('initial replication is over', () => item.progress().phase === 'delta');
  app.outage = 'cut';
  app.advance(300);
  await eventually('the relay says that it will try again', () => relay.output().includes('Tried again at'));
  // One closed cycle waits; no other is closed while it is unsent.
  app.advance(3600);
  await settled();
  assert.ok(
    ((await item.tracking()) as { lastClosedCycle: number }).lastClosedCycle <= item.progress().receivedCycle + 1,
  );
  const { receivedCycle } = item.progress();
  app.outage = 'none';
  await eventually(
    'the waiting cycle is sent without waiting for the schedule',
    () => item.progress().receivedCycle > receivedCycle,
    40,
  );
  await eventually('the next is closed, late', () => item.progress().receivedCycle > receivedCycle + 1, 40);
  await eventually('what was missed is counted', () => /is late: 1\d missed/.test(relay.output()));
  await relay.kill('SIGTERM');
  await item.compare();
});

test('a line that is cut and slow on demand stops nothing for good', async (t) => {
  const bench = await startRelayBench(t, { speed: 60, diskSizeBytes: 16 * mebibyte });
  const { app, site } = bench;
  await site.connection.call('guest', { vm: 'web-01', kind: 'ordered', writesPerSecond: 5 });
  const relay = bench.startRelay();
  const item = await bench.protect('web-01', { intervalSeconds: 30, protection: 8 });
  await eventually('initial replication is over', () => item.progress().phase === 'delta');
  await site.connection.call('addFault', { kind: 'network-cut' });
  await eventually('the relay says so', () => relay.output().includes('the line is cut'));
  const { receivedCycle } = item.progress();
  app.advance(600);
  await settled();
  assert.equal(item.progress().receivedCycle, receivedCycle);
  await site.connection.call('clearFaults', {});
  await site.connection.call('addFault', { kind: 'network-slow' });
  await eventually('cycles go on, slowly', () => item.progress().receivedCycle > receivedCycle + 1);
  await relay.kill('SIGTERM');
  await item.compare();
});

test('a site that stops and comes back is taken up again at once, not after the schedule', async (t) => {
  const bench = await startRelayBench(t, { speed: 60, diskSizeBytes: 16 * mebibyte });
  const { app, site } = bench;
  await site.connection.call('guest', { vm: 'web-01', kind: 'ordered', writesPerSecond: 5 });
  const relay = bench.startRelay();
  const item = await bench.protect('web-01', { intervalSeconds: 30, protection: 7 });
  await eventually('initial replication is over', () => item.progress().phase === 'delta');
  await site.restart(async () => {
    await eventually('the relay reports it', () => app.lastHeartbeat?.items[0]?.lastError?.code === 'US5001');
    // Long enough for the schedule to have come to its half hours: 30 s of system time.
    app.advance(3600);
    await settled();
  });
  const { receivedCycle } = item.progress();
  await eventually('cycles go on', () => item.progress().receivedCycle > receivedCycle, 20);
  await relay.kill('SIGTERM');
  await item.compare();
  assert.deepEqual(app.item(item.itemId).resyncRequired, []);
});

test('paused and stopped items keep their logs and send nothing; resuming goes on', async (t) => {
  const bench = await startRelayBench(t, { speed: 60, diskSizeBytes: 16 * mebibyte });
  const { app, site } = bench;
  await site.connection.call('guest', { vm: 'web-01', kind: 'ordered', writesPerSecond: 5 });
  const relay = bench.startRelay();
  const item = await bench.protect('web-01', { intervalSeconds: 30, protection: 4 });
  await eventually('initial replication is over', () => item.progress().phase === 'delta');
  app.changeProgress(item.itemId, { paused: true });
  await eventually('the relay reports it', () => app.lastHeartbeat?.items[0]?.activity === 'paused');
  const { receivedCycle } = item.progress();
  await sleep(1500);
  assert.equal(item.progress().receivedCycle, receivedCycle);
  app.changeProgress(item.itemId, { paused: false });
  await eventually('cycles go on', () => item.progress().receivedCycle > receivedCycle);
  app.changeProgress(item.itemId, { phase: 'stopped', stopReason: 'failedOver', epoch: 2 });
  await eventually('the relay reports it', () => app.lastHeartbeat?.items[0]?.activity === 'stopped');
  const stoppedAt = item.progress().receivedCycle;
  await eventually('it warns that the source runs', () => app.lastHeartbeat?.items[0]?.lastError?.code === 'US5123');
  assert.equal(item.progress().receivedCycle, stoppedAt);
  assert.equal((await item.tracking()).kind, 'tracking');
  app.order({ kind: 'shutDownVm', commandId: 'c-1', vmId: item.vm.vmId });
  await eventually('the command is answered', () => app.commandResults.get('c-1')?.kind === 'succeeded');
  await eventually('the warning ends', () => app.lastHeartbeat?.items[0]?.lastError === undefined);
  const { protectionId } = app.item(item.itemId).item;
  app.order({ kind: 'removeReplicationRelationship', commandId: 'c-2', vmId: item.vm.vmId, protectionId });
  await eventually('the command is answered', () => app.commandResults.get('c-2')?.kind === 'succeeded');
  assert.equal((await item.tracking()).kind, 'notReplicated');
  await relay.kill('SIGTERM');
});

test('a damaged change log is never sent: the app is told that a resync is required, and why', async (t) => {
  const bench = await startRelayBench(t, { speed: 60, diskSizeBytes: 16 * mebibyte });
  const { app, site } = bench;
  await site.connection.call('guest', { vm: 'web-01', kind: 'ordered', writesPerSecond: 5 });
  const relay = bench.startRelay();
  const item = await bench.protect('web-01', { intervalSeconds: 30, protection: 5 });
  await eventually('initial replication is over', () => item.progress().phase === 'delta');
  await site.connection.call('addFault', { kind: 'log-corrupt', vm: 'web-01' });
  await eventually('resync is asked for', () => app.item(item.itemId).resyncRequired.length > 0);
  const [need] = app.item(item.itemId).resyncRequired;
  assert.equal(need?.reason, 'logCorrupt');
  assert.match(need?.message ?? '', /US203\d|checksum/);
  const { receivedCycle } = item.progress();
  await eventually('the relay reports it', () => app.lastHeartbeat?.items[0]?.activity === 'resyncRequired');
  await sleep(1000);
  assert.equal(item.progress().receivedCycle, receivedCycle);
  await relay.kill('SIGTERM');
  await item.compare();
});

test('a corrupt source disk gives an error that names disk, place and remedy, and nothing of it is announced', async (t) => {
  const bench = await startRelayBench(t, { speed: 60, diskSizeBytes: 16 * mebibyte });
  const { app, site } = bench;
  // The VM is off, so that the site does not hold the disk open.
  await site.connection.call('power', { vm: 'app-01', powerState: 'off' });
  const relay = bench.startRelay();
  app.outage = 'unavailable';
  const item = await bench.protect('app-01', { intervalSeconds: 30, protection: 6 });
  const { protectionId } = app.item(item.itemId).item;
  await site.connection.call('startInitialReplication', { vmId: item.vm.vmId, protectionId, epoch: 1, baseCycle: 0 });
  const file = await open(
    vmPaths.disk(sitePaths.vmFolder(site.siteFolder, 'app-01'), item.vm.disks[0]?.name ?? ''),
    'r+',
  );
  // Both headers of the VHDX ([MS-VHDX] 2.2: at 64 KiB and 128 KiB).
  for (const at of [64 * 1024, 128 * 1024]) await file.write(Buffer.alloc(4096, 0x55), 0, 4096, at);
  await file.close();
  app.outage = 'none';
  await eventually('the error is reported', () => app.lastHeartbeat?.items[0]?.lastError !== undefined);
  const error = app.lastHeartbeat?.items[0]?.lastError;
  assert.equal(error?.code, 'US5122');
  assert.ok(error.message.includes(item.vm.disks[0]?.diskId ?? '?'));
  assert.match(error.message, /from byte 0 on.*header.*US2011/);
  assert.notEqual(error.recommendedAction, '');
  assert.equal(app.item(item.itemId).segments.size, 0);
  await relay.kill('SIGTERM');
});
