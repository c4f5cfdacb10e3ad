import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { CloudCompute, CloudVm, CloudVmSpecification } from '../../../core/ports/cloud-compute.js';
import type { CloudNetwork } from '../../../core/ports/cloud-inventory.js';
import type { ReplicaStore } from '../../../core/ports/replica-store.js';
import { errorWithCode } from './error-code.js';

const diskBytes = 1024 * 1024;
const addressOf = ({ nics }: CloudVm): string => nics[0]?.privateIpAddress ?? '';

/** What every CloudCompute keeps. `network` has the subnets `frontend` (10.1.0.0/28) and `backend` (10.1.1.0/28). */
export function cloudComputeConformance(
  name: string,
  open: () => Promise<{
    compute: CloudCompute;
    replicas: ReplicaStore;
    storageAccountId: string;
    network: CloudNetwork;
  }>,
): void {
  type Subject = Awaited<ReturnType<typeof open>>;
  const check = (behaviour: string, body: (subject: Subject) => Promise<void>): void => {
    test(`${name}: ${behaviour}`, async () => body(await open()));
  };

  /** With its disks made. */
  async function specificationOf(
    { replicas, storageAccountId, network }: Subject,
    overrides: Partial<CloudVmSpecification> = {},
  ): Promise<CloudVmSpecification> {
    const id = randomUUID();
    const disks = [0, 1].map((lun) => ({
      name: `disk-${lun}`,
      lun,
      isOsDisk: lun === 0,
      blob: { storageAccountId, container: 'understudy-replicas', blobName: `${id}/failover-${lun}.vhd` },
      sizeBytes: diskBytes,
    }));
    for (const disk of disks) await replicas.createDisk(disk.blob, diskBytes + 512);
    return {
      vmArmId: `/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/${id}`,
      name: 'sql-01',
      size: 'Standard_D2s_v3',
      generation: 1,
      osType: 'Windows',
      networkId: network.armId,
      nics: [{}],
      disks,
      tags: { 'understudy-item': 'item', 'understudy-job': 'job' },
      ...overrides,
    };
  }

  check('a VM is created once, with its disks and an address, and read back', async (subject) => {
    const { compute } = subject;
    const specification = await specificationOf(subject, { nics: [{ subnetName: 'backend' }] });
    assert.equal(await compute.getVm(specification.vmArmId), undefined);
    const vm = await compute.createVm(specification);
    const privateIpAddress = addressOf(vm);
    const nics = [{ subnetName: 'backend', privateIpAddress }];
    assert.deepEqual(vm, { ...specification, powerState: 'created', nics });
    assert.match(privateIpAddress, /^10\.1\.1\./);
    assert.deepEqual(await compute.createVm(specification), vm);
    assert.deepEqual(await compute.getVm(specification.vmArmId.toUpperCase()), vm);
  });

  check('another VM under the same id is refused', async (subject) => {
    const { compute } = subject;
    const specification = await specificationOf(subject);
    await compute.createVm(specification);
    const other = await specificationOf(subject, { vmArmId: specification.vmArmId });
    await assert.rejects(compute.createVm(other), errorWithCode('US4010'));
    await assert.rejects(compute.createVm({ ...specification, size: 'Standard_D4s_v3' }), errorWithCode('US4010'));
    assert.deepEqual((await compute.getVm(specification.vmArmId))?.disks, specification.disks);
  });

  check('a VM without a network has no address', async (subject) => {
    const { networkId: _, ...specification } = await specificationOf(subject, { nics: [] });
    assert.deepEqual((await subject.compute.createVm(specification)).nics, []);
  });

  check(
    'the subnet is the named one, in any case of letters, else the first in the network’s order',
    async (subject) => {
      const { compute } = subject;
      const named = await compute.createVm(await specificationOf(subject, { nics: [{ subnetName: 'BackEnd' }] }));
      assert.equal(named.nics[0]?.subnetName, 'backend');
      const unknown = await compute.createVm(
        await specificationOf(subject, { nics: [{ subnetName: 'at-the-source' }] }),
      );
      assert.equal(unknown.nics[0]?.subnetName, 'frontend');
      const first = await compute.createVm(await specificationOf(subject));
      assert.equal(first.nics[0]?.subnetName, 'frontend');
    },
  );

  check('every interface has its own subnet and address; a static one is had or refused', async (subject) => {
    const { compute } = subject;
    const nics = [
      { nicId: 'first', subnetName: 'backend', staticIpAddress: '10.1.1.9' },
      { nicId: 'second', subnetName: 'frontend' },
      { nicId: 'third', subnetName: 'frontend' },
    ];
    const specification = await specificationOf(subject, { nics });
    const vm = await compute.createVm(specification);
    const addresses = ['10.1.1.9', '10.1.0.4', '10.1.0.5'];
    const placed = nics.map((nic, index) => ({ ...nic, privateIpAddress: addresses[index] }));
    assert.deepEqual(vm.nics, placed);
    assert.deepEqual(await compute.createVm(specification), vm);
    assert.deepEqual((await compute.startVm(vm.vmArmId)).nics, placed);
    for (const [staticIpAddress, subnetName] of [
      ['10.1.1.9', 'backend'],
      ['10.9.9.9', 'backend'],
      ['10.1.0.2', 'frontend'],
    ] as const) {
      const refused = await specificationOf(subject, { nics: [{}, { subnetName, staticIpAddress }] });
      await assert.rejects(compute.createVm(refused), errorWithCode('US6055'));
      // As the workflows do: what a broken-off making left is deleted.
      if (await compute.getVm(refused.vmArmId)) await compute.deleteVm(refused.vmArmId, { deleteDisks: true });
    }
    const other = { ...specification, nics: nics.slice(0, 2) };
    await assert.rejects(compute.createVm(other), errorWithCode('US4010'));
    await compute.deleteVm(vm.vmArmId, { deleteDisks: true });
    const again = await compute.createVm(await specificationOf(subject, { nics }));
    assert.deepEqual(again.nics, placed, 'all addresses are free again');
  });

  check('a VM starts and stops, each any number of times', async (subject) => {
    const { compute } = subject;
    const { vmArmId } = await compute.createVm(await specificationOf(subject));
    assert.equal((await compute.startVm(vmArmId)).powerState, 'running');
    assert.equal((await compute.startVm(vmArmId)).powerState, 'running');
    assert.equal((await compute.stopVm(vmArmId)).powerState, 'stopped');
    assert.equal((await compute.stopVm(vmArmId)).powerState, 'stopped');
    assert.equal((await compute.getVm(vmArmId))?.powerState, 'stopped');
    await assert.rejects(compute.startVm(`${vmArmId}x`), errorWithCode('US6051'));
    await assert.rejects(compute.stopVm(`${vmArmId}x`), errorWithCode('US6051'));
  });

  check('a VM is not made of, and does not start on, a disk that is missing or of another size', async (subject) => {
    const { compute, replicas } = subject;
    const specification = await specificationOf(subject);
    const [osDisk] = specification.disks;
    assert(osDisk);
    const wrong = { ...specification, disks: [{ ...osDisk, sizeBytes: 2 * diskBytes }] };
    await assert.rejects(compute.createVm(wrong), errorWithCode('US6052'));
    await compute.createVm(specification);
    await replicas.deleteDisk(osDisk.blob);
    await assert.rejects(compute.startVm(specification.vmArmId), errorWithCode('US6052'));
  });

  check(
    'a public address is there on request only, is nobody else’s, and is free again with its VM',
    async (subject) => {
      const { compute } = subject;
      const first = await compute.createVm(await specificationOf(subject, { publicAddress: true }));
      const second = await compute.createVm(await specificationOf(subject, { publicAddress: true }));
      const closed = await compute.createVm(await specificationOf(subject));
      assert.match(first.publicIpAddress ?? '', /^\d+\.\d+\.\d+\.\d+$/);
      assert.notEqual(first.publicIpAddress, second.publicIpAddress);
      assert.equal(closed.publicIpAddress, undefined);
      assert.equal((await compute.getVm(first.vmArmId))?.publicIpAddress, first.publicIpAddress);
      await compute.deleteVm(first.vmArmId, { deleteDisks: true });
      assert.equal(await compute.getVm(first.vmArmId), undefined);
    },
  );

  check('an exported disk holds still, running or stopped, and ends with its export', async (subject) => {
    const { compute, replicas, storageAccountId } = subject;
    const specification = await specificationOf(subject);
    const [osDisk] = specification.disks;
    assert(osDisk);
    const fence = { epoch: 1, cycle: 1 };
    await replicas.raiseFence(osDisk.blob, fence);
    await replicas.writePages(osDisk.blob, 4096, Buffer.alloc(512, 'a'), fence);
    const { vmArmId } = await compute.createVm(specification);
    await compute.startVm(vmArmId);
    const to = { storageAccountId, container: 'understudy-replicas', blobName: `${randomUUID()}/export.vhd` };
    const exporting = { exportName: 'first', lun: 0, to };
    let exported = await compute.exportDisk(vmArmId, exporting);
    for (let looks = 0; !exported.finished && looks < 100; looks++)
      exported = await compute.exportDisk(vmArmId, exporting);
    assert(exported.finished);
    const { blob, snapshotId } = exported.source;
    assert.deepEqual(await replicas.readPages(blob, 4096, 512, snapshotId), Buffer.alloc(512, 'a'));
    assert.equal(await replicas.readPages(blob, 0, 512, snapshotId).then((data) => data.length), 512);
    await assert.rejects(compute.exportDisk(vmArmId, { ...exporting, lun: 7 }), errorWithCode('US6051'));
    await assert.rejects(compute.exportDisk(`${vmArmId}x`, exporting), errorWithCode('US6051'));
    for (let time = 0; time < 2; time++) await compute.endExport(vmArmId, { exportName: 'first', disks: [exporting] });
    if (snapshotId !== undefined) assert.deepEqual(await replicas.listSnapshots(blob), []);
    assert.equal(await replicas.properties(to), undefined);
    assert((await compute.getVm(vmArmId))?.powerState === 'running');
    await compute.endExport(`${vmArmId}x`, { exportName: 'first', disks: [exporting] });
  });

  check('deleting takes the disks on demand only, frees the address, and may come twice', async (subject) => {
    const { compute, replicas } = subject;
    for (const deleteDisks of [false, true]) {
      const specification = await specificationOf(subject);
      const address = addressOf(await compute.createVm(specification));
      await compute.deleteVm(specification.vmArmId, { deleteDisks });
      await compute.deleteVm(specification.vmArmId, { deleteDisks });
      assert.equal(await compute.getVm(specification.vmArmId), undefined);
      for (const { blob } of specification.disks) {
        assert.equal((await replicas.properties(blob)) === undefined, deleteDisks);
      }
      const next = await specificationOf(subject);
      assert.equal(addressOf(await compute.createVm(next)), address);
      await compute.deleteVm(next.vmArmId, { deleteDisks: true });
    }
  });

  check('once a VM is deleted with its disks, another one may take its id', async (subject) => {
    const { compute } = subject;
    const { vmArmId } = await compute.createVm(await specificationOf(subject));
    await compute.startVm(vmArmId);
    await compute.deleteVm(vmArmId, { deleteDisks: true });
    const other = await specificationOf(subject, { vmArmId, size: 'Standard_D4s_v3' });
    const vm = await compute.createVm(other);
    assert.deepEqual(vm, { ...other, ...vm, powerState: 'created' });
    assert.deepEqual(vm.disks, other.disks);
  });

  check('of racing VMs no two get one address; a full subnet is refused', async (subject) => {
    const { compute } = subject;
    // 16 addresses, of which Azure keeps the first four and the last.
    const specifications = await Promise.all(Array.from({ length: 11 }, () => specificationOf(subject)));
    const vms = await Promise.all(specifications.map((specification) => compute.createVm(specification)));
    const addresses = new Set(vms.map(addressOf));
    assert.deepEqual([...addresses].sort(), Array.from({ length: 11 }, (_, index) => `10.1.0.${index + 4}`).sort());
    const tooMany = await specificationOf(subject);
    await assert.rejects(compute.createVm(tooMany), errorWithCode('US6050'));
    assert.equal(await compute.getVm(tooMany.vmArmId), undefined);
  });

  check('racing runs of one creation make one VM', async (subject) => {
    const { compute } = subject;
    const specification = await specificationOf(subject);
    const vms = await Promise.all(Array.from({ length: 5 }, () => compute.createVm(specification)));
    for (const vm of vms) assert.deepEqual(vm, vms[0]);
  });
}
