import type {
  HyperVReplicaAzurePolicyInput,
  Policy,
  UpdatePolicyInputProperties,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { jobKinds } from '../../core/domain/jobs/job.js';
import {
  defaultAppConsistentFrequencyHours,
  defaultRecoveryPointHistoryHours,
  defaultReplicationIntervalSeconds,
  replicationIntervalsSeconds,
} from '../../core/domain/policy/replication-policy.js';
import { list, put, read, remove } from '../../core/records/access.js';
import { rows, type StoredPolicy } from '../../core/records/rows.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { checkIntervalFitsItems, checkIntervalFitsStorage, storageAccountOf } from './cloud-resources.js';
import {
  collection,
  notFound,
  ok,
  param,
  vaultOperation,
  vaultOperationWithBody,
  type VaultCall,
} from './operation.js';
import { changeRows } from './row-operation.js';
import { refuseUsed } from './used.js';
import type { ShapeOf, Wire } from './wire.js';

/** Clients send numbers of policies as numbers or, some of them, as strings. */
const wholeNumber = z.union([z.number(), z.string().regex(/^\d+$/).transform(Number)]).pipe(z.number().int());

const hyperVPolicy = z.object({
  instanceType: z.literal('HyperVReplicaAzure'),
  replicationInterval: wholeNumber
    .refine((seconds) => replicationIntervalsSeconds.some((allowed) => allowed === seconds), {
      error: `one of ${replicationIntervalsSeconds.join(', ')} seconds`,
    })
    .optional(),
  recoveryPointHistoryDuration: wholeNumber.pipe(z.number().min(0).max(24)).optional(),
  applicationConsistentSnapshotFrequencyInHours: wholeNumber.pipe(z.number().min(0).max(12)).optional(),
  /** `18:30:00`, in the site's time zone; null takes it away. */
  onlineReplicationStartTime: z.iso.time().nullish(),
  storageAccounts: z.array(z.string().startsWith('/subscriptions/')).nullish(),
} satisfies ShapeOf<HyperVReplicaAzurePolicyInput>);
const policyBody = z.object({ properties: z.object({ providerSpecificInput: hyperVPolicy }) });
const policyUpdateBody = z.object({
  properties: z.object({
    replicationProviderSettings: hyperVPolicy,
  } satisfies ShapeOf<UpdatePolicyInputProperties>),
});
type PolicyInput = z.output<typeof hyperVPolicy>;

export const policyArmId = (call: VaultCall, policyName: string): string =>
  call.armId(`/replicationPolicies/${policyName}`);

export async function findPolicy(call: VaultCall, policyName: string): Promise<StoredPolicy | undefined> {
  return (await read(call.app.table, rows.policy(call.vaultId, policyName)))?.value;
}

function policyToWire(call: VaultCall, policy: StoredPolicy): Wire<Policy> {
  return {
    id: policyArmId(call, policy.name),
    name: policy.name,
    type: 'Microsoft.RecoveryServices/vaults/replicationPolicies',
    properties: {
      friendlyName: policy.name,
      providerSpecificDetails: {
        instanceType: 'HyperVReplicaAzure',
        recoveryPointHistoryDurationInHours: policy.recoveryPointHistoryHours,
        applicationConsistentSnapshotFrequencyInHours: policy.appConsistentFrequencyHours,
        replicationInterval: policy.replicationIntervalSeconds,
        onlineReplicationStartTime: policy.onlineReplicationStartTime,
        encryption: 'Disabled',
        activeStorageAccountId: policy.storageAccountIds[0],
      },
    },
  };
}

/** What is left out has its default in a new policy, or where it is replaced; where it is edited, its value of before. */
function policyFrom(name: string, input: PolicyInput, before: StoredPolicy | undefined, now: string): StoredPolicy {
  const startTime =
    input.onlineReplicationStartTime === undefined
      ? before?.onlineReplicationStartTime
      : input.onlineReplicationStartTime;
  return {
    name,
    replicationIntervalSeconds:
      input.replicationInterval ?? before?.replicationIntervalSeconds ?? defaultReplicationIntervalSeconds,
    recoveryPointHistoryHours:
      input.recoveryPointHistoryDuration ?? before?.recoveryPointHistoryHours ?? defaultRecoveryPointHistoryHours,
    appConsistentFrequencyHours:
      input.applicationConsistentSnapshotFrequencyInHours ??
      before?.appConsistentFrequencyHours ??
      defaultAppConsistentFrequencyHours,
    ...(startTime ? { onlineReplicationStartTime: startTime } : {}),
    storageAccountIds: input.storageAccounts ?? before?.storageAccountIds ?? [],
    createdAt: now,
  };
}

/** `edits`: what is left out stays. Items that replicate already go by the new settings from their next cycle on. */
async function savePolicy(call: VaultCall, input: PolicyInput, place: string, edits: boolean): Promise<ApiResponse> {
  const name = param(call, 'policyName');
  const stored = await findPolicy(call, name);
  if (edits && stored === undefined) throw notFound('policy', name);
  const wanted = policyFrom(name, input, edits ? stored : undefined, '');
  const { replicationIntervalSeconds } = wanted;
  for (const [index, armId] of wanted.storageAccountIds.entries()) {
    const target = `${place}.storageAccounts[${index}]`;
    checkIntervalFitsStorage(replicationIntervalSeconds, await storageAccountOf(call, armId, target), target);
  }
  checkFrequencyFitsHistory(wanted, `${place}.applicationConsistentSnapshotFrequencyInHours`);
  await checkIntervalFitsItems(call, name, replicationIntervalSeconds, `${place}.replicationInterval`);
  return changeRows(call, {
    kind: stored === undefined ? jobKinds.createPolicy : jobKinds.updatePolicy,
    targetResourceId: policyArmId(call, name),
    targetObjectName: name,
    decide: async (now) => {
      const ref = rows.policy(call.vaultId, name);
      const found = await read(call.app.table, ref);
      const existing = found?.value;
      const isEdited = existing !== undefined && existing.replicationIntervalSeconds !== replicationIntervalSeconds;
      const intervalEditedAt = isEdited ? now : existing?.intervalEditedAt;
      const policy: StoredPolicy = {
        ...policyFrom(existing?.name ?? name, input, edits ? existing : undefined, existing?.createdAt ?? now),
        ...(intervalEditedAt === undefined ? {} : { intervalEditedAt }),
      };
      return [put(ref, found, policy)];
    },
  });
}

/** An application-consistent point that is older than every kept point would never be there to be chosen. */
function checkFrequencyFitsHistory(policy: StoredPolicy, target: string): void {
  const { appConsistentFrequencyHours, recoveryPointHistoryHours } = policy;
  if (appConsistentFrequencyHours === 0 || appConsistentFrequencyHours <= Math.max(1, recoveryPointHistoryHours))
    return;
  throw new ApiError({
    code: 'US1035',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target,
    message: `${target}: application-consistent points every ${appConsistentFrequencyHours} h do not fit a history of ${recoveryPointHistoryHours} h`,
    possibleCauses: 'None would be kept until the next one is made.',
    recommendedAction: 'Keep points for longer, or make application-consistent ones more often; 0 turns them off.',
  });
}

/** A policy that something goes by is kept. */
async function deletePolicy(call: VaultCall): Promise<ApiResponse> {
  const name = param(call, 'policyName');
  const ref = rows.policy(call.vaultId, name);
  if ((await read(call.app.table, ref)) === undefined) throw notFound('policy', name);
  return changeRows(call, {
    kind: jobKinds.deletePolicy,
    targetResourceId: policyArmId(call, name),
    targetObjectName: name,
    decide: async () => {
      const stored = await read(call.app.table, ref);
      if (stored === undefined) throw notFound('policy', name);
      const isIt = ({ policyName }: { policyName: string }): boolean => policyName.toLowerCase() === name.toLowerCase();
      const [mappings, items] = await Promise.all([
        list(call.app.table, rows.mappings(call.vaultId)),
        list(call.app.table, rows.items(call.vaultId)),
      ]);
      const users = [
        ...mappings.flatMap(({ value }) => (isIt(value) ? [`container mapping ${value.mappingName}`] : [])),
        ...items.flatMap(({ value }) => (isIt(value) ? [`protected item ${value.itemName}`] : [])),
      ];
      refuseUsed('policy', name, users, 'Remove the mappings, and disable replication of the items, first.');
      return [remove(stored)];
    },
  });
}

/** Replication policies. */
export const policyOperations = [
  vaultOperation(
    'replicationPolicies.list',
    'GET',
    '~/replicationPolicies',
    { summary: 'Policies of the vault', response: 'PolicyCollection' },
    async (call) => {
      const policies = await list(call.app.table, rows.policies(call.vaultId));
      return collection(policies.map(({ value }) => policyToWire(call, value)));
    },
  ),
  vaultOperation(
    'replicationPolicies.get',
    'GET',
    '~/replicationPolicies/{policyName}',
    { summary: 'One policy', response: 'Policy' },
    async (call) => {
      const name = param(call, 'policyName');
      const policy = await findPolicy(call, name);
      if (policy === undefined) throw notFound('policy', name);
      return ok(policyToWire(call, policy));
    },
  ),
  vaultOperationWithBody(
    'replicationPolicies.beginCreate',
    'PUT',
    '~/replicationPolicies/{policyName}',
    {
      summary: 'Creates a policy, or replaces its settings',
      request: 'CreatePolicyInput',
      response: 'Policy',
      longRunning: true,
      body: policyBody,
    },
    (call, { properties }) =>
      savePolicy(call, properties.providerSpecificInput, '$.properties.providerSpecificInput', false),
  ),
  vaultOperationWithBody(
    'replicationPolicies.beginUpdate',
    'PATCH',
    '~/replicationPolicies/{policyName}',
    {
      summary: 'Edits settings of a policy; what is left out stays',
      request: 'UpdatePolicyInput',
      response: 'Policy',
      longRunning: true,
      body: policyUpdateBody,
    },
    (call, { properties }) =>
      savePolicy(call, properties.replicationProviderSettings, '$.properties.replicationProviderSettings', true),
  ),
  vaultOperation(
    'replicationPolicies.beginDelete',
    'DELETE',
    '~/replicationPolicies/{policyName}',
    { summary: 'Deletes a policy that nothing goes by', longRunning: true },
    deletePolicy,
  ),
];
