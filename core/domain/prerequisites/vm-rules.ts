import { sizeShortfalls } from '../failover/placement.js';
import type { SiteDisk } from '../site/inventory.js';
import { limits } from './limits.js';
import { sameId, when, type Rule, type VmFacts } from './rule.js';

const each = (disks: readonly SiteDisk[], violated: (disk: SiteDisk) => boolean, text: (disk: SiteDisk) => string) =>
  disks.filter(violated).map(text);
const gib = (bytes: number): string => `${Math.round((bytes / 1024 ** 3) * 10) / 10} GiB`;

const differentDisk = 'Exclude the disk from replication, or put its data on a disk that can be replicated.';

/** What the site's inventory shows of a VM that stands against its protection. */
export const vmRules: readonly Rule<VmFacts>[] = [
  {
    code: 'US3101',
    limit: 'the virtual machine runs while protection is enabled',
    possibleCauses: 'The virtual machine is off, paused or saved.',
    recommendedAction: 'Start the virtual machine and enable protection again.',
    violations: ({ vm }) => when(vm.powerState !== 'running', `${vm.name} is ${vm.powerState}`),
  },
  {
    code: 'US3102',
    limit: 'Windows or Linux',
    possibleCauses: 'The guest operating system is not reported, or Azure does not run it.',
    recommendedAction: 'Name the operating system type when enabling protection, if it is Windows or Linux.',
    violations: ({ vm, target }) =>
      when(
        vm.osType === 'Other' && !/^(windows|linux)$/i.test(target.osType),
        `${vm.name} runs ${vm.osName || 'an unknown system'}`,
      ),
  },
  {
    code: 'US3103',
    limit: '64-bit x64 guests, and 32-bit ones of Windows Server 2008',
    possibleCauses: 'The guest is a 32-bit or ARM system.',
    recommendedAction: 'Azure cannot run this guest from replicated disks: protect it by other means.',
    violations: ({ vm: { name, architecture, osName } }) => {
      const isTaken = architecture === 'x64' || (architecture === 'x86' && limits.windows32Bit.test(osName));
      return when(!isTaken, `${name} is ${architecture}`);
    },
  },
  {
    code: 'US3104',
    limit: `exactly ${limits.osDiskCount} operating system disk`,
    possibleCauses: 'The boot disk is excluded, or the site reports none or several.',
    recommendedAction: 'Include the disk that the virtual machine boots from.',
    violations: ({ vm, disks }) => {
      const count = disks.filter(({ isOsDisk }) => isOsDisk).length;
      return when(count !== limits.osDiskCount, `${vm.name} has ${count} among the disks to replicate`);
    },
  },
  {
    code: 'US3105',
    limit: `${gib(limits.osDiskMaxBytesGeneration1)} for generation 1, ${gib(limits.osDiskMaxBytesGeneration2)} for generation 2`,
    possibleCauses: 'The operating system disk is larger than Azure can start a virtual machine from.',
    recommendedAction: 'Shrink the operating system disk.',
    violations: ({ vm, disks }) => {
      const max = vm.generation === 2 ? limits.osDiskMaxBytesGeneration2 : limits.osDiskMaxBytesGeneration1;
      return each(
        disks,
        (disk) => disk.isOsDisk && disk.sizeBytes > max,
        (disk) => `operating system disk ${disk.name} has ${gib(disk.sizeBytes)}`,
      );
    },
  },
  {
    code: 'US3106',
    limit: `${limits.dataDiskCountMax} data disks`,
    possibleCauses: 'The virtual machine has more data disks than can be replicated.',
    recommendedAction: 'Exclude disks from replication.',
    violations: ({ disks }) => {
      const count = disks.filter(({ isOsDisk }) => !isOsDisk).length;
      return when(count > limits.dataDiskCountMax, `there are ${count} data disks`);
    },
  },
  {
    code: 'US3107',
    limit: `${gib(limits.dataDiskMaxBytes)} a data disk`,
    possibleCauses: 'A data disk is larger than a replica disk can be.',
    recommendedAction: differentDisk,
    violations: ({ disks }) =>
      each(
        disks,
        (disk) => !disk.isOsDisk && disk.sizeBytes > limits.dataDiskMaxBytes,
        (disk) => `data disk ${disk.name} has ${gib(disk.sizeBytes)}`,
      ),
  },
  {
    code: 'US3108',
    limit: 'no shared disks',
    possibleCauses: 'The disk is shared with other virtual machines, for example in a guest cluster.',
    recommendedAction: differentDisk,
    violations: ({ disks }) =>
      each(
        disks,
        (disk) => disk.shared,
        (disk) => `disk ${disk.name} is shared`,
      ),
  },
  {
    code: 'US3109',
    limit: 'no pass-through disks',
    possibleCauses: 'The disk is a physical disk of the host: Hyper-V cannot log its changes.',
    recommendedAction: differentDisk,
    violations: ({ disks }) =>
      each(
        disks,
        (disk) => disk.kind === 'passThrough',
        (disk) => `disk ${disk.name} is a pass-through disk`,
      ),
  },
  {
    code: 'US3110',
    limit: 'no virtual Fibre Channel adapter',
    possibleCauses: 'The virtual machine reaches disks that Hyper-V does not see.',
    recommendedAction: 'Remove the virtual Fibre Channel adapter.',
    violations: ({ vm }) => when(vm.hasFibreChannelAdapter, `${vm.name} has a virtual Fibre Channel adapter`),
  },
  {
    code: 'US3111',
    limit: 'no disks of 4096-byte logical and physical sectors',
    possibleCauses: 'The disk was made with native 4K sectors.',
    recommendedAction: 'Convert the disk to 512-byte logical sectors.',
    violations: ({ disks }) =>
      each(
        disks,
        (disk) => disk.logicalSectorBytes === 4096 && disk.physicalSectorBytes === 4096,
        (disk) => `disk ${disk.name} has 4096-byte sectors`,
      ),
  },
  {
    code: 'US3112',
    limit: '1 to 63 letters, digits and hyphens, beginning and ending with a letter or digit',
    possibleCauses: 'The name given for the virtual machine in Azure is not one that Azure takes.',
    recommendedAction: 'Give another target name when enabling protection.',
    violations: ({ target }) =>
      when(
        !limits.vmNamePattern.test(target.vmName),
        `the target name is ${JSON.stringify(target.vmName.slice(0, 100))}`,
      ),
  },
  {
    code: 'US3113',
    limit: 'Windows on generation 2',
    possibleCauses: 'The virtual machine is a Linux guest of generation 2.',
    recommendedAction: 'Only Windows can be protected on generation 2: use generation 1 for Linux.',
    violations: ({ vm }) =>
      when(vm.generation === 2 && vm.osType === 'Linux', `${vm.name} is a generation 2 Linux virtual machine`),
  },
  {
    code: 'US3127',
    limit: 'Windows Server 2008 and newer, not Nano Server',
    possibleCauses: 'Azure does not run this version of Windows.',
    recommendedAction: 'Upgrade the guest, or protect it by other means.',
    violations: ({ vm }) =>
      when(vm.osType === 'Windows' && limits.unsupportedWindows.test(vm.osName), `${vm.name} runs ${vm.osName}`),
  },
  {
    code: 'US3128',
    limit: `${limits.dataDiskCountMaxGeneration2} data disks of format VHDX on generation 2`,
    possibleCauses: 'A virtual machine of generation 2 has disks that it cannot be run from in Azure.',
    recommendedAction: differentDisk,
    violations: ({ vm, disks }) => {
      if (vm.generation !== 2) return [];
      const count = disks.filter(({ isOsDisk }) => !isOsDisk).length;
      return [
        ...when(count > limits.dataDiskCountMaxGeneration2, `${vm.name} has ${count} data disks`),
        ...each(
          disks,
          ({ format }) => format !== 'vhdx',
          ({ name, format }) => `disk ${name} is a ${format.toUpperCase()}`,
        ),
      ];
    },
  },
  {
    code: 'US3129',
    limit: 'as many data disks and network interfaces as the chosen size takes, or any where none is chosen',
    possibleCauses: 'The size that was chosen for the virtual machine in Azure is too small.',
    recommendedAction: 'Choose a larger size, or none: the smallest that fits is taken then.',
    violations: ({ vm, disks, target }) =>
      sizeShortfalls(target.vmSize, {
        dataDiskCount: disks.filter(({ isOsDisk }) => !isOsDisk).length,
        nicCount: vm.nics.length,
      }),
  },
  {
    code: 'US3125',
    limit: `${gib(limits.premiumTotalMaxBytes)} on a premium account for a virtual machine, its test failover included`,
    possibleCauses: 'A test failover needs the room of the replica once more in the same account.',
    recommendedAction: 'Use a standard account for replicas, or exclude disks from replication.',
    violations: ({ disks, storageAccount }) => {
      const bytes = 2 * disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const isTooMuch = storageAccount?.kind === 'premium' && bytes > limits.premiumTotalMaxBytes;
      return when(isTooMuch, `the disks and their test failover come to ${gib(bytes)}`);
    },
  },
  {
    code: 'US3121',
    limit: 'fixed and dynamic disks',
    possibleCauses: 'The disk is a differencing disk: the virtual machine has checkpoints or was cloned.',
    recommendedAction: 'Delete the checkpoints of the virtual machine, or merge the disk into its parent.',
    violations: ({ disks }) =>
      each(
        disks,
        (disk) => disk.kind === 'differencing',
        (disk) => `disk ${disk.name} is a differencing disk`,
      ),
  },
  {
    code: 'US3122',
    limit: 'disks of this virtual machine',
    possibleCauses: 'The list of disks to include is out of date.',
    recommendedAction: 'Read the protectable item again and choose among its disks.',
    violations: ({ vm, disksToInclude }) =>
      (disksToInclude ?? [])
        .filter((diskId) => !vm.disks.some((disk) => sameId(disk.diskId, diskId)))
        .map((diskId) => `there is no disk ${diskId}`),
  },
];
