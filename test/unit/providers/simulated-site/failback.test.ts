import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { asVmId } from '../../../../core/domain/ids.js';
import { openSimulatedSite } from '../../../../providers/simulated-site/client.js';
import { failbackHostConformance } from '../../../support/conformance/failback-host.js';
import { copyKilled, startTestSite, temporaryFolder, type TestSite } from '../../../support/site/test-site.js';

const mib = 1024 * 1024;
const vm = 'sql-01';

async function subjectOf({ siteFolder, connection }: Pick<TestSite, 'siteFolder' | 'connection'>) {
  const host = openSimulatedSite({ siteFolder });
  const found = (await host.inventory()).vms.find(({ name }) => name === vm);
  const call = connection.call.bind(connection);
  return {
    host,
    vmId: asVmId(found?.vmId ?? ''),
    write: async (diskIndex: number, offsetBytes: number, data: Buffer) => {
      await call('write', { vm, diskIndex, offsetBytes, dataBase64: data.toString('base64') });
    },
    read: async (diskIndex: number, offsetBytes: number, lengthBytes: number) =>
      Buffer.from((await call('read', { vm, diskIndex, offsetBytes, lengthBytes })).dataBase64, 'base64'),
    start: async () => {
      await call('power', { vm, powerState: 'running' });
    },
    writeOffline: async (diskIndex: number, offsetBytes: number, data: Buffer) => {
      await call('offlineWrite', { vm, diskIndex, offsetBytes, dataBase64: data.toString('base64') });
    },
    loseVm: async () => {
      await call('removeVm', { vm });
    },
  };
}

failbackHostConformance('simulated site', async (t) => subjectOf(await startTestSite(t)));

const protectionId = 'f1d0c6a0-0000-4000-8000-000000000001';
const lock = { protectionId, lockId: 'failback' };

test('a site that dies at any step of the swap carries it to its end, all disks alike', async (t) => {
  const folders: { step: string; siteFolder: string }[] = [];
  const swapSteps = ['swap decided', 'replaced sql-01-os', 'replaced sql-01-data', 'logs gone'];
  const killed = await temporaryFolder(t);
  const site = await startTestSite(t, {
    journal: true,
    observe: async (step) => {
      if (!swapSteps.includes(step)) return;
      const siteFolder = join(killed, String(folders.length));
      await copyKilled(site.siteFolder, siteFolder);
      folders.push({ step, siteFolder });
    },
  });
  const scene = await subjectOf(site);
  await scene.host.createReplicationRelationship(scene.vmId, protectionId);
  const { disks } = await scene.host.startInitialReplication(scene.vmId, { protectionId, epoch: 1 });
  await scene.host.shutDown(scene.vmId);
  await scene.host.prepareFailback(scene.vmId, lock);
  const content = randomBytes(mib);
  for (const { diskId } of disks) {
    const image = await scene.host.openSideImage(scene.vmId, { lockId: lock.lockId, diskId });
    await image.write(mib, content);
    await image.close();
  }
  const swap = { ...lock, epoch: 10, baseCycle: 50, startAfterwards: false };
  await scene.host.replaceDisks(scene.vmId, swap);
  assert.deepEqual(
    folders.map(({ step }) => step),
    swapSteps,
  );
  for (const { step, siteFolder } of folders) {
    const after = await subjectOf(await startTestSite(t, { siteFolder, journal: true }));
    await after.host.replaceDisks(after.vmId, swap);
    const status = await after.host.failbackStatus(after.vmId, protectionId);
    assert.deepEqual(status, { kind: 'replaced', lockId: lock.lockId }, step);
    for (const diskIndex of [0, 1]) assert.deepEqual(await after.read(diskIndex, mib, mib), content, step);
    const tracking = await after.host.tracking(after.vmId, protectionId);
    assert.equal(tracking.kind === 'tracking' && tracking.lastClosedCycle, 50, step);
    const left = (await readdir(join(siteFolder, vm))).filter((file) => file.includes('failback'));
    assert.deepEqual(left, [], step);
  }
});

