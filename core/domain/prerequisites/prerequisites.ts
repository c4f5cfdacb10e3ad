import type { ReplicationPolicy } from '../policy/replication-policy.js';
import type { SiteDisk, SiteVm } from '../site/inventory.js';
import type { WorkflowFailure } from '../workflows/failure.js';
import { sizeShortfalls } from '../failover/placement.js';
import { limits } from './limits.js';

/** All that the prerequisites of protection are judged by; what could not be found is absent. */
export interface PrerequisiteFacts {
  vmName: string;
  vm: SiteVm | undefined;
  policyName: string;
  policy: ReplicationPolicy | undefined;
  /** Is the policy mapped to the VM's cloud? */
  cloudIsMapped: boolean;
  target: { vmName: string; osType: string; networkId?: string; vmSize?: string };
  /** Does the policy name no accounts, or the target's among them? */
  accountIsOfPolicy: boolean;
  /** Is the VM's network mapped, or the VM connected to none? */
  networkIsMapped: boolean;
  /** Name of another protected item whose VM in Azure would have the same name in the same resource group. */
  targetNameTakenBy: string | undefined;
  storageAccount: { name: string; kind: 'standard' | 'premium' } | undefined;
  /** `absent`: the item names none. */
  logStorageAccount: { name: string; kind: 'standard' | 'premium' } | 'absent' | undefined;
  /** Was the network found, where the item names one? */
  networkFound: boolean;
  /** Name of another protected item of the same VM. */
  protectedAs: string | undefined;
  /** Ids of the disks to replicate; undefined is all. */
  disksToInclude: readonly string[] | undefined;
}

export interface PrerequisiteFailure extends WorkflowFailure {
  /** What was found against which limit. */
  found: string;
  limit: string;
}

interface Check {
  code: string;
  limit: string;
  possibleCauses: string;
  recommendedAction: string;
  /** Sentences about what is wrong; none if all is well. */
  violations: (facts: PrerequisiteFacts & { vm: SiteVm; disks: SiteDisk[] }) => string[];
}

const when = (violated: boolean, text: string): string[] => (violated ? [text] : []);
const each = (disks: readonly SiteDisk[], violated: (disk: SiteDisk) => boolean, text: (disk: SiteDisk) => string) =>
  disks.filter(violated).map(text);
const gib = (bytes: number): string => `${Math.round((bytes / 1024 ** 3) * 10) / 10} GiB`;

const differentDisk = 'Exclude the disk from replication, or put its data on a disk that can be replicated.';

