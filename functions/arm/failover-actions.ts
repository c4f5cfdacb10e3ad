import type {
  ApplyRecoveryPointInputProperties,
  HyperVReplicaAzureApplyRecoveryPointInput,
  HyperVReplicaAzureFailbackProviderInput,
  HyperVReplicaAzurePlannedFailoverProviderInput,
  HyperVReplicaAzureUnplannedFailoverInput,
  PlannedFailoverInputProperties,
  UnplannedFailoverInputProperties,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { jobKinds } from '../../core/domain/jobs/job.js';
import type { RecoveryPoint } from '../../core/domain/recovery-point/recovery-point.js';
import {
  workflowNames,
  type ChangeRecoveryPointInput,
  type FailbackInput,
  type JobWorkflowInput,
  type RecoveryPointChoice,
  type UnplannedFailoverInput,
} from '../../core/domain/workflows/workflows.js';
import { lastSegment } from './arm-id.js';
import { badReference } from './cloud-resources.js';
import { act } from './item-operation.js';
import { vaultOperation, vaultOperationWithBody } from './operation.js';
import { itemOf, itemPath } from './protected-items.js';
import { readyPoints } from './recovery-points.js';
import { unsupported } from './unsupported.js';
import type { ShapeOf } from './wire.js';

/** Of replicas that the site encrypts. */
export const keys = {
  primaryKekCertificatePfx: unsupported('replicas are encrypted by their storage account'),
  secondaryKekCertificatePfx: unsupported('replicas are encrypted by their storage account'),
};
export const osUpgradeVersion = unsupported('a guest runs as it was at the source');

const failoverBody = z.object({
  properties: z.object({
    failoverDirection: z.literal('PrimaryToRecovery').optional(),
    sourceSiteOperations: z.enum(['Required', 'NotRequired']).optional(),
    providerSpecificDetails: z
      .object({
        instanceType: z.literal('HyperVReplicaAzure'),
        recoveryPointId: z.string().nullish(),
        ...keys,
      } satisfies ShapeOf<HyperVReplicaAzureUnplannedFailoverInput>)
      .nullish(),
  } satisfies ShapeOf<UnplannedFailoverInputProperties>),
});

/** A planned failover goes to what the source wrote last: it takes no other point. Its other direction is the failback. */
const plannedFailoverBody = z.object({
  properties: z.object({
    failoverDirection: z.enum(['PrimaryToRecovery', 'RecoveryToPrimary']).optional(),
    providerSpecificDetails: z
      .discriminatedUnion('instanceType', [
        z.object({
          instanceType: z.literal('HyperVReplicaAzure'),
          recoveryPointId: z.literal(['', 'Latest']).nullish(),
          osUpgradeVersion,
          ...keys,
        } satisfies ShapeOf<HyperVReplicaAzurePlannedFailoverProviderInput>),
        z.object({
          instanceType: z.literal('HyperVReplicaAzureFailback'),
          dataSyncOption: z.enum(['ForSynchronization', 'ForDownTime']).nullish(),
          recoveryVmCreationOption: z.enum(['CreateVmIfNotFound', 'NoAction']).nullish(),
          providerIdForAlternateRecovery: z.string().nullish(),
        } satisfies ShapeOf<HyperVReplicaAzureFailbackProviderInput>),
      ])
      .nullish(),
  } satisfies ShapeOf<PlannedFailoverInputProperties>),
});
type PlannedFailoverBody = z.output<typeof plannedFailoverBody>;

/** What a failback asks for; undefined for a failover. By default the data is synchronized while the VM runs in Azure. */
function failbackOf({ properties }: PlannedFailoverBody): Omit<FailbackInput, keyof JobWorkflowInput> | undefined {
  const { failoverDirection, providerSpecificDetails: details } = properties;
  const isFailback = details?.instanceType === 'HyperVReplicaAzureFailback';
  if ((failoverDirection ?? (isFailback ? 'RecoveryToPrimary' : 'PrimaryToRecovery')) === 'PrimaryToRecovery') {
    if (!isFailback) return undefined;
    const advice = 'Give RecoveryToPrimary as the direction of a failback.';
    throw badReference('$.properties.failoverDirection', 'direction', 'PrimaryToRecovery', advice);
  }
  if (!isFailback) return { synchronizeFirst: true };
  const createOnHostId = details.providerIdForAlternateRecovery?.toLowerCase();
  const creates = details.recoveryVmCreationOption === 'CreateVmIfNotFound';
  if (creates && !createOnHostId) {
    const advice = 'Name the host of the site that the VM is to be made on, by its id.';
    const target = '$.properties.providerSpecificDetails.providerIdForAlternateRecovery';
    throw badReference(target, 'host', createOnHostId ?? '', advice);
  }
  return {
    synchronizeFirst: details.dataSyncOption !== 'ForDownTime',
    ...(creates && createOnHostId ? { createOnHostId } : {}),
  };
}

const reprotectBody = z.object({
  properties: z
    .object({
      failoverDirection: z.enum(['PrimaryToRecovery', 'RecoveryToPrimary']).nullish(),
      providerSpecificDetails: z.object({ instanceType: z.literal('HyperVReplicaAzure') }).nullish(),
    })
    .nullish(),
});

const pointTarget = '$.properties.providerSpecificDetails.recoveryPointId';

/** An absent recovery point means Latest; the words of recovery plans are taken in its place. */
export function choiceOf(
  recoveryPointId: string | null | undefined,
  points: readonly RecoveryPoint[],
): RecoveryPointChoice {
  if (recoveryPointId === undefined || recoveryPointId === null || recoveryPointId === '') return { kind: 'latest' };
  const found = points.find((point) => point.recoveryPointId === lastSegment(recoveryPointId).toLowerCase());
  switch (recoveryPointId.toLowerCase()) {
    case 'latest':
      return { kind: 'latest' };
    case 'latestprocessed':
      return { kind: 'latestProcessed' };
    case 'latestapplicationconsistent':
      if (points.some((point) => point.consistency === 'applicationConsistent')) {
        return { kind: 'latestApplicationConsistent' };
      }
      throw badReference(
        pointTarget,
        'application-consistent recovery point',
        recoveryPointId,
        'Choose Latest, LatestProcessed or one of the recovery points of the item.',
      );
    default:
      if (found !== undefined) return { kind: 'point', recoveryPointId: found.recoveryPointId };
      throw badReference(
        pointTarget,
        'recovery point',
        recoveryPointId,
        'List the recovery points of the item; or name Latest, LatestProcessed or LatestApplicationConsistent.',
      );
  }
}

const pointBody = z.object({
  properties: z.object({
    recoveryPointId: z.string().min(1),
    providerSpecificDetails: z.object({
      instanceType: z.literal('HyperVReplicaAzure'),
    } satisfies ShapeOf<HyperVReplicaAzureApplyRecoveryPointInput>),
  } satisfies ShapeOf<ApplyRecoveryPointInputProperties>),
});

export const failoverActions = [
  vaultOperationWithBody(
    'replicationProtectedItems.beginApplyRecoveryPoint',
    'POST',
    `${itemPath}/applyRecoveryPoint`,
    {
      summary: 'Runs the failed-over VM from another recovery point, before commit',
      request: 'ApplyRecoveryPointInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
      body: pointBody,
    },
    (call, body) =>
      act(call, {
        operation: 'ChangePit',
        kind: jobKinds.changeRecoveryPoint,
        orchestrator: workflowNames.changeRecoveryPoint,
        input: async (base, item): Promise<ChangeRecoveryPointInput> => {
          const points = (await readyPoints(call, item.value)).map(({ value }) => value);
          return { ...base, recoveryPoint: choiceOf(body.properties.recoveryPointId, points) };
        },
      }),
  ),
  vaultOperationWithBody(
    'replicationProtectedItems.beginPlannedFailover',
    'POST',
    `${itemPath}/plannedFailover`,
    {
      summary: 'Shuts the source down and fails the VM over, or back, without losing a write',
      request: 'PlannedFailoverInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
      body: plannedFailoverBody,
    },
    (call, body) => {
      const failback = failbackOf(body);
      return failback === undefined
        ? act(call, {
            operation: 'PlannedFailover',
            kind: jobKinds.plannedFailover,
            orchestrator: workflowNames.plannedFailover,
            input: async (base) => base,
          })
        : act(call, {
            operation: 'Failback',
            kind: failback.synchronizeFirst ? jobKinds.failbackAfterSynchronization : jobKinds.failback,
            orchestrator: workflowNames.failback,
            input: async (base): Promise<FailbackInput> => ({ ...base, ...failback }),
          });
    },
  ),
  vaultOperationWithBody(
    'replicationProtectedItems.beginReprotect',
    'POST',
    `${itemPath}/reProtect`,
    {
      summary: 'Replicates a VM that was failed back from the primary site again',
      request: 'ReverseReplicationInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
      body: reprotectBody,
    },
    (call) =>
      act(call, {
        operation: 'ReverseReplicate',
        kind: jobKinds.reverseReplicate,
        orchestrator: workflowNames.reverseReplicate,
        input: async (base) => base,
      }),
  ),
  vaultOperationWithBody(
    'replicationProtectedItems.beginUnplannedFailover',
    'POST',
    `${itemPath}/unplannedFailover`,
    {
      summary: 'Fails the VM over to a recovery point',
      request: 'UnplannedFailoverInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
      body: failoverBody,
    },
    (call, body) =>
      act(call, {
        operation: 'UnplannedFailover',
        kind: jobKinds.unplannedFailover,
        orchestrator: workflowNames.unplannedFailover,
        input: async (base, item): Promise<UnplannedFailoverInput> => {
          const points = (await readyPoints(call, item.value)).map(({ value }) => value);
          return {
            ...base,
            recoveryPoint: choiceOf(body.properties.providerSpecificDetails?.recoveryPointId, points),
            shutDownSource: body.properties.sourceSiteOperations === 'Required',
          };
        },
      }),
  ),
  vaultOperation(
    'replicationProtectedItems.beginFailoverCommit',
    'POST',
    `${itemPath}/failoverCommit`,
    {
      summary: 'Commits a failover: other recovery points are given up; or a failback: the VM in Azure is',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
    },
    async (call) => {
      const isFailback = (await itemOf(call)).value.state === 'FailbackCommitPending';
      return act(call, {
        operation: 'Commit',
        kind: isFailback ? jobKinds.commitFailback : jobKinds.commitFailover,
        orchestrator: isFailback ? workflowNames.commitFailback : workflowNames.commitFailover,
        input: async (base) => base,
      });
    },
  ),
];
