import assert from 'node:assert/strict';
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { asDiskId } from '../../../../core/domain/ids.js';
import { resyncChunkBytes } from '../../../../core/domain/replication/chunk-map.js';
import type { FaultKind } from '../../../../providers/simulated-site/faults.js';
import { assertNoRecord, assertRecordLeadsTo, checkpointImages } from '../../../support/site/checkpoint-images.js';
import { protectionId, startResyncSubject, type ResyncSubject } from '../../../support/site/resync-subject.js';
import { copyKilled, mib, startTestSite, temporaryFolder } from '../../../support/site/test-site.js';
import { openSimulatedSite } from '../../../../providers/simulated-site/client.js';

const vm = 'sql-01';
const code = (wanted: string) => (error: unknown) => error instanceof Error && 'code' in error && error.code === wanted;
const acknowledged = { epoch: 1, cycle: 1 };
const folderOf = ({ siteFolder }: ResyncSubject) => join(siteFolder, vm);
const close = ({ host, vmId }: ResyncSubject, cycle: number) =>
  host.switchLogs(vmId, { protectionId, cycle, consistency: 'crashConsistent' });

/** Ways in which tracking ends with logs that tell everything up to then. */
const endings: Record<string, (site: ResyncSubject) => Promise<void>> = {
  logTooLarge: async (site) => {
    for (let count = 0; (await site.reason()) === 'tracking'; count += 1) {
      await site.write(0, mib, Buffer.alloc(mib, count));
    }
  },
  logWriteFailure: (site) => writeUnder(site, 'log-write-failure'),
  diskFull: (site) => writeUnder(site, 'disk-full'),
};

/** To a place that no other write of a test touches: only the failing write's own range tells it. */
async function writeUnder(site: ResyncSubject, kind: FaultKind): Promise<void> {
  await site.connection.call('addFault', { kind, vm });
  await site.write(1, 6 * mib, Buffer.alloc(4096, 0xab));
  await site.connection.call('clearFaults', {});
}

for (const [reason, end] of Object.entries(endings)) {
  test(`while a VM waits after ${reason}, every write is in its record, over clean restarts too`, async (t) => {
    const site = await startResyncSubject(t, 1);
    await site.writeSome();
    const replica = await site.acknowledge(1);
    await site.writeSome();
    await close(site, 2);
    await site.writeSome();
    await end(site);
    assert.equal(await site.reason(), reason);
    await site.writeSome();
    await site.restart();
    await site.connection.call('power', { vm, powerState: 'off' });
    await site.connection.call('power', { vm, powerState: 'running' });
    await site.writeSome();
    await site.restart();
    await site.writeSome();
    assert.equal(await site.reason(), reason);
    const checkpoint = await site.resync(2, acknowledged);
    assert.deepEqual(await checkpointImages(site.host, site.vmId, checkpoint), site.images);
    const { markedCount, chunkCount } = await assertRecordLeadsTo(site, checkpoint, replica);
    assert.ok(markedCount < chunkCount, `${markedCount} of ${chunkCount} chunks`);
  });
}

test('a resync of a VM that is still tracked takes its record from the logs', async (t) => {
  const site = await startResyncSubject(t, 2);
  await site.writeSome();
  const replica = await site.acknowledge(1);
  await site.writeSome();
  await close(site, 2);
  await site.writeSome();
  await site.restart();
  await site.writeSome();
  const checkpoint = await site.resync(2, acknowledged);
  await assertRecordLeadsTo(site, checkpoint, replica);
  assert.equal((await close(site, 201)).cycle, 201);
});

test('the record marks nothing but what was written', async (t) => {
  const site = await startResyncSubject(t, 3);
  await site.acknowledge(1);
  await site.write(0, 3 * resyncChunkBytes, Buffer.alloc(512, 1));
  await writeUnder(site, 'disk-full');
  await site.write(0, 5 * resyncChunkBytes - 512, Buffer.alloc(1024, 1));
  const { checkpointId, disks } = await site.resync(2, acknowledged);
  const marked = [];
  for (const { diskId } of disks) {
    const map = await site.host.changedChunks(site.vmId, checkpointId, diskId);
    marked.push(Array.from({ length: map?.chunkCount ?? 0 }, (_, index) => index).filter((index) => map?.has(index)));
  }
  assert.deepEqual(marked, [[3, 4, 5], [96]]);
});

