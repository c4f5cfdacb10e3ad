import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { ArmRefusal } from '../../support/arm/arm-answers.js';
import { account, AzureDouble } from '../../support/arm/azure-double.js';
import { cloudComputeConformance } from '../../support/conformance/cloud-compute.js';
import { errorWithCode } from '../../support/conformance/error-code.js';

const doubles: AzureDouble[] = [];
const openAzure = async (): Promise<AzureDouble> => {
  const azure = await AzureDouble.open();
  doubles.push(azure);
  return azure;
};
after(() => {
  for (const { server } of doubles) server.stop();
});

cloudComputeConformance('azure compute', async () => {
  const azure = await openAzure();
  const { replicas, storageAccountId, network } = azure;
  return { compute: azure.compute().compute, replicas, storageAccountId, network };
});

const group = '/subscriptions/s/resourceGroups/g/providers';
const vmParts = ['disks/vm-data-1', 'disks/vm-os', 'networkInterfaces/vm-nic'];

test('a VM’s parts are made in an order that leaves no trace of a full subnet, and nothing runs yet', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const specification = await azure.specification({ publicAddress: true });
  const vm = await compute.createVm(specification);
  const [nic, address, nicAgain, ...disks] = azure.changes();
  assert.deepEqual(
    [nic, address, nicAgain],
    ['PUT networkInterfaces/vm-nic', 'PUT publicIPAddresses/vm-ip', 'PUT networkInterfaces/vm-nic'],
  );
  assert.deepEqual(disks.sort(), ['PUT disks/vm-data-1', 'PUT disks/vm-os']);
  assert.deepEqual(azure.left(), [...vmParts, 'publicIPAddresses/vm-ip']);
  assert.equal(vm.publicIpAddress, '203.0.113.1');
  await compute.createVm(specification);
  assert.deepEqual(azure.changes(), []);
});

test('disks are imported from their blobs, with what the guest needs to boot', async () => {
  const azure = await openAzure();
  const specification = await azure.specification({ osType: 'Linux' });
  await azure.compute().compute.createVm(specification);
  const osDisk = azure.resources.get('disks', `${group}/Microsoft.Compute/disks/vm-os`);
  const dataDisk = azure.resources.get('disks', `${group}/Microsoft.Compute/disks/vm-data-1`);
  const [first] = specification.disks;
  assert.deepEqual(osDisk?.properties.creationData, {
    createOption: 'Import',
    sourceUri: `https://replicas.blob.core.windows.net/understudy-replicas/${first?.blob.blobName.replace(' ', '%20')}`,
    storageAccountId: azure.storageAccountId,
  });
  assert.deepEqual(
    [osDisk.properties.osType, osDisk.properties.hyperVGeneration, osDisk.location, osDisk.sku?.name],
    ['Linux', 'V1', 'westeurope', 'Standard_LRS'],
  );
  assert.deepEqual([dataDisk?.properties.osType, dataDisk?.properties.hyperVGeneration], [undefined, undefined]);
  for (const disk of [osDisk, dataDisk]) {
    assert.equal(disk?.tags?.['understudy-item'], 'item');
    assert.equal(disk.tags['understudy-vm'], 'vm');
  }
});