/** The first set of checks, as one table. Codes have their paragraphs in docs/errors.md. */
const checks: readonly Check[] = [
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
    limit: '64-bit x64 guests',
    possibleCauses: 'The guest is a 32-bit or ARM system.',
    recommendedAction: 'Azure cannot run this guest from replicated disks: protect it by other means.',
    violations: ({ vm }) => when(vm.architecture !== 'x64', `${vm.name} is ${vm.architecture}`),
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

const sameId = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

/** The disks that are replicated, the OS disk first, the rest in the order of the source. */
export function includedDisks(vm: SiteVm, disksToInclude: readonly string[] | undefined): SiteDisk[] {
  const included = vm.disks.filter(
    ({ diskId }) => disksToInclude === undefined || disksToInclude.some((each) => sameId(each, diskId)),
  );
  return [...included.filter(({ isOsDisk }) => isOsDisk), ...included.filter(({ isOsDisk }) => !isOsDisk)];
}

/** Every reason why this VM cannot be protected as asked, all at once. */
export function evaluatePrerequisites(facts: PrerequisiteFacts): PrerequisiteFailure[] {
  const { vm } = facts;
  const about = environmentFailures(facts);
  if (!vm) return [...about, notFound(facts.vmName)];
  const full = { ...facts, vm, disks: includedDisks(vm, facts.disksToInclude) };
  return [
    ...about,
    ...checks.flatMap((check) =>
      check
        .violations(full)
        .map((found) => failure(check.code, found, check.limit, check.possibleCauses, check.recommendedAction)),
    ),
  ];
}

function failure(
  code: string,
  found: string,
  limit: string,
  possibleCauses: string,
  recommendedAction: string,
): PrerequisiteFailure {
  return {
    code,
    message: `${found}; supported: ${limit}`,
    found,
    limit,
    possibleCauses,
    recommendedAction,
    retry: 'never',
  };
}

const notFound = (vmName: string): PrerequisiteFailure =>
  failure(
    'US3100',
    `the site does not report a virtual machine ${vmName}`,
    'virtual machines of the site’s present inventory',
    'The virtual machine was deleted or moved to a host outside of the cloud, or the inventory is old.',
    'See that the relay runs, then read the protectable items again.',
  );

/** Policy, mapping, storage, network: what does not depend on the VM. */
function environmentFailures(facts: PrerequisiteFacts): PrerequisiteFailure[] {
  const { policy, storageAccount, logStorageAccount, target, protectedAs } = facts;
  const found: PrerequisiteFailure[] = [];
  const add = (code: string, what: string, limit: string, causes: string, action: string): void => {
    found.push(failure(code, what, limit, causes, action));
  };
  if (protectedAs !== undefined) {
    add(
      'US3117',
      `the virtual machine is protected already, as ${protectedAs}`,
      'one protected item a virtual machine',
      'Protection was enabled under another name.',
      `Use the item ${protectedAs}, or disable it first.`,
    );
  }
  if (!policy) {
    add(
      'US3119',
      `there is no replication policy ${facts.policyName}`,
      'an existing policy',
      'The policy was deleted.',
      'Create the policy and map it to the cloud.',
    );
  }
  if (!facts.cloudIsMapped) {
    add(
      'US3118',
      `policy ${facts.policyName} is not mapped to the cloud of the virtual machine`,
      'a mapped policy',
      'The container mapping was never made or was removed.',
      'Map the policy to the cloud, then enable protection again.',
    );
  }
  if (!storageAccount) {
    add(
      'US3114',
      'the storage account for replicas was not found',
      'an existing storage account in the vault’s region',
      'The account was deleted, or its id is mistyped.',
      'Name an existing storage account.',
    );
  } else if (storageAccount.kind === 'premium') {
    if (policy && policy.replicationIntervalSeconds < limits.premiumReplicationIntervalMinSeconds) {
      add(
        'US3115',
        `account ${storageAccount.name} is premium and the policy replicates every ${policy.replicationIntervalSeconds} s`,
        `premium storage from ${limits.premiumReplicationIntervalMinSeconds} s up`,
        'A premium page blob takes 100 snapshots only.',
        'Use a standard account, or a policy of 5 or 15 minutes.',
      );
    }
    if (logStorageAccount === 'absent' || logStorageAccount?.kind === 'premium') {
      add(
        'US3116',
        `account ${storageAccount.name} is premium and no standard account is named for the logs`,
        'a standard account for the logs beside a premium one',
        'Premium accounts cannot hold the replication logs.',
        'Name a standard account as log storage account.',
      );
    }
  }
  if (!facts.accountIsOfPolicy) {
    add(
      'US3126',
      `policy ${facts.policyName} does not name the storage account for replicas among its own`,
      'one of the policy’s storage accounts, where it names some',
      'Another account was named when enabling protection.',
      'Name one of the policy’s accounts, or add this one to the policy.',
    );
  }
  if (facts.targetNameTakenBy !== undefined) {
    add(
      'US3131',
      `the target name ${target.vmName} is that of ${facts.targetNameTakenBy} already`,
      'one virtual machine of a name in a resource group',
      'Two sources have the same name, or the name was given twice.',
      'Give another target name, or another resource group, when enabling protection.',
    );
  }
  if (target.networkId === undefined && !facts.networkIsMapped) {
    add(
      'US3123',
      'the network of the virtual machine is mapped to no virtual network, and none is named',
      'a network mapping, or a named virtual network',
      'The VM network was never mapped: after a failover nobody would reach the virtual machine.',
      'Map the VM network to a virtual network, or name one when enabling protection.',
    );
  }
  if (logStorageAccount === undefined) {
    add(
      'US3114',
      'the storage account for logs was not found',
      'an existing storage account',
      'The account was deleted, or its id is mistyped.',
      'Name an existing storage account, or none.',
    );
  }
  if (target.networkId !== undefined && !facts.networkFound) {
    add(
      'US3120',
      `network ${target.networkId} was not found`,
      'an existing virtual network',
      'The network was deleted, or its id is mistyped.',
      'Name an existing network, or none.',
    );
  }
  return found;
}
