import type { HyperVVirtualMachineDetails, ProtectableItem } from '@azure/arm-recoveryservices-siterecovery';
import { evaluateVm, includedDisks } from '../../core/domain/prerequisites/prerequisites.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { SiteDisk, SiteVm } from '../../core/domain/site/inventory.js';
import { list } from '../../core/records/access.js';
import { rows, type Fabric } from '../../core/records/rows.js';
import { cloudOf, containerArmId } from './clouds.js';
import { isSpokenFor, providerArmId } from './fabrics.js';
import { parseFilter } from './filter.js';
import { notFound, ok, param, vaultOperation, type VaultCall } from './operation.js';
import { answerPage } from './paging.js';
import type { Wire } from './wire.js';

const bytesPerMegabyte = 1024 * 1024;

export const protectableItemArmId = (call: VaultCall, fabricName: string, cloudId: string, vmId: string): string =>
  `${containerArmId(call, fabricName, cloudId)}/replicationProtectableItems/${vmId}`;

export const protectedItemArmId = (
  call: Pick<VaultCall, 'armId'>,
  item: Pick<ProtectedItem, 'fabricName' | 'containerName' | 'itemName'>,
): string => `${containerArmId(call, item.fabricName, item.containerName)}/replicationProtectedItems/${item.itemName}`;

const presence = (present: boolean): string => (present ? 'Present' : 'NotPresent');

const vhdTypes: Record<SiteDisk['kind'], string> = {
  fixed: 'Fixed',
  dynamic: 'Dynamic',
  differencing: 'Differencing',
  passThrough: 'Physical',
};

const detailsToWire = (vm: SiteVm): Wire<HyperVVirtualMachineDetails> => ({
  instanceType: 'HyperVVirtualMachine',
  sourceItemId: vm.vmId,
  generation: String(vm.generation),
  osDetails: {
    osType: vm.osType,
    productType: '',
    osEdition: vm.osName,
    oSVersion: '',
    oSMajorVersion: '',
    oSMinorVersion: '',
  },
  diskDetails: vm.disks.map((disk) => ({
    maxSizeMB: Math.ceil(disk.sizeBytes / bytesPerMegabyte),
    vhdType: vhdTypes[disk.kind],
    vhdId: disk.diskId,
    vhdName: disk.name,
  })),
  hasPhysicalDisk: presence(vm.disks.some((disk) => disk.kind === 'passThrough')),
  hasFibreChannelAdapter: presence(vm.hasFibreChannelAdapter),
  hasSharedVhd: presence(vm.disks.some((disk) => disk.shared)),
  hyperVHostId: vm.hostId,
});

/** What of the VM itself stands against its protection; what a PUT will name (policy, storage, network) is judged then. */
function readinessErrors(vm: SiteVm): string[] {
  const failures = evaluateVm({
    vm,
    disks: includedDisks(vm, undefined),
    target: { vmName: vm.name, osType: vm.osType },
    storageAccount: undefined,
    disksToInclude: undefined,
  });
  return failures.map((failure) => `${failure.code} ${failure.message}`);
}

function toWire(call: VaultCall, fabric: Fabric, vm: SiteVm, item: ProtectedItem | undefined): Wire<ProtectableItem> {
  return {
    id: protectableItemArmId(call, fabric.fabricName, vm.cloudId, vm.vmId),
    name: vm.vmId,
    type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationProtectableItems',
    properties: {
      friendlyName: vm.name,
      protectionStatus: item === undefined ? 'Unprotected' : 'Protected',
      replicationProtectedItemId: item === undefined ? undefined : protectedItemArmId(call, item),
      recoveryServicesProviderId: isSpokenFor(fabric) ? providerArmId(call, fabric) : undefined,
      protectionReadinessErrors: item === undefined ? readinessErrors(vm) : [],
      supportedReplicationProviders: ['HyperVReplicaAzure'],
      customDetails: detailsToWire(vm),
    },
  };
}

async function itemsByVm(call: VaultCall): Promise<Map<string, ProtectedItem>> {
  const items = await list(call.app.table, rows.items(call.vaultId));
  return new Map(items.map(({ value }) => [value.vmId, value]));
}

/** Each with what stands against its protection: as many as clients show at once. */
const vmsPerPage = 100;

/** VMs in the order of their ids. */
async function listProtectableItems(call: VaultCall) {
  const { fabric, cloud } = await cloudOf(call);
  const terms = parseFilter(call.query.get('$filter'), ['friendlyName', 'protectionStatus']);
  const items = await itemsByVm(call);
  const matching = fabric.inventory.vms
    .filter((vm) => vm.cloudId === cloud.cloudId)
    .filter((vm) =>
      terms.every((term) => {
        const actual = term.name === 'friendlyName' ? vm.name : items.has(vm.vmId) ? 'Protected' : 'Unprotected';
        return actual.toLowerCase() === term.value.toLowerCase();
      }),
    )
    .sort((left, right) => (left.vmId < right.vmId ? -1 : 1));
  return answerPage(call, {
    sorted: matching,
    keyOf: ({ vmId }) => vmId,
    pageItems: vmsPerPage,
    toWire: (vm) => toWire(call, fabric, vm, items.get(vm.vmId)),
  });
}

const containerPath = '~/replicationFabrics/{fabricName}/replicationProtectionContainers/{protectionContainerName}';

/** VMs that could be protected. */
export const protectableItemOperations = [
  vaultOperation(
    'replicationProtectableItems.listByReplicationProtectionContainers',
    'GET',
    `${containerPath}/replicationProtectableItems`,
    {
      summary: 'VMs of a cloud',
      response: 'ProtectableItemCollection',
      query: ['$filter', '$take', '$skipToken'],
    },
    listProtectableItems,
  ),
  vaultOperation(
    'replicationProtectableItems.get',
    'GET',
    `${containerPath}/replicationProtectableItems/{protectableItemName}`,
    { summary: 'One VM, with what stands against its protection', response: 'ProtectableItem' },
    async (call) => {
      const { fabric, cloud } = await cloudOf(call);
      const name = param(call, 'protectableItemName').toLowerCase();
      const vm = fabric.inventory.vms.find(({ vmId, cloudId }) => vmId === name && cloudId === cloud.cloudId);
      if (vm === undefined) throw notFound('protectable item', name);
      return ok(toWire(call, fabric, vm, (await itemsByVm(call)).get(vm.vmId)));
    },
  ),
];