test('the first start makes the VM of its disks, later ones start it; stopping lets its host go', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const { vmArmId } = await compute.createVm(await azure.specification());
  azure.changes();
  await compute.startVm(vmArmId);
  assert.deepEqual(azure.changes(), ['PUT virtualMachines/vm']);
  await compute.startVm(vmArmId);
  assert.deepEqual(azure.changes(), []);
  await compute.stopVm(vmArmId);
  await compute.stopVm(vmArmId);
  assert.deepEqual(azure.changes(), ['POST virtualMachines/vm/deallocate']);
  assert.equal((await compute.startVm(vmArmId)).powerState, 'running');
  assert.deepEqual(azure.changes(), ['POST virtualMachines/vm/start']);
  const { properties } = azure.server.bodies.get('PUT virtualMachines/vm') as { properties: object };
  assert.deepEqual(properties, {
    hardwareProfile: { vmSize: 'Standard_D2s_v5' },
    storageProfile: {
      osDisk: {
        osType: 'Windows',
        createOption: 'Attach',
        managedDisk: { id: `${group}/Microsoft.Compute/disks/vm-os` },
      },
      dataDisks: [
        { lun: 1, createOption: 'Attach', managedDisk: { id: `${group}/Microsoft.Compute/disks/vm-data-1` } },
      ],
    },
    networkProfile: {
      networkInterfaces: [{ id: `${group}/Microsoft.Network/networkInterfaces/vm-nic`, properties: { primary: true } }],
    },
  });
});

test('a VM has its interfaces in their order, and every kind of resource its own tags', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const trace = { 'understudy-job': 'job' };
  const specification = await azure.specification({
    nics: [{ staticIpAddress: '10.1.0.9' }, { subnetName: 'backend' }],
    tags: { ...trace, owner: 'payroll' },
    nicTags: { ...trace, net: 'corp' },
    diskTags: { ...trace, tier: 'gold' },
  });
  await compute.createVm(specification);
  await compute.startVm(specification.vmArmId);
  const { properties } = azure.server.bodies.get('PUT virtualMachines/vm') as { properties: Record<string, unknown> };
  const nicId = (name: string): string => `${group}/Microsoft.Network/networkInterfaces/${name}`;
  assert.deepEqual(properties.networkProfile, {
    networkInterfaces: [
      { id: nicId('vm-nic'), properties: { primary: true } },
      { id: nicId('vm-nic-2'), properties: { primary: false } },
    ],
  });
  const own = (type: 'virtualMachines' | 'networkInterfaces' | 'disks', name: string): object => {
    const provider = type === 'networkInterfaces' ? 'Microsoft.Network' : 'Microsoft.Compute';
    const tags = azure.resources.get(type, `${group}/${provider}/${type}/${name}`)?.tags ?? {};
    return Object.fromEntries(Object.entries(tags).filter(([tag]) => !tag.startsWith('understudy-')));
  };
  assert.deepEqual(own('virtualMachines', 'vm'), { owner: 'payroll' });
  for (const name of ['vm-nic', 'vm-nic-2']) assert.deepEqual(own('networkInterfaces', name), { net: 'corp' });
  for (const name of ['vm-os', 'vm-data-1']) assert.deepEqual(own('disks', name), { tier: 'gold' });
  await compute.deleteVm(specification.vmArmId, { deleteDisks: true });
  assert.deepEqual(azure.left(), []);
});

test('a VM in a zone has its disks there, and one with Azure Hybrid Benefit the licence by Azure’s word', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const specification = await azure.specification({ availabilityZone: '2', licenseType: 'WindowsServer' });
  await compute.createVm(specification);
  assert.equal((await compute.startVm(specification.vmArmId)).powerState, 'running');
  const vm = azure.resources.get('virtualMachines', specification.vmArmId);
  assert.deepEqual([vm?.zones, vm?.properties.licenseType], [['2'], 'Windows_Server']);
  assert.deepEqual(azure.resources.get('disks', `${group}/Microsoft.Compute/disks/vm-data-1`)?.zones, ['2']);
});

test('a VM whose tags someone replaced is stopped and deleted all the same: what runs is not taken for gone', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const { vmArmId } = await compute.createVm(await azure.specification());
  await compute.startVm(vmArmId);
  const vm = azure.resources.get('virtualMachines', vmArmId);
  assert(vm);
  vm.tags = { owner: 'someone else' };
  assert.equal((await compute.getVm(vmArmId))?.powerState, 'running');
  assert.equal((await compute.stopVm(vmArmId)).powerState, 'stopped');
  await compute.deleteVm(vmArmId, { deleteDisks: true });
  assert.deepEqual(azure.left(), []);
});

