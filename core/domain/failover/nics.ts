import { isUsableAddress } from './address.js';
import type { ProtectedItem, TargetNic } from '../protected-item/protected-item.js';
import type { SiteVm } from '../site/inventory.js';
import { subnetNamed, testSubnetNamed, type SizeCounts } from './placement.js';

type SiteNic = SiteVm['nics'][number];

/** One network interface as it is to be in Azure, with what the operator chose for it. */
export interface NicPlan {
  nic: SiteNic;
  role: TargetNic['role'];
  chosen: TargetNic | undefined;
}

/** Where a virtual machine in Azure has one of its network interfaces. */
export interface NicPlace {
  /** Of the interface at the source, where there is one. */
  nicId?: string;
  /** Absent, or not in the network: the network's first. */
  subnetName?: string;
  /** Within the subnet. Absent: the next free one. */
  staticIpAddress?: string;
}

/** What a VM's interfaces are when its protection begins: all are used, and the first is primary, in the subnet that was named. */
export const discoveredNics = ({ nics }: Pick<SiteVm, 'nics'>, subnetName?: string): TargetNic[] =>
  nics.map(({ nicId }, index) =>
    index === 0
      ? { nicId, role: 'primary', ...(subnetName === undefined ? {} : { subnetName }) }
      : { nicId, role: 'secondary' },
  );

/**
 * Roles of the interfaces that the source has: as they were set; those that were added later are not used. A VM always has a
 * primary one: where the one that was set is gone, that is the first that nobody left out.
 */
export function nicPlans({ target }: Pick<ProtectedItem, 'target'>, vm: Pick<SiteVm, 'nics'> | undefined): NicPlan[] {
  const nics = vm?.nics ?? [];
  const choices = target.nics ?? discoveredNics({ nics });
  const choiceOf = ({ nicId }: SiteNic): TargetNic | undefined => choices.find((choice) => choice.nicId === nicId);
  const primary =
    nics.find((nic) => choiceOf(nic)?.role === 'primary') ??
    nics.find((nic) => choiceOf(nic)?.role !== 'notUsed') ??
    nics[0];
  return nics.map((nic) => {
    const chosen = choiceOf(nic);
    return { nic, role: nic === primary ? 'primary' : (chosen?.role ?? 'notUsed'), chosen };
  });
}

export const primaryNic = (item: Pick<ProtectedItem, 'target'>, vm: Pick<SiteVm, 'nics'> | undefined) =>
  nicPlans(item, vm).find(({ role }) => role === 'primary');

/** Those that a VM in Azure would have, the primary one first. */
export const usedNics = (item: Pick<ProtectedItem, 'target'>, vm: Pick<SiteVm, 'nics'> | undefined): NicPlan[] =>
  nicPlans(item, vm)
    .filter(({ role }) => role !== 'notUsed')
    .sort((a, b) => Number(b.role === 'primary') - Number(a.role === 'primary'));

/** Interfaces that were to be used and that the source has no more: made anew, an interface has another id. */
export const lostNics = ({ target }: Pick<ProtectedItem, 'target'>, vm: Pick<SiteVm, 'nics'>): TargetNic[] =>
  (target.nics ?? []).filter(({ nicId, role }) => role !== 'notUsed' && !vm.nics.some((nic) => nic.nicId === nicId));

/** The interfaces of a failover's VM. One that had none at the site gets one: Azure runs no machine without. */
export function nicPlaces(item: Pick<ProtectedItem, 'target'>, vm: Pick<SiteVm, 'nics'>): NicPlace[] {
  const { subnetName } = item.target;
  const places = usedNics(item, vm).map(({ nic, chosen }) =>
    placeOf({
      nicId: nic.nicId,
      // What was settled on is for the one that was primary then.
      subnetName: chosen?.subnetName ?? (chosen?.role === 'primary' ? subnetName : undefined) ?? nic.subnetName,
      staticIpAddress: chosen?.staticIpAddress,
    }),
  );
  return places.length > 0 ? places : [placeOf({ subnetName })];
}

/** The same in a test failover, in whatever network that is: what was chosen for the real failover is not for it. */
export function testNicPlaces(
  item: Pick<ProtectedItem, 'target'>,
  vm: Pick<SiteVm, 'nics'>,
  subnets: readonly { name: string }[],
): NicPlace[] {
  const subnetOf = (name?: string): string | undefined => testSubnetNamed(name, subnets)?.name;
  const places = usedNics(item, vm).map(({ nic, chosen }) =>
    placeOf({
      nicId: nic.nicId,
      subnetName: subnetOf(chosen?.test?.subnetName ?? nic.subnetName),
      staticIpAddress: chosen?.test?.staticIpAddress,
    }),
  );
  return places.length > 0 ? places : [placeOf({ subnetName: subnetOf() })];
}

type Subnet = { name: string; addressPrefix: string };

/** Static addresses that no virtual machine may have in the subnets where they are to be. */
export const misplacedAddresses = (
  places: readonly NicPlace[],
  subnets: readonly Subnet[],
): { address: string; subnet: Subnet }[] =>
  places.flatMap(({ subnetName, staticIpAddress: address }) => {
    const subnet = subnetNamed(subnetName, subnets);
    const isWrong = subnet && address !== undefined && !isUsableAddress(subnet.addressPrefix, address);
    return isWrong ? [{ address, subnet }] : [];
  });

/** Subnets that were chosen, and that the network does not have (any more). */
export const lostSubnets = (
  { target }: Pick<ProtectedItem, 'target'>,
  subnets: readonly { name: string }[],
): string[] =>
  (target.nics ?? []).flatMap(({ role, subnetName }) =>
    role === 'notUsed' ||
    subnetName === undefined ||
    subnets.some(({ name }) => name.toLowerCase() === subnetName.toLowerCase())
      ? []
      : [subnetName],
  );

/** Without what is not known. */
const placeOf = ({
  nicId,
  subnetName,
  staticIpAddress,
}: { [Key in keyof NicPlace]: string | undefined }): NicPlace => ({
  ...(nicId === undefined ? {} : { nicId }),
  ...(subnetName === undefined ? {} : { subnetName }),
  ...(staticIpAddress === undefined ? {} : { staticIpAddress }),
});

/** What a size must take. */
export const sizeCounts = (
  item: Pick<ProtectedItem, 'target' | 'disks'>,
  vm: Pick<SiteVm, 'nics'> | undefined,
): SizeCounts => ({
  dataDiskCount: item.disks.filter(({ isOsDisk }) => !isOsDisk).length,
  nicCount: usedNics(item, vm).length,
});
