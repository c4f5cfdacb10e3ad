import { limits } from './limits.js';
import { sameId, when, type PrerequisiteFacts, type Rule } from './rule.js';

/** Policy, mapping, storage, network, names: what stands against protection whatever the VM is like. */
export const environmentRules: readonly Rule<PrerequisiteFacts>[] = [
  {
    code: 'US3117',
    limit: 'one protected item a virtual machine',
    possibleCauses: 'Protection was enabled under another name.',
    recommendedAction: 'Use the item that is there, or disable it first.',
    violations: ({ protectedAs }) =>
      when(
        protectedAs !== undefined && protectedAs.vaultName === undefined,
        `the virtual machine is protected already, as ${protectedAs?.itemName}`,
      ),
  },
  {
    code: 'US3132',
    limit: 'one vault a virtual machine',
    possibleCauses: 'The VMM server was registered with another vault before.',
    recommendedAction: 'Use the item of that vault, or disable it there first.',
    violations: ({ protectedAs }) =>
      when(
        protectedAs?.vaultName !== undefined,
        `the virtual machine is protected already in vault ${protectedAs?.vaultName}, as ${protectedAs?.itemName}`,
      ),
  },
  {
    code: 'US3119',
    limit: 'an existing policy',
    possibleCauses: 'The policy was deleted.',
    recommendedAction: 'Create the policy and map it to the cloud.',
    violations: ({ policy, policyName }) => when(!policy, `there is no replication policy ${policyName}`),
  },
  {
    code: 'US3118',
    limit: 'a mapped policy',
    possibleCauses: 'The container mapping was never made or was removed.',
    recommendedAction: 'Map the policy to the cloud, then enable protection again.',
    violations: ({ cloudIsMapped, policyName }) =>
      when(!cloudIsMapped, `policy ${policyName} is not mapped to the cloud of the virtual machine`),
  },
  {
    code: 'US3114',
    limit: 'existing storage accounts in the vault’s region',
    possibleCauses: 'An account was deleted, or its id is mistyped.',
    recommendedAction: 'Name existing storage accounts; for logs none need be named.',
    violations: ({ storageAccount, logStorageAccount }) => [
      ...when(!storageAccount, 'the storage account for replicas was not found'),
      ...when(!logStorageAccount, 'the storage account for logs was not found'),
    ],
  },
  {
    code: 'US3115',
    limit: `premium storage from ${limits.premiumReplicationIntervalMinSeconds} s up`,
    possibleCauses: 'A premium page blob takes 100 snapshots only.',
    recommendedAction: 'Use a standard account, or a policy of 5 or 15 minutes.',
    violations: ({ policy, storageAccount }) => {
      const seconds = policy?.replicationIntervalSeconds ?? Number.POSITIVE_INFINITY;
      return when(
        storageAccount?.kind === 'premium' && seconds < limits.premiumReplicationIntervalMinSeconds,
        `account ${storageAccount?.name} is premium and the policy replicates every ${seconds} s`,
      );
    },
  },
  {
    code: 'US3116',
    limit: 'a standard account for the logs beside a premium one',
    possibleCauses: 'Premium accounts cannot hold the replication logs.',
    recommendedAction: 'Name a standard account as log storage account.',
    violations: ({ storageAccount, logStorageAccount }) =>
      when(
        storageAccount?.kind === 'premium' &&
          logStorageAccount !== undefined &&
          (logStorageAccount === 'absent' || logStorageAccount.kind === 'premium'),
        `account ${storageAccount?.name} is premium and no standard account is named for the logs`,
      ),
  },
  {
    code: 'US3126',
    limit: 'one of the policy’s storage accounts, where it names some',
    possibleCauses: 'Another account was named when enabling protection.',
    recommendedAction: 'Name one of the policy’s accounts, or add this one to the policy.',
    violations: ({ accountIsOfPolicy, policyName }) =>
      when(!accountIsOfPolicy, `policy ${policyName} does not name the storage account for replicas among its own`),
  },
  {
    code: 'US3131',
    limit: 'one virtual machine of a name in a resource group',
    possibleCauses: 'Two sources have the same name, or the name was given twice.',
    recommendedAction: 'Give another target name, or another resource group, when enabling protection.',
    violations: ({ target, targetNameTakenBy }) =>
      when(targetNameTakenBy !== undefined, `the target name ${target.vmName} is that of ${targetNameTakenBy} already`),
  },
  {
    code: 'US3123',
    limit: 'a network mapping, or a named virtual network',
    possibleCauses: 'The VM network was never mapped: after a failover nobody would reach the virtual machine.',
    recommendedAction: 'Map the VM network to a virtual network, or name one when enabling protection.',
    violations: ({ target, networkIsMapped }) =>
      when(
        target.networkId === undefined && !networkIsMapped,
        'the network of the virtual machine is mapped to no virtual network, and none is named',
      ),
  },
  {
    code: 'US3120',
    limit: 'an existing virtual network',
    possibleCauses: 'The network was deleted, or its id is mistyped.',
    recommendedAction: 'Name an existing network, or none.',
    violations: ({ target, subnetNames }) =>
      when(target.networkId !== undefined && subnetNames === undefined, `network ${target.networkId} was not found`),
  },
  {
    code: 'US3124',
    limit: 'a subnet of the named network',
    possibleCauses: 'The subnet was deleted or renamed, or is one of another network.',
    recommendedAction: 'Name a subnet that is there, or none: the one named as at the source is taken, else the first.',
    violations: ({ target: { subnetName }, subnetNames }) =>
      when(
        subnetName !== undefined && subnetNames !== undefined && !subnetNames.some((name) => sameId(name, subnetName)),
        `the network has no subnet ${subnetName}`,
      ),
  },
];
