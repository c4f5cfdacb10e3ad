import type {
  ApplyRecoveryPointInputProperties,
  HyperVReplicaAzureApplyRecoveryPointInput,
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
  type RecoveryPointChoice,
  type UnplannedFailoverInput,
} from '../../core/domain/workflows/workflows.js';
import { lastSegment } from './arm-id.js';
import { badReference } from './cloud-resources.js';
import { act } from './item-operation.js';
import { vaultOperation, vaultOperationWithBody } from './operation.js';
import { itemPath } from './protected-items.js';
import { readyPoints } from './recovery-points.js';
import type { ShapeOf } from './wire.js';

const failoverBody = z.object({
  properties: z.object({
    failoverDirection: z.literal('PrimaryToRecovery').optional(),
    sourceSiteOperations: z.enum(['Required', 'NotRequired']).optional(),
    providerSpecificDetails: z
      .object({
        instanceType: z.literal('HyperVReplicaAzure'),
        recoveryPointId: z.string().nullish(),
      } satisfies ShapeOf<HyperVReplicaAzureUnplannedFailoverInput>)
      .nullish(),
  } satisfies ShapeOf<UnplannedFailoverInputProperties>),
});

/** A planned failover goes to what the source wrote last: it takes no other point. */
const plannedFailoverBody = z.object({
  properties: z.object({
    failoverDirection: z.literal('PrimaryToRecovery').optional(),
    providerSpecificDetails: z
      .object({
        instanceType: z.literal('HyperVReplicaAzure'),
        recoveryPointId: z.literal(['', 'Latest']).nullish(),
      } satisfies ShapeOf<HyperVReplicaAzurePlannedFailoverProviderInput>)
      .nullish(),
  } satisfies ShapeOf<PlannedFailoverInputProperties>),
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
      summary: 'Shuts the source down and fails the VM over without losing a write',
      request: 'PlannedFailoverInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
      body: plannedFailoverBody,
    },
    (call) =>
      act(call, {
        operation: 'PlannedFailover',
        kind: jobKinds.plannedFailover,
        orchestrator: workflowNames.plannedFailover,
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
      summary: 'Commits a failover: other recovery points are given up',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
    },
    (call) =>
      act(call, {
        operation: 'Commit',
        kind: jobKinds.commitFailover,
        orchestrator: workflowNames.commitFailover,
        input: async (base) => base,
      }),
  ),
];