test('the logs go as soon as the record takes their place, and a switch that was committed still answers the same', async (t) => {
  const site = await startResyncSubject(t, 4);
  await site.writeSome();
  const closed = await close(site, 1);
  await writeUnder(site, 'log-write-failure');
  for (const restart of [false, true]) {
    if (restart) await site.restart();
    assert.deepEqual(
      (await readdir(folderOf(site))).filter((name) => name.endsWith('.hrl')),
      [],
    );
    assert.deepEqual(await site.host.closedCycles(site.vmId, protectionId), []);
    assert.deepEqual(await close(site, 1), closed);
  }
});

test('the record is kept only for a replica that it tells everything about', async (t) => {
  const cases = {
    'before the start of the record': { changedSince: { epoch: 1, cycle: 1 }, known: false },
    'at its start': { changedSince: { epoch: 1, cycle: 2 }, known: true },
    'a cycle after its start': { changedSince: { epoch: 1, cycle: 3 }, known: true },
    'a cycle that was never closed': { changedSince: { epoch: 1, cycle: 4 }, known: false },
    'another epoch': { changedSince: { epoch: 2, cycle: 2 }, known: false },
    'not named': { changedSince: undefined, known: false },
  };
  for (const [name, { changedSince, known }] of Object.entries(cases)) {
    const site = await startResyncSubject(t, 5);
    await site.acknowledge(1);
    await site.acknowledge(2);
    await site.writeSome();
    await close(site, 3);
    await writeUnder(site, 'disk-full');
    const { checkpointId, disks } = await site.resync(3, changedSince);
    const map = await site.host.changedChunks(site.vmId, checkpointId, disks[0]?.diskId ?? assert.fail());
    assert.equal(map !== undefined, known, name);
  }
});

test('what the record cannot vouch for makes it unknown', async (t) => {
  const offline = { vm, diskIndex: 0, offsetBytes: 0, dataBase64: Buffer.alloc(512, 7).toString('base64') };
  const offlineWrite = async (site: ResyncSubject) => {
    await site.connection.call('power', { vm, powerState: 'off' });
    await site.connection.call('offlineWrite', offline);
  };
  const losses: Record<string, (site: ResyncSubject) => Promise<unknown>> = {
    'killed while it waits': (site) => site.crash(),
    'killed after a clean restart': (site) => site.restart().then(() => site.crash()),
    'changed offline': offlineWrite,
    'changed offline, found at power on': async (site) => {
      await offlineWrite(site);
      await site.connection.call('power', { vm, powerState: 'running' });
    },
    'changed offline, found at a start': (site) => offlineWrite(site).then(() => site.restart()),
    reverted: async (site) => {
      await site.connection.call('power', { vm, powerState: 'off' });
      await site.connection.call('saveDisks', { vm });
      await site.connection.call('revert', { vm });
    },
    'its file damaged': (site) =>
      damageWhileStopped(site, async (path) => {
        const bytes = await readFile(path);
        bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
        await writeFile(path, bytes);
      }),
    'one of its files lost': (site) => damageWhileStopped(site, (path) => rm(path)),
  };
  for (const [name, lose] of Object.entries(losses)) {
    const site = await startResyncSubject(t, 6);
    await site.acknowledge(1);
    await writeUnder(site, 'disk-full');
    await lose(site);
    assert.equal(await site.reason(), 'diskFull', name);
    await assertNoRecord(site, await site.resync(2, acknowledged));
  }
});

async function damageWhileStopped(site: ResyncSubject, damage: (path: string) => Promise<void>): Promise<void> {
  await site.stop();
  const stored = (await readdir(folderOf(site))).filter((name) => name.endsWith('.waiting'));
  assert.equal(stored.length, 2, 'a clean stop stores the record of each disk');
  await damage(join(folderOf(site), stored[0] ?? ''));
  await site.restart();
}

