import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { resyncRegionBytes } from '../../../core/domain/replication/resync-geometry.js';
import { killCount } from '../../support/kill-count.js';
import { eventually, startRelayBench, type RelayBench } from '../../support/relay/relay-bench.js';

const mebibyte = 1024 * 1024;

/** Writes what was nowhere before to the VM's first disk, as its guest would; it compresses well, so that it travels fast. */
async function write(bench: RelayBench, vm: string, offsetBytes: number, lengthBytes: number): Promise<void> {
  for (let at = 0; at < lengthBytes; at += mebibyte) {
    const dataBase64 = Buffer.alloc(mebibyte, randomBytes(4096)).toString('base64');
    await bench.site.connection.call('write', { vm, diskIndex: 0, offsetBytes: offsetBytes + at, dataBase64 });
  }
}

test('logs over half of the disk cost a resync that sends what differs, through kills, and ends equal to the source', async (t) => {
  // Two regions, the second a small one.
  const diskSizeBytes = resyncRegionBytes + 8 * mebibyte;
  const bench = await startRelayBench(t, { speed: 60, diskSizeBytes, fillFraction: 1 / 32 });
  const { app, site } = bench;
  let relay = bench.startRelay();
  const item = await bench.protect('web-01', { intervalSeconds: 30, protection: 1 });
  await eventually('initial replication is over', () => item.progress().phase === 'delta');
  app.outage = 'cut';
  // What is written again and again fills the logs and differs once.
  for (let time = 0; time < 4; time++) {
    await write(bench, 'web-01', 64 * mebibyte, 32 * mebibyte);
    await write(bench, 'web-01', resyncRegionBytes, 4 * mebibyte);
  }
  // Nothing that was planned before the logs were lost is still being tried: it might bring a part of them.
  await sleep(2000);
  app.outage = 'none';
  await eventually('resync is asked for', () => app.item(item.itemId).resyncRequired.length > 0);
  assert.equal(app.item(item.itemId).resyncRequired[0]?.reason, 'logTooLarge');
  await eventually('the relay reports it', () => app.lastHeartbeat?.items[0]?.activity === 'resyncRequired');
  const { receivedCycle } = item.progress();
  await sleep(500);
  assert.equal(item.progress().receivedCycle, receivedCycle, 'nothing is sent while the item waits');

  await site.connection.call('guest', { vm: 'web-01', kind: 'ordered', writesPerSecond: 20 });
  const before = item.replica.baseChangedBytes;
  const restart = async () => {
    await relay.kill('SIGKILL');
    await sleep(300);
    relay = bench.startRelay();
  };
  app.resynchronize(item.itemId);
  const receivedBytes = () => app.item(item.itemId).item.disks[0]?.baseReceivedThroughBytes ?? 0;
  app.cutsAfterSegment = true;
  // Anywhere before the first region is received.
  const kills = killCount({ short: 2, long: 4 });
  for (let kill = 0; kill < kills && receivedBytes() === 0; kill++) {
    // An announcement of the relay that was killed may arrive after all, and cuts the line.
    await eventually('the relay is in contact', () => relay.output().includes('in contact') || receivedBytes() > 0);
    await sleep(Math.random() * 400 * (kill + 1));
    await restart();
  }
  // Between the regions, after an answer that was lost.
  await eventually('the first region is received', () => receivedBytes() > 0);
  await restart();
  assert.equal(receivedBytes(), resyncRegionBytes);
  assert.equal(item.progress().phase, 'resynchronization');
  app.outage = 'none';
  await eventually('the resync is over', () => item.progress().phase === 'delta');
  const { appliedCycle } = item.progress();
  assert.ok(appliedCycle > receivedCycle);
  await eventually('cycles go on', () => item.progress().appliedCycle > appliedCycle + 1);
  await relay.kill('SIGTERM');
  await item.compare();
  assert.deepEqual(app.problems, []);
  assert.deepEqual(app.item(item.itemId).resyncRequired, []);
  const sentBytes = item.replica.baseChangedBytes - before;
  t.diagnostic(`${sentBytes / mebibyte} MiB sent of ${diskSizeBytes / mebibyte}`);
  assert.ok(sentBytes >= 36 * mebibyte && sentBytes < 46 * mebibyte, `${sentBytes} bytes were sent`);
  const tracking = await item.tracking();
  assert.ok(tracking.kind === 'tracking');
  assert.equal(tracking.checkpointId, undefined, 'the checkpoint is released once the base is applied');
});
