import type {
  RecoveryPlanPlannedFailoverInputProperties,
  RecoveryPlanTestFailoverCleanupInputProperties,
  RecoveryPlanTestFailoverInputProperties,
  RecoveryPlanUnplannedFailoverInputProperties,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import type { Job } from '../../core/domain/jobs/job.js';
import { planJobKind, planTasks, type PlanRunInput } from '../../core/domain/recovery-plan/plan-run.js';
import {
  allowedPlanOperations,
  withinTimeoutLimits,
  type PlanOperation,
  type RecoveryPlan,
} from '../../core/domain/recovery-plan/recovery-plan.js';
import { workflowNames, type RecoveryPointChoice } from '../../core/domain/workflows/workflows.js';
import { replace } from '../../core/records/access.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { submitJob, type JobDetails } from '../jobs/submit-job.js';
import { withMaskedAddresses } from '../webhook-address.js';
import { badReference } from './cloud-resources.js';
import { accepted } from './long-running.js';
import { vaultOperation, vaultOperationWithBody, type VaultCall } from './operation.js';
import { itemsOfPlan, planOf } from './recovery-plans.js';
import type { ShapeOf } from './wire.js';

const failoverDetails = z.array(
  z.discriminatedUnion('instanceType', [
    z.object({
      instanceType: z.literal('HyperVReplicaAzure'),
      recoveryPointType: z.enum(['Latest', 'LatestApplicationConsistent', 'LatestProcessed']).nullish(),
    }),
    z.object({
      instanceType: z.literal('HyperVReplicaAzureFailback'),
      dataSyncOption: z.enum(['ForSynchronization', 'ForDownTime']),
      recoveryVmCreationOption: z.enum(['CreateVmIfNotFound', 'NoAction']),
    }),
  ]),
);
type FailoverDetails = z.output<typeof failoverDetails> | null | undefined;

const plannedBody = z.object({
  properties: z.object({
    failoverDirection: z.enum(['PrimaryToRecovery', 'RecoveryToPrimary']),
    providerSpecificDetails: failoverDetails.nullish(),
  } satisfies ShapeOf<RecoveryPlanPlannedFailoverInputProperties>),
});
const unplannedBody = z.object({
  properties: z.object({
    failoverDirection: z.literal('PrimaryToRecovery'),
    sourceSiteOperations: z.enum(['Required', 'NotRequired']),
    providerSpecificDetails: failoverDetails.nullish(),
  } satisfies ShapeOf<RecoveryPlanUnplannedFailoverInputProperties>),
});
const testBody = z.object({
  properties: z.object({
    failoverDirection: z.literal('PrimaryToRecovery'),
    networkType: z.enum(['VmNetworkAsInput', 'NoNetworkAttachAsInput']),
    networkId: z.string().startsWith('/subscriptions/').nullish(),
    providerSpecificDetails: failoverDetails.nullish(),
  } satisfies ShapeOf<RecoveryPlanTestFailoverInputProperties>),
});
const cleanUpBody = z.object({
  properties: z.object({
    comments: z.string().max(4096).nullish(),
  } satisfies ShapeOf<RecoveryPlanTestFailoverCleanupInputProperties>),
});

const points: Record<string, RecoveryPointChoice> = {
  Latest: { kind: 'latest' },
  LatestProcessed: { kind: 'latestProcessed' },
  LatestApplicationConsistent: { kind: 'latestApplicationConsistent' },
};

/** A plan goes to the same kind of point with all its items: the latest where none is named. */
function pointOf(details: FailoverDetails): RecoveryPointChoice {
  const found = details?.find((each) => each.instanceType === 'HyperVReplicaAzure');
  return points[found?.recoveryPointType ?? 'Latest'] ?? { kind: 'latest' };
}

type RunChoices = Partial<
  Omit<PlanRunInput, 'vaultId' | 'jobName' | 'planName' | 'fabricName' | 'operation' | 'groups'>
>;

/** The run takes the plan as it is now; its row names the job, in the job's own transaction. */
async function runPlan(call: VaultCall, operation: PlanOperation, choices: RunChoices = {}): Promise<ApiResponse> {
  const { planName } = (await planOf(call)).value;
  return accepted(call, await submitPlanRun(call, planName, operation, choices));
}

export async function submitPlanRun(
  call: VaultCall,
  planName: string,
  operation: PlanOperation,
  choices: RunChoices,
  { details, requirePlan }: { details?: JobDetails; requirePlan?: (plan: RecoveryPlan) => void } = {},
): Promise<Job> {
  const kind = planJobKind(operation);
  return submitJob(call.app, {
    vaultId: call.vaultId,
    kind,
    orchestrator: workflowNames.recoveryPlan,
    targetResourceId: call.armId(`/replicationRecoveryPlans/${planName}`),
    targetObjectName: planName,
    decide: async (jobName, now) => {
      const plan = await planOf(call, planName);
      const allowed = allowedPlanOperations(plan.value, await itemsOfPlan(call, plan.value.groups));
      requirePlan?.(plan.value);
      if (!allowed.includes(operation)) throw refused(plan.value.planName, operation, allowed);
      const activeJob = { jobName, scenarioName: kind.scenarioName, startedAt: now };
      const { fabricName, groups } = plan.value;
      const input: PlanRunInput = {
        vaultId: call.vaultId,
        jobName,
        planName,
        fabricName,
        operation,
        groups: withMaskedAddresses(withinTimeoutLimits(groups)),
        recoveryPoint: { kind: 'latest' },
        shutDownSources: false,
        synchronizeFirst: false,
        createVms: false,
        comments: '',
        ...choices,
      };
      return {
        operations: [replace(plan, { ...plan.value, activeJob })],
        input,
        tasks: planTasks(input),
        ...(details && { details }),
      };
    },
  });
}

function refused(planName: string, operation: PlanOperation, allowed: readonly PlanOperation[]): ApiError {
  const what = allowed.length === 0 ? 'nothing is, until its present job has ended' : `${allowed.join(', ')} are`;
  return new ApiError({
    code: 'US1028',
    httpStatus: 409,
    target: planName,
    message: `${operation} is not allowed for recovery plan ${planName}: ${what}`,
    possibleCauses: 'A job of the plan runs, or none of its items is in a state for this.',
    recommendedAction: 'See the plan’s allowedOperations and the states of its items.',
    details: { allowedOperations: allowed },
  });
}

const planPath = '~/replicationRecoveryPlans/{recoveryPlanName}';
const action = (summary: string, request?: string) => ({
  summary,
  ...(request === undefined ? {} : { request }),
  response: 'RecoveryPlan',
  longRunning: true,
  role: 'operator' as const,
});

export const recoveryPlanActions = [
  vaultOperationWithBody(
    'replicationRecoveryPlans.beginTestFailover',
    'POST',
    `${planPath}/testFailover`,
    { ...action('Tests the failover of all items, group by group', 'RecoveryPlanTestFailoverInput'), body: testBody },
    (call, { properties: { networkType, networkId, providerSpecificDetails } }) => {
      if (networkType === 'VmNetworkAsInput' && !networkId) {
        throw badReference(
          '$.properties.networkId',
          'network',
          '',
          'Name the virtual network that the test VMs go to.',
        );
      }
      const network = networkType === 'VmNetworkAsInput' && networkId ? { networkId } : {};
      return runPlan(call, 'TestFailover', { recoveryPoint: pointOf(providerSpecificDetails), ...network });
    },
  ),
  vaultOperationWithBody(
    'replicationRecoveryPlans.beginTestFailoverCleanup',
    'POST',
    `${planPath}/testFailoverCleanup`,
    {
      ...action(
        'Deletes the test VMs of all items; with that the test has succeeded',
        'RecoveryPlanTestFailoverCleanupInput',
      ),
      body: cleanUpBody,
    },
    (call, { properties }) => runPlan(call, 'TestFailoverCleanup', { comments: properties.comments ?? '' }),
  ),
  vaultOperationWithBody(
    'replicationRecoveryPlans.beginPlannedFailover',
    'POST',
    `${planPath}/plannedFailover`,
    {
      ...action('Fails all items over, or back, without losing a write', 'RecoveryPlanPlannedFailoverInput'),
      body: plannedBody,
    },
    (call, { properties: { failoverDirection, providerSpecificDetails } }) => {
      if (failoverDirection === 'PrimaryToRecovery') return runPlan(call, 'PlannedFailover');
      const back = providerSpecificDetails?.find((each) => each.instanceType === 'HyperVReplicaAzureFailback');
      return runPlan(call, 'Failback', {
        synchronizeFirst: back?.dataSyncOption !== 'ForDownTime',
        createVms: back?.recoveryVmCreationOption === 'CreateVmIfNotFound',
      });
    },
  ),
  vaultOperationWithBody(
    'replicationRecoveryPlans.beginUnplannedFailover',
    'POST',
    `${planPath}/unplannedFailover`,
    {
      ...action('Fails all items over to a recovery point', 'RecoveryPlanUnplannedFailoverInput'),
      body: unplannedBody,
    },
    (call, { properties: { sourceSiteOperations, providerSpecificDetails } }) =>
      runPlan(call, 'UnplannedFailover', {
        recoveryPoint: pointOf(providerSpecificDetails),
        shutDownSources: sourceSiteOperations === 'Required',
      }),
  ),
  vaultOperation(
    'replicationRecoveryPlans.beginFailoverCommit',
    'POST',
    `${planPath}/failoverCommit`,
    action('Commits the failover, or failback, of all items'),
    (call) => runPlan(call, 'Commit'),
  ),
  vaultOperation(
    'replicationRecoveryPlans.beginReprotect',
    'POST',
    `${planPath}/reProtect`,
    action('Replicates all items that were failed back from the primary site again'),
    (call) => runPlan(call, 'ReverseReplicate'),
  ),
];
