import type { HyperVReplicaAzurePolicyInput, Policy } from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { jobKinds } from '../../core/domain/jobs/job.js';
import {
  defaultAppConsistentFrequencyHours,
  defaultRecoveryPointHistoryHours,
  defaultReplicationIntervalSeconds,
  replicationIntervalsSeconds,
} from '../../core/domain/policy/replication-policy.js';
import { workflowNames, type RunOperationInput } from '../../core/domain/workflows/workflows.js';
import { list, read } from '../../core/records/access.js';
import { rows, vaultPartition, type StoredPolicy } from '../../core/records/rows.js';
import { submitJob } from '../jobs/submit-job.js';
import { checkIntervalFitsItems, checkIntervalFitsStorage, storageAccountOf } from './cloud-resources.js';
import { accepted } from './long-running.js';
import {
  collection,
  notFound,
  ok,
  param,
  vaultOperation,
  vaultOperationWithBody,
  type VaultCall,
} from './operation.js';
import type { ShapeOf, Wire } from './wire.js';

/** Clients send numbers of policies as numbers or, some of them, as strings. */
const wholeNumber = z.union([z.number(), z.string().regex(/^\d+$/).transform(Number)]).pipe(z.number().int());

const policyBody = z.object({
  properties: z.object({
    providerSpecificInput: z.object({
      instanceType: z.literal('HyperVReplicaAzure'),
      replicationInterval: wholeNumber
        .refine((seconds) => replicationIntervalsSeconds.some((allowed) => allowed === seconds), {
          error: `one of ${replicationIntervalsSeconds.join(', ')} seconds`,
        })
        .optional(),
      recoveryPointHistoryDuration: wholeNumber.pipe(z.number().min(0).max(24)).optional(),
      applicationConsistentSnapshotFrequencyInHours: wholeNumber.pipe(z.number().min(0).max(12)).optional(),
      onlineReplicationStartTime: z.iso.time().nullish(),
      storageAccounts: z.array(z.string().startsWith('/subscriptions/')).nullish(),
    } satisfies ShapeOf<HyperVReplicaAzurePolicyInput>),
  }),
});

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

async function putPolicy(call: VaultCall, body: z.output<typeof policyBody>) {
  const input = body.properties.providerSpecificInput;
  const name = param(call, 'policyName');
  const replicationIntervalSeconds = input.replicationInterval ?? defaultReplicationIntervalSeconds;
  const storageAccountIds = input.storageAccounts ?? [];
  for (const [index, armId] of storageAccountIds.entries()) {
    const target = `$.properties.providerSpecificInput.storageAccounts[${index}]`;
    checkIntervalFitsStorage(replicationIntervalSeconds, await storageAccountOf(call, armId, target), target);
  }
  await checkIntervalFitsItems(
    call,
    name,
    replicationIntervalSeconds,
    '$.properties.providerSpecificInput.replicationInterval',
  );
  const job = await submitJob(call.app, {
    vaultId: call.vaultId,
    kind: jobKinds.createPolicy,
    orchestrator: workflowNames.runOperation,
    targetResourceId: policyArmId(call, name),
    targetObjectName: name,
    decide: async (jobName, now) => {
      const existing = await findPolicy(call, name);
      const isEdited = existing !== undefined && existing.replicationIntervalSeconds !== replicationIntervalSeconds;
      const intervalEditedAt = isEdited ? now : existing?.intervalEditedAt;
      const policy: StoredPolicy = {
        name: existing?.name ?? name,
        replicationIntervalSeconds,
        ...(intervalEditedAt === undefined ? {} : { intervalEditedAt }),
        recoveryPointHistoryHours: input.recoveryPointHistoryDuration ?? defaultRecoveryPointHistoryHours,
        appConsistentFrequencyHours:
          input.applicationConsistentSnapshotFrequencyInHours ?? defaultAppConsistentFrequencyHours,
        ...(input.onlineReplicationStartTime ? { onlineReplicationStartTime: input.onlineReplicationStartTime } : {}),
        storageAccountIds,
        createdAt: existing?.createdAt ?? now,
      };
      const operation: RunOperationInput = {
        vaultId: call.vaultId,
        jobName,
        operation: {
          kind: 'putPolicy',
          partition: vaultPartition(call.vaultId),
          rowKey: rows.policy(call.vaultId, name).rowKey,
          value: policy,
        },
      };
      return { operations: [], input: operation };
    },
  });
  return accepted(call, job);
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
    putPolicy,
  ),
];