/** A whole log of cycle 2 in the place of cycle 3's. */
const replay = (site: ResyncSubject) =>
  copyFile(join(folderOf(site), 'sql-01-os.2.hrl'), join(folderOf(site), 'sql-01-os.3.hrl'));

test('a log of another cycle in the place of a closed one is not opened', async (t) => {
  const site = await startResyncSubject(t, 7);
  const disk = (await site.host.inventory()).vms.find(({ name }) => name === vm)?.disks[0];
  assert.ok(disk);
  const open = (cycle: number) => site.host.openLog(site.vmId, cycle, asDiskId(disk.diskId));
  for (const cycle of [1, 2, 3]) {
    await site.writeSome();
    await close(site, cycle);
  }
  await (await open(3)).close();
  await replay(site);
  await (await open(2)).close();
  await assert.rejects(open(3), code('US2034'));
});

test('a closed log that is lost, another or unclosed makes the record unknown', async (t) => {
  const losses: Record<string, (site: ResyncSubject) => Promise<unknown>> = {
    'a closed log deleted': (site) => rm(join(folderOf(site), 'sql-01-os.2.hrl')),
    'a closed log replaced by an older one': replay,
    'a commit deleted': async (site) => {
      await rm(join(folderOf(site), 'cycles', '3.json'));
      await site.restart();
    },
    'a host crash': (site) => site.crash(),
  };
  for (const [name, lose] of Object.entries(losses)) {
    const site = await startResyncSubject(t, 7);
    await site.acknowledge(1);
    await site.writeSome();
    for (const cycle of [2, 3, 4]) await close(site, cycle);
    await lose(site);
    const checkpoint = await site.resync(2, { epoch: 1, cycle: 2 });
    await assert.doesNotReject(assertNoRecord(site, checkpoint), name);
  }
});

test('a start that fails keeps the record for the next try', async (t) => {
  for (const failing of ['logs forgotten', 'logs created', 'freeze prepared', 'changes stored']) {
    let fails = false;
    const site = await startResyncSubject(t, 8, {
      observe: async (step) => {
        if (fails && step === failing) throw new Error('no space left');
      },
    });
    const replica = await site.acknowledge(1);
    await site.writeSome();
    fails = true;
    await assert.rejects(site.resync(2, acknowledged), code('US5019'), failing);
    fails = false;
    await site.writeSome();
    await site.restart();
    await site.writeSome();
    const checkpoint = await site.resync(2, acknowledged);
    await assertRecordLeadsTo(site, checkpoint, replica);
    const records = (await readdir(folderOf(site))).filter((name) => name.endsWith('.changed'));
    assert.ok(records.length === 2 && records.every((name) => name.includes(checkpoint.checkpointId)), failing);
  }
});

test('a site killed between any two steps of a resync starts it again, with the record or without, never with a wrong one', async (t) => {
  const seed = Number(process.env.UNDERSTUDY_SEED ?? Date.now() % 2 ** 31);
  t.diagnostic(`seed ${seed} (UNDERSTUDY_SEED replays it)`);
  const folder = await temporaryFolder(t);
  const copies: { step: string; copy: string }[] = [];
  let watching = false;
  const siteFolder = join(folder, 'site');
  const site = await startResyncSubject(t, seed, {
    siteFolder,
    observe: async (step) => {
      if (!watching) return;
      const copy = join(folder, `killed-${copies.length}`);
      await copyKilled(siteFolder, copy);
      copies.push({ step, copy });
    },
  });
  for (const waiting of [false, true]) {
    const cycle = waiting ? 201 : 1;
    const epoch = waiting ? 3 : 2;
    const since = { epoch: epoch - 1, cycle };
    const replica = await site.acknowledge(cycle);
    await site.writeSome();
    if (waiting) await writeUnder(site, 'log-write-failure');
    copies.length = 0;
    watching = true;
    const { checkpointId } = await site.resync(epoch, since);
    watching = false;
    assert.deepEqual(
      copies.map(({ step }) => step),
      ['logs forgotten', 'logs created', 'freeze prepared', 'changes stored', 'committed'],
    );
    for (const { step, copy } of copies) {
      const killed = await startTestSite(t, { siteFolder: copy });
      const host = openSimulatedSite({ siteFolder: copy });
      const subject = { host, vmId: site.vmId };
      const again = await host.startResynchronization(site.vmId, {
        protectionId,
        epoch,
        baseCycle: 100 * epoch,
        changedSince: since,
      });
      assert.deepEqual(await checkpointImages(host, site.vmId, again), site.images, step);
      assert.equal(again.checkpointId === checkpointId, step === 'committed', step);
      if (step === 'committed') {
        await assertRecordLeadsTo(subject, again, replica);
        const status = await host.tracking(site.vmId, protectionId);
        assert.ok(status.kind === 'resyncRequired' && status.reason === 'hostCrash');
      } else {
        await assertNoRecord(subject, again);
      }
      const names = await readdir(join(copy, vm));
      const strays = names.filter((name) => /\.(changed|redirect)$/.test(name) && !name.includes(again.checkpointId));
      assert.deepEqual(strays, [], step);
      await killed.stop();
    }
    await site.host.releaseCheckpoint(site.vmId, checkpointId);
    assert.ok(
      !(await readdir(folderOf(site))).some((name) => name.endsWith('.changed')),
      'the record outlived its checkpoint',
    );
  }
});

