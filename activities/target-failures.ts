import { misplacedAddresses, nicPlaces, sizeCounts, type NicPlace } from '../core/domain/failover/nics.js';
import { sizeShortfalls } from '../core/domain/failover/placement.js';
import { sourceUnknown } from '../core/domain/failover/source-vm.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import type { SiteVm } from '../core/domain/site/inventory.js';
import { failureOf, type WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { CloudNetwork } from '../core/ports/cloud-inventory.js';
import type { ActivityDependencies } from './activity.js';
import { findOrUndefined } from './cloud-search.js';

/** Where in a network the VM's interfaces are to be: of a real failover, or of a test. */
type PlacesOf = (item: ProtectedItem, source: SiteVm, subnets: CloudNetwork['subnets']) => NicPlace[];

/** What the failover's VM would lack, in Azure or of what is known about it: before its disks are copied. */
export async function targetFailures(
  { cloudInventory, compute }: Pick<ActivityDependencies, 'cloudInventory' | 'compute'>,
  item: ProtectedItem,
  { source, networkId }: { source: SiteVm | undefined; networkId: string | undefined },
  placesOf: PlacesOf = nicPlaces,
): Promise<WorkflowFailure[]> {
  const { storageAccountId } = item.target;
  const [account, network] = await Promise.all([
    findOrUndefined(cloudInventory.storageAccount(storageAccountId)),
    networkId === undefined ? undefined : findOrUndefined(cloudInventory.network(networkId)),
  ]);
  return [
    ...(account ? [] : [missing('US4005', 'storage account', storageAccountId)]),
    ...(networkId === undefined || network ? [] : [missing('US4006', 'network', networkId)]),
    ...(networkId === undefined && !compute.capabilities.runsWithoutNetwork ? [unconnected(item)] : []),
    ...(source ? tooSmall(item, source) : [failureOf(sourceUnknown(item))]),
    ...(source && network ? misplaced(placesOf(item, source, network.subnets), network) : []),
  ];
}

const missing = (code: string, what: string, id: string): WorkflowFailure => ({
  code,
  message: `${what} ${id} was not found`,
  possibleCauses: `The ${what} was deleted after protection was enabled.`,
  recommendedAction: `Create the ${what} again under the same name, then fail over again.`,
  retry: 'never',
});

const unconnected = ({ vmName }: ProtectedItem): WorkflowFailure => ({
  code: 'US6066',
  message: `${vmName} would be in no network in Azure, and Azure runs no virtual machine without one`,
  possibleCauses:
    'Neither the item nor the operation names a network, and the VM’s network at the site is not mapped to one.',
  recommendedAction:
    'Map the VM network, or name a network for the item, or in a test failover for the test; then fail over again.',
  retry: 'never',
});

const tooSmall = (item: ProtectedItem, source: SiteVm): WorkflowFailure[] =>
  sizeShortfalls(item.target.vmSize, sizeCounts(item, source)).map((message) => ({
    code: 'US4041',
    message,
    possibleCauses:
      'The size that was chosen for the virtual machine in Azure is too small, or its interfaces are too many for any.',
    recommendedAction:
      'Choose a larger size for the item, or none, or leave network interfaces out (vmNics); then fail over again.',
    retry: 'never',
  }));

const misplaced = (places: readonly NicPlace[], { name, subnets }: CloudNetwork): WorkflowFailure[] =>
  misplacedAddresses(places, subnets).map(({ address, subnet }) => ({
    code: 'US6055',
    message: `address ${address} cannot be had in subnet ${subnet.name} (${subnet.addressPrefix}) of ${name}`,
    possibleCauses: 'It was chosen for another network or subnet, or is one of those that Azure keeps.',
    recommendedAction:
      'Choose another address, or none, for the item’s network interface (vmNics), or fail over to the network that it was chosen for.',
    retry: 'never',
  }));