test('a site that restarts while a failback is prepared goes on with it, and the disks count as untouched', async (t) => {
  const site = await startTestSite(t);
  const scene = await subjectOf(site);
  await scene.host.createReplicationRelationship(scene.vmId, protectionId);
  const { disks } = await scene.host.startInitialReplication(scene.vmId, { protectionId, epoch: 1 });
  await scene.host.shutDown(scene.vmId);
  await scene.host.prepareFailback(scene.vmId, lock);
  const content = randomBytes(512);
  const write = async () => {
    const image = await scene.host.openSideImage(scene.vmId, {
      lockId: lock.lockId,
      diskId: disks[0]?.diskId ?? ('' as never),
    });
    await image.write(0, content);
    await image.flush();
    await image.close();
  };
  await write();
  await site.restart();
  await site.crash();
  assert.deepEqual(await scene.host.failbackStatus(scene.vmId, protectionId), {
    kind: 'prepared',
    lockId: lock.lockId,
  });
  await write();
  await scene.host.replaceDisks(scene.vmId, { ...lock, epoch: 2, baseCycle: 5, startAfterwards: true });
  await site.crash();
  await assert.rejects(scene.start(), { code: 'US5022' });
  await scene.host.unlockSource(scene.vmId, lock);
  assert.deepEqual(await scene.read(0, 0, 512), content);
});

test('a side image that is lost is not made anew from the old disk: the failback is given up and begun anew', async (t) => {
  const site = await startTestSite(t);
  const { host, vmId, read, start } = await subjectOf(site);
  await host.createReplicationRelationship(vmId, protectionId);
  const { disks } = await host.startInitialReplication(vmId, { protectionId, epoch: 1 });
  await host.shutDown(vmId);
  const before = await read(0, 0, mib);
  await host.prepareFailback(vmId, lock);
  const folder = join(site.siteFolder, vm);
  const images = (await readdir(folder)).filter((file) => file.includes('failback'));
  assert.equal(images.length, disks.length);
  await rm(join(folder, images[0] ?? ''));
  for (const restarts of [false, true]) {
    if (restarts) await site.restart();
    assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'preparing', lockId: lock.lockId });
    await assert.rejects(host.prepareFailback(vmId, lock), { code: 'US5026' });
    await assert.rejects(host.replaceDisks(vmId, { ...lock, epoch: 2, baseCycle: 5, startAfterwards: true }), {
      code: 'US5026',
    });
  }
  await host.prepareFailback(vmId, { protectionId, lockId: 'next' });
  assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'prepared', lockId: 'next' });
  await host.abandonFailback(vmId, protectionId);
  await start();
  assert.deepEqual(await read(0, 0, mib), before);
});

test('a swap that broke off in a site that lives on is gone on with', async (t) => {
  let breaks = true;
  const site = await startTestSite(t, {
    observe: async (step) => {
      if (step === 'replaced sql-01-os' && breaks) throw new Error('the file is in use');
    },
  });
  const { host, vmId, read } = await subjectOf(site);
  await host.createReplicationRelationship(vmId, protectionId);
  const { disks } = await host.startInitialReplication(vmId, { protectionId, epoch: 1 });
  await host.shutDown(vmId);
  await host.prepareFailback(vmId, lock);
  const content = randomBytes(mib);
  for (const { diskId } of disks) {
    const image = await host.openSideImage(vmId, { lockId: lock.lockId, diskId });
    await image.write(0, content);
    await image.flush();
    await image.close();
  }
  const swap = { ...lock, epoch: 10, baseCycle: 50, startAfterwards: false };
  await assert.rejects(host.replaceDisks(vmId, swap));
  assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'prepared', lockId: lock.lockId });
  breaks = false;
  await host.replaceDisks(vmId, swap);
  assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'replaced', lockId: lock.lockId });
  for (const diskIndex of [0, 1]) assert.deepEqual(await read(diskIndex, 0, mib), content);
});
