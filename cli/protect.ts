import type { HyperVVirtualMachineDetails, ReplicationProtectedItem } from '@azure/arm-recoveryservices-siterecovery';
import { NotFoundError, type Vault } from './vault-client.js';

export interface ProtectOptions {
  vmName: string;
  policyName: string;
  /** ARM id of the storage account that holds the replica disks. */
  storageAccountId: string;
  networkId: string;
  /** Used when the policy does not exist yet. */
  replicationIntervalSeconds: number;
  tell: (message: string) => void;
}

/** Makes policy and container mapping where absent, then enables protection of the VM. */
export async function protect(vault: Vault, options: ProtectOptions): Promise<ReplicationProtectedItem> {
  const vms = await vault.protectableItems();
  const found = vms.find(({ vm }) => vm.properties?.friendlyName?.toLowerCase() === options.vmName.toLowerCase());
  if (!found) {
    const known = vms.map(({ vm }) => vm.properties?.friendlyName).join(', ') || 'none';
    throw new NotFoundError(`no VM is named ${options.vmName}; the clouds hold: ${known}`);
  }
  const { vm, fabricName, containerName } = found;
  const policyId = await ensurePolicy(vault, options);
  await ensureMapping(vault, fabricName, containerName, policyId, options.tell);
  options.tell(`enabling protection of ${options.vmName}`);
  const details = vm.properties?.customDetails as HyperVVirtualMachineDetails | undefined;
  return vault.sdk.replicationProtectedItems.beginCreateAndWait(
    ...vault.scope,
    fabricName,
    containerName,
    vm.name ?? '',
    {
      properties: {
        policyId,
        ...(vm.id === undefined ? {} : { protectableItemId: vm.id }),
        providerSpecificDetails: {
          instanceType: 'HyperVReplicaAzure',
          hvHostVmId: vm.name ?? '',
          vmName: options.vmName,
          osType: details?.osDetails?.osType ?? 'Windows',
          targetAzureVmName: options.vmName,
          targetStorageAccountId: options.storageAccountId,
          targetAzureNetworkId: options.networkId,
          useManagedDisks: 'true',
        },
      },
    },
    { updateIntervalInMs: 500 },
  );
}

async function ensurePolicy(vault: Vault, options: ProtectOptions): Promise<string> {
  const id = `${vault.armId}/replicationPolicies/${options.policyName}`;
  for await (const policy of vault.sdk.replicationPolicies.list(...vault.scope)) {
    if (policy.name?.toLowerCase() === options.policyName.toLowerCase()) return policy.id ?? id;
  }
  options.tell(`creating policy ${options.policyName} (every ${options.replicationIntervalSeconds} s)`);
  const policy = await vault.sdk.replicationPolicies.beginCreateAndWait(
    ...vault.scope,
    options.policyName,
    {
      properties: {
        providerSpecificInput: {
          instanceType: 'HyperVReplicaAzure',
          replicationInterval: options.replicationIntervalSeconds,
          recoveryPointHistoryDuration: 2,
          applicationConsistentSnapshotFrequencyInHours: 1,
          storageAccounts: [options.storageAccountId],
        },
      },
    },
    { updateIntervalInMs: 500 },
  );
  return policy.id ?? id;
}

async function ensureMapping(
  vault: Vault,
  fabricName: string,
  containerName: string,
  policyId: string,
  tell: (message: string) => void,
): Promise<void> {
  const mappings = vault.sdk.replicationProtectionContainerMappings.listByReplicationProtectionContainers(
    ...vault.scope,
    fabricName,
    containerName,
  );
  for await (const mapping of mappings) {
    if (mapping.properties?.policyId?.toLowerCase() === policyId.toLowerCase()) return;
  }
  const mappingName = policyId.split('/').at(-1) ?? 'default';
  tell(`mapping the cloud to policy ${mappingName}`);
  await vault.sdk.replicationProtectionContainerMappings.beginCreateAndWait(
    ...vault.scope,
    fabricName,
    containerName,
    mappingName,
    {
      properties: {
        policyId,
        targetProtectionContainerId: 'Microsoft Azure',
      },
    },
    { updateIntervalInMs: 500 },
  );
}