test('a resized disk is refused by its own error, and the refusal changes nothing', async (t) => {
  for (const waiting of [false, true]) {
    const site = await startResyncSubject(t, 9);
    await site.acknowledge(1);
    await site.writeSome();
    await close(site, 2);
    if (waiting) await writeUnder(site, 'disk-full');
    await site.connection.call('power', { vm, powerState: 'off' });
    await site.connection.call('resize', { vm, diskIndex: 0, sizeBytes: 16 * mib });
    await site.connection.call('power', { vm, powerState: 'running' });
    await site.write(0, 12 * mib, Buffer.alloc(512));
    const state = () => readFile(join(folderOf(site), 'state.json'), 'utf8');
    const [before, cycles] = [await state(), await site.host.closedCycles(site.vmId, protectionId)];
    const refused = (error: unknown) =>
      code('US5021')(error) &&
      /[Dd]isable.*enable/.test((error as { recommendedAction?: string }).recommendedAction ?? '');
    await assert.rejects(site.resync(2, acknowledged), refused);
    await assert.rejects(site.host.startInitialReplication(site.vmId, { protectionId, epoch: 2 }), refused);
    await assert.rejects(close(site, 3), refused);
    assert.equal(await state(), before);
    assert.deepEqual(await site.host.closedCycles(site.vmId, protectionId), cycles);
    assert.equal(await site.reason(), waiting ? 'diskFull' : 'tracking');
    await site.host.removeReplicationRelationship(site.vmId, protectionId);
    await site.host.createReplicationRelationship(site.vmId, protectionId);
    const anew = await site.host.startInitialReplication(site.vmId, { protectionId, epoch: 3 });
    assert.equal(anew.disks[0]?.sizeBytes, 16 * mib);
  }
});

test('a checkpoint that stands when the logs break is told, can be released, and its side files go', async (t) => {
  const site = await startResyncSubject(t, 5);
  await site.acknowledge(1);
  const { checkpointId } = await site.resync(2, acknowledged);
  await site.write(0, 0, Buffer.alloc(mib, 1));
  await writeUnder(site, 'log-write-failure');
  const broken = await site.host.tracking(site.vmId, protectionId);
  assert(broken.kind === 'resyncRequired');
  assert.equal(broken.checkpointId, checkpointId);
  const sideFiles = async () =>
    (await readdir(folderOf(site))).filter((name) => /\.(redirect|merging|changed)$/.test(name));
  assert.notDeepEqual(await sideFiles(), []);
  await site.host.releaseCheckpoint(site.vmId, checkpointId);
  const released = await site.host.tracking(site.vmId, protectionId);
  assert(released.kind === 'resyncRequired');
  assert.equal(released.checkpointId, undefined);
  assert.deepEqual(await sideFiles(), []);
  await site.write(0, 0, Buffer.alloc(mib, 2));
  assert.equal((await site.resync(3)).epoch, 3);
});