test('a size that the region does not sell to the subscription is said to be so', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const { vmArmId } = await compute.createVm(await azure.specification());
  const refusal = new ArmRefusal(409, 'SkuNotAvailable', 'The requested VM size Standard_D2s_v5 is not available.');
  azure.server.refuse(/PUT virtualMachines/, refusal);
  await assert.rejects(compute.startVm(vmArmId), errorWithCode('US6063'));
});

test('an id that no virtual machine can have is refused by name', async () => {
  const azure = await openAzure();
  await assert.rejects(azure.compute().compute.getVm('rg-dr/providers/vm'), errorWithCode('US6068'));
});

test('a VM of generation 2 has a security profile and no secure boot', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const { vmArmId } = await compute.createVm(await azure.specification({ generation: 2 }));
  assert.equal((await compute.startVm(vmArmId)).powerState, 'running');
  const { properties } = azure.server.bodies.get('PUT virtualMachines/vm') as { properties: Record<string, unknown> };
  assert.deepEqual(properties.securityProfile, {
    securityType: 'TrustedLaunch',
    uefiSettings: { secureBootEnabled: false, vTpmEnabled: true },
  });
});

test('a VM without a network can be made, and is refused by name when it is to start', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const { networkId: _, ...specification } = await azure.specification({ nics: [] });
  await compute.createVm(specification);
  assert.equal(azure.changes()[0], 'PUT disks/vm-os');
  await assert.rejects(compute.startVm(specification.vmArmId), errorWithCode('US6066'));
  await compute.deleteVm(specification.vmArmId, { deleteDisks: true });
  assert.deepEqual(azure.left(), []);
});

test('nothing is made where the region is not known', async () => {
  const azure = await openAzure();
  const { location: _, ...nowhere } = account;
  const { compute } = azure.compute({ accounts: [nowhere] });
  await assert.rejects(compute.createVm(await azure.specification()), errorWithCode('US6067'));
  assert.deepEqual(azure.left(), []);
});

test('an export is a snapshot that the store copies; when it is copied the snapshot goes', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const { vmArmId } = await compute.createVm(await azure.specification());
  await compute.startVm(vmArmId);
  azure.changes();
  const exporting = { exportName: 'sync-1', lun: 1, to: { ...blobOf(azure), blobName: 'export.vhd' } };
  assert.deepEqual(await compute.exportDisk(vmArmId, exporting), { finished: false });
  const [made, granted, ...none] = azure.changes();
  assert.match(made ?? '', /^PUT snapshots\/vm-1-[0-9a-f]{12}$/);
  assert.match(granted ?? '', /^POST snapshots\/vm-1-[0-9a-f]{12}\/beginGetAccess$/);
  assert.deepEqual(none, []);
  const snapshot = made?.slice('PUT '.length) ?? '';
  const finished = { finished: true, source: { blob: exporting.to } };
  assert.deepEqual(await compute.exportDisk(vmArmId, exporting), finished);
  assert.deepEqual(azure.changes(), [`POST ${snapshot}/endGetAccess`, `DELETE ${snapshot}`]);
  assert.deepEqual(await compute.exportDisk(vmArmId, exporting), finished);
  assert.deepEqual(azure.changes(), []);
  assert.deepEqual(await azure.replicas.readPages(exporting.to, 0, 512), Buffer.alloc(512, 'a'));
});

test('an export that is given up leaves neither access, snapshot nor copy, also where its VM is gone', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const { vmArmId } = await compute.createVm(await azure.specification());
  const exporting = { exportName: 'sync-1', lun: 0, to: { ...blobOf(azure), blobName: 'export.vhd' } };
  await compute.exportDisk(vmArmId, exporting);
  await compute.deleteVm(vmArmId, { deleteDisks: true });
  assert.equal(azure.left().length, 1);
  azure.changes();
  await compute.endExport(vmArmId, { exportName: 'sync-1', disks: [exporting] });
  assert.deepEqual(
    azure.changes().map((call) =>
      call
        .split(/[ /]/)
        .filter((word) => !word.startsWith('vm'))
        .join(' '),
    ),
    ['POST snapshots endGetAccess', 'DELETE snapshots'],
  );
  assert.deepEqual(azure.left(), []);
  assert.equal(await azure.replicas.properties(exporting.to), undefined);
});

