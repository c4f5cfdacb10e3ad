import type { SiteVm } from '../site/inventory.js';

/** Which of the target network's subnets a VM goes to: the one named as at the source, else the first in the network's order. */
export function chooseSubnet(
  vm: Pick<SiteVm, 'nics'> | undefined,
  subnets: readonly { name: string }[],
): string | undefined {
  const sourceSubnets = (vm?.nics ?? []).flatMap(({ subnetName }) =>
    subnetName === undefined ? [] : [subnetName.toLowerCase()],
  );
  return (subnets.find(({ name }) => sourceSubnets.includes(name.toLowerCase())) ?? subnets[0])?.name;
}

/** The named one, in any case of letters, where the network has it, else the first in the network's order. */
export const subnetNamed = <Subnet extends { name: string }>(
  name: string | undefined,
  subnets: readonly Subnet[],
): Subnet | undefined => subnets.find((subnet) => subnet.name.toLowerCase() === name?.toLowerCase()) ?? subnets[0];

/** In a test failover: the one named as at the source, else the first alphabetically. */
export const chooseTestSubnet = (
  vm: Pick<SiteVm, 'nics'> | undefined,
  subnets: readonly { name: string }[],
): string | undefined =>
  chooseSubnet(
    vm,
    [...subnets].sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1)),
  );

/** Sizes to choose from where the operator named none, smallest first: cores, memory, data disks and network interfaces that it takes. */
const largestSize = 'Standard_D32s_v5';
export const vmSizes = [
  { name: 'Standard_B1ms', cpuCount: 1, memoryMegabytes: 2048, dataDisks: 2, nics: 2 },
  { name: 'Standard_B2s', cpuCount: 2, memoryMegabytes: 4096, dataDisks: 4, nics: 3 },
  { name: 'Standard_D2s_v5', cpuCount: 2, memoryMegabytes: 8192, dataDisks: 4, nics: 2 },
  { name: 'Standard_D4s_v5', cpuCount: 4, memoryMegabytes: 16384, dataDisks: 8, nics: 2 },
  { name: 'Standard_D8s_v5', cpuCount: 8, memoryMegabytes: 32768, dataDisks: 16, nics: 4 },
  { name: 'Standard_D16s_v5', cpuCount: 16, memoryMegabytes: 65536, dataDisks: 32, nics: 8 },
  { name: largestSize, cpuCount: 32, memoryMegabytes: 131072, dataDisks: 32, nics: 8 },
] as const;

/** An operator may know others than these: what has the form of a size is taken, and Azure is the judge. */
export const isVmSize = (name: string): boolean => /^(Basic|Standard)_[A-Za-z0-9_-]+$/.test(name);

/** The smallest size that holds what the source has; the largest where none does. */
export function chooseVmSize(wanted: Pick<SiteVm, 'cpuCount' | 'memoryMegabytes'>, dataDiskCount: number): string {
  const found = vmSizes.find(
    (size) =>
      size.cpuCount >= wanted.cpuCount &&
      size.memoryMegabytes >= wanted.memoryMegabytes &&
      size.dataDisks >= dataDiskCount,
  );
  return found?.name ?? largestSize;
}
