import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import type { SiteVm } from '../../../core/domain/site/inventory.js';
import { asDiskId, type VmId } from '../../../core/domain/ids.js';
import type { HypervisorHost } from '../../../core/ports/hypervisor-host.js';

/** A site with one running VM of two disks (8 MiB or more), whose guest writes only what the test tells it. */
export interface FailbackHostSubject {
  host: HypervisorHost;
  vmId: VmId;
  write: (diskIndex: number, offsetBytes: number, data: Buffer) => Promise<void>;
  read: (diskIndex: number, offsetBytes: number, lengthBytes: number) => Promise<Buffer>;
  start: () => Promise<void>;
  /** Another program writes to a disk of the VM, which is off. */
  writeOffline: (diskIndex: number, offsetBytes: number, data: Buffer) => Promise<void>;
  /** The site loses the VM with its disks. */
  loseVm: () => Promise<void>;
}

const protectionId = 'f1d0c6a0-0000-4000-8000-000000000001';
const lock = (lockId: string) => ({ protectionId, lockId });
const mib = 1024 * 1024;
const code = (wanted: string) => (error: unknown) => error instanceof Error && 'code' in error && error.code === wanted;

/** What every HypervisorHost keeps of a failback. */
export function failbackHostConformance(name: string, open: (t: TestContext) => Promise<FailbackHostSubject>): void {
  /** Tracked, and off after a failover. */
  const failedOver = async (t: TestContext) => {
    const subject = await open(t);
    const { host, vmId } = subject;
    await host.createReplicationRelationship(vmId, protectionId);
    const checkpoint = await host.startInitialReplication(vmId, { protectionId, epoch: 1 });
    const before = randomBytes(mib);
    await subject.write(0, mib, before);
    await subject.write(1, mib, before);
    await host.switchLogs(vmId, { protectionId, cycle: 1, consistency: 'crashConsistent' });
    await host.shutDown(vmId);
    const vm = (await host.inventory()).vms.find((each) => each.vmId === vmId);
    assert(vm);
    return { ...subject, before, vm, diskIds: checkpoint.disks.map(({ diskId }) => diskId) };
  };
  type Scene = Awaited<ReturnType<typeof failedOver>>;

  const writeImage = async ({ host, vmId }: Scene, lockId: string, diskId: string, at: number, data: Buffer) => {
    const image = await host.openSideImage(vmId, { lockId, diskId: asDiskId(diskId) });
    await image.write(at, data);
    await image.flush();
    await image.close();
  };

  const present = async ({ host, vmId }: Scene): Promise<SiteVm | undefined> =>
    (await host.inventory()).vms.find((vm) => vm.vmId === vmId);

  test(`${name}: side images are whole copies, and nothing reaches the disks before they are replaced`, async (t) => {
    const scene = await failedOver(t);
    const { host, vmId, before, diskIds } = scene;
    for (let time = 0; time < 2; time++) await host.prepareFailback(vmId, lock('a'));
    assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'prepared', lockId: 'a' });
    const image = await host.openSideImage(vmId, { lockId: 'a', diskId: asDiskId(diskIds[0] ?? '') });
    assert.deepEqual(await image.read(mib, mib), before);
    await image.close();
    await writeImage(scene, 'a', diskIds[0] ?? '', mib, randomBytes(mib));
    await assert.rejects(scene.start(), code('US5022'));

    await host.abandonFailback(vmId, protectionId);
    await host.abandonFailback(vmId, protectionId);
    assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'none' });
    await assert.rejects(host.openSideImage(vmId, { lockId: 'a', diskId: asDiskId(diskIds[0] ?? '') }), code('US5026'));
    await scene.start();
    assert.deepEqual(await scene.read(0, mib, mib), before);
    assert.equal((await host.closedCycles(vmId, protectionId)).length, 1, 'what was closed is still there');
  });

  test(`${name}: the images take the disks' places, and tracking starts anew before the VM does`, async (t) => {
    const scene = await failedOver(t);
    const { host, vmId, diskIds } = scene;
    await host.prepareFailback(vmId, lock('a'));
    const contents = [randomBytes(mib), randomBytes(mib)];
    for (const [index, diskId] of diskIds.entries()) {
      await writeImage(scene, 'a', diskId, 3 * mib, contents[index] ?? Buffer.alloc(0));
    }
    const replaced = { ...lock('a'), epoch: 7, baseCycle: 40, startAfterwards: true };
    await assert.rejects(host.replaceDisks(vmId, { ...replaced, lockId: 'b' }), code('US5026'));
    for (let time = 0; time < 2; time++) await host.replaceDisks(vmId, replaced);
    await host.prepareFailback(vmId, lock('a'));
    assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'replaced', lockId: 'a' });
    assert.deepEqual(await host.closedCycles(vmId, protectionId), []);
    const tracking = await host.tracking(vmId, protectionId);
    assert(tracking.kind === 'tracking');
    assert.deepEqual([tracking.lastClosedCycle, tracking.lockId], [40, 'a']);
    await assert.rejects(scene.start(), code('US5022'));

    for (let time = 0; time < 2; time++) await host.unlockSource(vmId, lock('a'));
    assert.equal((await present(scene))?.powerState, 'running');
    for (const [index, content] of contents.entries()) assert.deepEqual(await scene.read(index, 3 * mib, mib), content);
    await scene.write(1, 0, randomBytes(512));
    const first = await host.switchLogs(vmId, { protectionId, cycle: 41, consistency: 'crashConsistent' });
    assert.deepEqual(
      first.logs.map(({ entryCount }) => entryCount),
      [0, 1],
    );
    await host.shutDown(vmId);
    await host.prepareFailback(vmId, lock('c'));
    assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'prepared', lockId: 'c' });
  });

  test(`${name}: a VM that runs, and a disk that somebody wrote to meanwhile, are left as they are`, async (t) => {
    const scene = await failedOver(t);
    const { host, vmId, diskIds } = scene;
    await scene.start();
    await assert.rejects(host.prepareFailback(vmId, lock('a')), code('US5023'));
    assert.deepEqual(await host.failbackStatus(vmId, protectionId), { kind: 'none' });
    await host.shutDown(vmId);
    await host.prepareFailback(vmId, lock('a'));
    await writeImage(scene, 'a', diskIds[1] ?? '', 0, randomBytes(512));
    const foreign = randomBytes(512);
    await scene.writeOffline(1, 0, foreign);
    const replaced = { ...lock('a'), epoch: 7, baseCycle: 40, startAfterwards: true };
    await assert.rejects(host.replaceDisks(vmId, replaced), code('US5025'));
    await host.abandonFailback(vmId, protectionId);
    await scene.start();
    assert.deepEqual(await scene.read(1, 0, 512), foreign);
  });

  test(`${name}: a VM locked by its planned failover has that lock again when its failback is given up`, async (t) => {
    const { host, vmId } = await failedOver(t);
    await host.lockSource(vmId, lock('planned'));
    await host.prepareFailback(vmId, lock('a'));
    await host.prepareFailback(vmId, lock('b'));
    await host.abandonFailback(vmId, protectionId);
    const tracking = await host.tracking(vmId, protectionId);
    assert(tracking.kind === 'tracking');
    assert.equal(tracking.lockId, 'planned');
  });

  test(`${name}: a VM that the site lost is made anew on a chosen host, and goes with a failback that is given up`, async (t) => {
    const scene = await failedOver(t);
    const { host, vmId, vm, diskIds } = scene;
    await scene.loseVm();
    assert.equal(await present(scene), undefined);
    await assert.rejects(host.prepareFailback(vmId, lock('a')), code('US5005'));
    const otherHost = (await host.inventory()).hosts.find(({ hostId }) => hostId !== vm.hostId);
    assert(otherHost);
    const create = { hostId: otherHost.hostId, vm };
    await host.prepareFailback(vmId, { ...lock('a'), create });
    await host.abandonFailback(vmId, protectionId);
    assert.equal(await present(scene), undefined);

    for (let time = 0; time < 2; time++) await host.prepareFailback(vmId, { ...lock('b'), create });
    const made = await present(scene);
    assert.deepEqual([made?.hostId, made?.powerState, made?.disks], [otherHost.hostId, 'off', vm.disks]);
    const content = randomBytes(mib);
    await writeImage(scene, 'b', diskIds[0] ?? '', mib, content);
    await host.replaceDisks(vmId, { ...lock('b'), epoch: 3, baseCycle: 9, startAfterwards: true });
    await host.unlockSource(vmId, lock('b'));
    assert.deepEqual(await scene.read(0, mib, mib), content);
    await host.abandonFailback(vmId, protectionId);
    assert.equal((await present(scene))?.powerState, 'running', 'what was replaced is not given up any more');
  });
}
