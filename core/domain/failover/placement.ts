import type { SiteVm } from '../site/inventory.js';

/** The named one, in any case of letters, where the network has it, else the first in the network's order. */
export const subnetNamed = <Subnet extends { name: string }>(
  name: string | undefined,
  subnets: readonly Subnet[],
): Subnet | undefined => subnets.find((subnet) => subnet.name.toLowerCase() === name?.toLowerCase()) ?? subnets[0];

/** In a test failover: the named one, else the first alphabetically. */
export const testSubnetNamed = <Subnet extends { name: string }>(
  name: string | undefined,
  subnets: readonly Subnet[],
): Subnet | undefined =>
  subnetNamed(
    name,
    [...subnets].sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1)),
  );

/** Sizes to choose from where the operator named none, smallest first: cores, memory, data disks and network interfaces that it takes. */
export const largestSize = {
  name: 'Standard_D32s_v5',
  cpuCount: 32,
  memoryMegabytes: 131072,
  dataDisks: 32,
  nics: 8,
} as const;
export const vmSizes = [
  { name: 'Standard_B1ms', cpuCount: 1, memoryMegabytes: 2048, dataDisks: 2, nics: 2 },
  { name: 'Standard_B2s', cpuCount: 2, memoryMegabytes: 4096, dataDisks: 4, nics: 3 },
  { name: 'Standard_D2s_v5', cpuCount: 2, memoryMegabytes: 8192, dataDisks: 4, nics: 2 },
  { name: 'Standard_D4s_v5', cpuCount: 4, memoryMegabytes: 16384, dataDisks: 8, nics: 2 },
  { name: 'Standard_D8s_v5', cpuCount: 8, memoryMegabytes: 32768, dataDisks: 16, nics: 4 },
  { name: 'Standard_D16s_v5', cpuCount: 16, memoryMegabytes: 65536, dataDisks: 32, nics: 8 },
  largestSize,
] as const;

/** An operator may know others than these: what has the form of a size is taken, and Azure is the judge. */
export const isVmSize = (name: string): boolean => /^(Basic|Standard)_[A-Za-z0-9_-]+$/.test(name);

/** How much of what has its limit by size a VM has. */
export interface SizeCounts {
  dataDiskCount: number;
  nicCount: number;
}

/** The smallest size that holds what the source has; the largest where none does. */
export function chooseVmSize(
  { cpuCount, memoryMegabytes }: Pick<SiteVm, 'cpuCount' | 'memoryMegabytes'>,
  { dataDiskCount, nicCount }: SizeCounts,
): string {
  const found = vmSizes.find(
    (size) =>
      size.cpuCount >= cpuCount &&
      size.memoryMegabytes >= memoryMegabytes &&
      size.dataDisks >= dataDiskCount &&
      size.nics >= nicCount,
  );
  return (found ?? largestSize).name;
}

/** Whether the largest of our sizes has fewer cores or less memory than the source: what comes up where none was chosen. */
export const exceedsLargestSize = ({
  cpuCount,
  memoryMegabytes,
}: Pick<SiteVm, 'cpuCount' | 'memoryMegabytes'>): boolean =>
  cpuCount > largestSize.cpuCount || memoryMegabytes > largestSize.memoryMegabytes;

/** What the chosen size does not take, or where none was chosen the largest, in words. A size that is not in the table is Azure's to judge. */
export function sizeShortfalls(vmSize: string | undefined, { dataDiskCount, nicCount }: SizeCounts): string[] {
  const size =
    vmSize === undefined ? largestSize : vmSizes.find(({ name }) => name.toLowerCase() === vmSize.toLowerCase());
  if (size === undefined) return [];
  return [
    ...(dataDiskCount > size.dataDisks
      ? [`${size.name} takes ${size.dataDisks} data disks, there are ${dataDiskCount}`]
      : []),
    ...(nicCount > size.nics ? [`${size.name} takes ${size.nics} network interfaces, there are ${nicCount}`] : []),
  ];
}