test('deleting takes the VM, its disks with the OS disk last, its interface and its address', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const specification = await azure.specification({ publicAddress: true });
  const { vmArmId } = await compute.createVm(specification);
  await compute.startVm(vmArmId);
  azure.changes();
  await compute.deleteVm(vmArmId, { deleteDisks: true });
  assert.deepEqual(azure.changes(), [
    'DELETE virtualMachines/vm',
    'DELETE disks/vm-data-1',
    'DELETE disks/vm-os',
    'DELETE networkInterfaces/vm-nic',
    'DELETE publicIPAddresses/vm-ip',
  ]);
  for (const { blob } of specification.disks) assert.equal(await azure.replicas.properties(blob), undefined);
});

test('disks that stay belong to no VM any more, and are not taken for those of another', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const specification = await azure.specification();
  await compute.createVm(specification);
  await compute.startVm(specification.vmArmId);
  await compute.deleteVm(specification.vmArmId, { deleteDisks: false });
  assert.deepEqual(azure.left(), ['disks/vm-data-1', 'disks/vm-os']);
  const kept = azure.resources.get('disks', `${group}/Microsoft.Compute/disks/vm-os`);
  assert.deepEqual(kept?.tags, specification.tags);
  await assert.rejects(compute.createVm(specification), errorWithCode('US4010'));
  await compute.deleteVm(specification.vmArmId, { deleteDisks: true });
  assert.deepEqual(azure.left(), ['disks/vm-data-1', 'disks/vm-os']);
});

test('what Understudy did not make, or someone changed, is not touched', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const specification = await azure.specification();
  const { vmArmId } = await compute.createVm(specification);
  await compute.startVm(vmArmId);
  const before = azure.left();
  const ids = [
    vmArmId,
    ...['Compute/disks/vm-os', 'Compute/disks/vm-data-1'].map((name) => `${group}/Microsoft.${name}`),
    `${group}/Microsoft.Network/networkInterfaces/vm-nic`,
  ];
  for (const id of ids) {
    for (const type of ['virtualMachines', 'disks', 'networkInterfaces'] as const) {
      const found = azure.resources.get(type, id);
      if (found) found.tags = { owner: 'someone else' };
    }
  }
  azure.changes();
  assert.equal(await compute.getVm(vmArmId), undefined);
  await assert.rejects(compute.createVm(specification), errorWithCode('US4010'));
  await assert.rejects(compute.stopVm(vmArmId), errorWithCode('US6051'));
  await compute.deleteVm(vmArmId, { deleteDisks: true });
  assert.deepEqual([azure.left(), azure.changes()], [before, []]);
});

test('a VM whose creation was refused is found and deleted with all that was made', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const specification = await azure.specification({ publicAddress: true });
  azure.server.refuse(
    /PUT publicIPAddresses/,
    new ArmRefusal(400, 'PublicIPCountLimitReached', 'Cannot create more than 10 public IP addresses in this region.'),
  );
  await assert.rejects(compute.createVm(specification), errorWithCode('US6062'));
  assert.deepEqual(azure.left(), ['networkInterfaces/vm-nic']);
  assert.equal((await compute.getVm(specification.vmArmId))?.powerState, 'created');
  await assert.rejects(compute.startVm(specification.vmArmId), errorWithCode('US6052'));
  await compute.deleteVm(specification.vmArmId, { deleteDisks: true });
  assert.deepEqual(azure.left(), []);
});

const blobOf = ({ storageAccountId }: AzureDouble) => ({ storageAccountId, container: 'understudy-replicas' });
