import type {
  CreateRecoveryPlanInputProperties,
  RecoveryPlan as SdkPlan,
  RecoveryPlanAction as SdkAction,
  RecoveryPlanGroup as SdkGroup,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { jobKinds, type JobKind } from '../../core/domain/jobs/job.js';
import { scriptNamePattern } from '../../core/domain/relay-protocol/wire.js';
import {
  actionTimeouts,
  allowedPlanOperations,
  arrangeGroups,
  itemsOf,
  withinTimeoutLimit,
  type PlanAction,
  type PlanFault,
  type PlanGroup,
  type RecoveryPlan,
} from '../../core/domain/recovery-plan/recovery-plan.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { RowOperation } from '../../core/ports/state-table.js';
import { list, put, read, remove, replace, type Stored } from '../../core/records/access.js';
import { itemIdOf, rows } from '../../core/records/rows.js';
import { ApiError } from '../http/api-error.js';
import { maskedAddress, withStoredAddresses } from '../webhook-address.js';
import { lastSegment } from './arm-id.js';
import { badReference } from './cloud-resources.js';
import { jobArmId } from './job-wire.js';
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
import type { ShapeOf, Wire } from './wire.js';

const timeout = (maxSeconds: number) =>
  z
    .string()
    .transform((text, context) => {
      const seconds = secondsOf(text);
      if (seconds !== undefined && seconds > 0 && seconds <= maxSeconds) return seconds;
      const message = `a time like PT2M, 00:02:00 or 120, of at most ${maxSeconds} seconds`;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    })
    .nullish();

/** ISO 8601 as newer clients send it, a .NET time span as older ones do, or plain seconds. */
function secondsOf(text: string): number | undefined {
  const iso = /^PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?$/.exec(text);
  const span = /^(\d{1,2}):(\d{2}):(\d{2})$/.exec(text);
  const [, hours, minutes, rest] = iso ?? span ?? (/^\d+$/.test(text) ? ['', '0', '0', text] : []);
  const seconds = Number(hours ?? 0) * 3600 + Number(minutes ?? 0) * 60 + Number(rest ?? 0);
  return (iso ?? span ?? /^\d+$/.test(text)) ? seconds : undefined;
}

const failoverType = z.enum(['TestFailover', 'PlannedFailover', 'UnplannedFailover']);
const direction = z.enum(['PrimaryToRecovery', 'RecoveryToPrimary']);
const actionBody = z.object({
  actionName: z.string().min(1).max(128),
  failoverTypes: z.array(failoverType).min(1),
  failoverDirections: z.array(direction).min(1),
  customDetails: z.discriminatedUnion('instanceType', [
    /** `runbookId` is the runbook's webhook: the app posts the context there. */
    z.object({
      instanceType: z.literal('AutomationRunbookActionDetails'),
      runbookId: z.url({ protocol: /^https?$/ }),
      timeout: timeout(actionTimeouts.runbook.maxSeconds),
      fabricLocation: z.string(),
    }),
    /** `path` is the name of a file in the relay's own scripts folder. */
    z.object({
      instanceType: z.literal('ScriptActionDetails'),
      path: z.string().regex(scriptNamePattern, 'the name of a file in the relay’s scripts folder, without a path'),
      timeout: timeout(actionTimeouts.script.maxSeconds),
      fabricLocation: z.string(),
    }),
    z.object({ instanceType: z.literal('ManualActionDetails'), description: z.string().max(4096).nullish() }),
  ]),
} satisfies ShapeOf<SdkAction>);
const groupBody = z.object({
  groupType: z.enum(['Shutdown', 'Failover', 'Boot']),
  replicationProtectedItems: z
    .array(z.object({ id: z.string().min(1), virtualMachineId: z.string().nullish() }))
    .nullish(),
  startGroupActions: z.array(actionBody).nullish(),
  endGroupActions: z.array(actionBody).nullish(),
} satisfies ShapeOf<SdkGroup>);
const createBody = z.object({
  properties: z.object({
    primaryFabricId: z.string().min(1),
    recoveryFabricId: z.string().min(1),
    failoverDeploymentModel: z.string().nullish(),
    groups: z.array(groupBody).min(1),
  } satisfies ShapeOf<CreateRecoveryPlanInputProperties>),
});
const updateBody = z.object({ properties: z.object({ groups: z.array(groupBody).min(1) }) });
type GroupBody = z.output<typeof groupBody>;

const planArmId = (call: VaultCall, name: string): string => call.armId(`/replicationRecoveryPlans/${name}`);

export async function planOf(call: VaultCall, name = param(call, 'recoveryPlanName')): Promise<Stored<RecoveryPlan>> {
  const plan = await read(call.app.table, rows.plan(call.vaultId, name));
  if (plan === undefined) throw notFound('recovery plan', name);
  return plan;
}

/** The plan's items that are still there. */
export async function itemsOfPlan(call: VaultCall, groups: readonly PlanGroup[]): Promise<ProtectedItem[]> {
  const wanted = new Set<string>(itemsOf(groups));
  const items = await list(call.app.table, rows.items(call.vaultId));
  return items.map(({ value }) => value).filter(({ itemId }) => wanted.has(itemId));
}

function toAction({
  actionName,
  failoverTypes,
  failoverDirections,
  customDetails,
}: z.output<typeof actionBody>): PlanAction {
  const named = { actionName, failoverTypes, failoverDirections };
  switch (customDetails.instanceType) {
    case 'ManualActionDetails':
      return { ...named, details: { kind: 'manual', description: customDetails.description ?? '' } };
    case 'AutomationRunbookActionDetails': {
      const timeoutSeconds = customDetails.timeout ?? actionTimeouts.runbook.defaultSeconds;
      return { ...named, details: { kind: 'runbook', webhookUrl: customDetails.runbookId, timeoutSeconds } };
    }
    case 'ScriptActionDetails': {
      const timeoutSeconds = customDetails.timeout ?? actionTimeouts.script.defaultSeconds;
      return { ...named, details: { kind: 'script', scriptName: customDetails.path, timeoutSeconds } };
    }
  }
}

/** Groups as the row has them, every item found and of the plan's fabric; whatever is wrong is told at once. */
async function groupsOf(call: VaultCall, bodies: readonly GroupBody[], fabricName: string): Promise<PlanGroup[]> {
  const present = new Set<string>(
    (await list(call.app.table, rows.items(call.vaultId))).map(({ value }) => value.itemId),
  );
  const groups = bodies.map((body, index): PlanGroup => ({
    groupType: body.groupType,
    items: (body.replicationProtectedItems ?? []).map(({ id }, position) => {
      const target = `$.properties.groups[${index}].replicationProtectedItems[${position}].id`;
      const [, fabric, container, item] =
        /\/replicationFabrics\/([^/]+)\/replicationProtectionContainers\/([^/]+)\/replicationProtectedItems\/([^/]+)$/i.exec(
          id,
        ) ?? [];
      const itemId = fabric && container && item ? itemIdOf(call.vaultId, fabric, container, item) : undefined;
      if (itemId === undefined || !present.has(itemId)) {
        throw badReference(target, 'protected item', id, 'List the replicated items, and give their ids.');
      }
      if (fabric?.toLowerCase() !== fabricName.toLowerCase()) {
        throw badReference(target, 'protected item of the plan’s fabric', id, 'A plan has the items of one site.');
      }
      return { itemId, armId: id };
    }),
    startActions: (body.startGroupActions ?? []).map(toAction),
    endActions: (body.endGroupActions ?? []).map(toAction),
  }));
  const arranged = arrangeGroups(groups);
  const faults = [...addressFaults(call, bodies), ...('faults' in arranged ? arranged.faults : [])];
  if ('groups' in arranged && faults.length === 0) return arranged.groups;
  throw cannotBeSaved(faults);
}

const cannotBeSaved = (faults: readonly PlanFault[]): ApiError =>
  new ApiError({
    code: 'US1026',
    httpStatus: 400,
    target: `$.properties.${faults[0]?.path ?? 'groups'}`,
    message: `the recovery plan cannot be saved: ${faults.map(({ message }) => message).join('; ')}`,
    possibleCauses: 'The groups do not make up a plan, or an action names an address that is not called.',
    recommendedAction: 'Correct what the message names, and send the whole plan again.',
    details: { faults },
  });

/** With the stored addresses behind those that were read, masked, and are written back. */
function addressedGroups(sent: readonly PlanGroup[], stored: readonly PlanGroup[]): PlanGroup[] {
  const { groups, unknown } = withStoredAddresses(sent, stored);
  if (unknown.length === 0) return groups;
  throw cannotBeSaved(
    unknown.map((actionName) => ({
      path: 'groups',
      message: `the masked address of action '${actionName}' stands for none of this plan's; give the whole address`,
    })),
  );
}

/** Addresses that a run would not call, before one waits for them. */
function addressFaults({ app }: VaultCall, bodies: readonly GroupBody[]): PlanFault[] {
  return bodies.flatMap((body, index) =>
    (['startGroupActions', 'endGroupActions'] as const).flatMap((place) =>
      (body[place] ?? []).flatMap(({ actionName, customDetails }, position) => {
        if (customDetails.instanceType !== 'AutomationRunbookActionDetails') return [];
        const fault = app.webhooks.faultOf(customDetails.runbookId);
        if (fault === undefined) return [];
        const path = `groups[${index}].${place}[${position}].customDetails.runbookId`;
        return [{ path, message: `the webhook of action '${actionName}' is not called: ${fault}` }];
      }),
    ),
  );
}

const recoveryFabric = 'Microsoft Azure';

function actionToWire(action: PlanAction): Wire<SdkAction> {
  const { details, ...named } = withinTimeoutLimit(action);
  switch (details.kind) {
    case 'manual':
      return { ...named, customDetails: { instanceType: 'ManualActionDetails', description: details.description } };
    case 'runbook':
      return {
        ...named,
        customDetails: {
          instanceType: 'AutomationRunbookActionDetails',
          runbookId: maskedAddress(details.webhookUrl),
          timeout: `PT${details.timeoutSeconds}S`,
          fabricLocation: 'Recovery',
        },
      };
    case 'script':
      return {
        ...named,
        customDetails: {
          instanceType: 'ScriptActionDetails',
          path: details.scriptName,
          timeout: `PT${details.timeoutSeconds}S`,
          fabricLocation: 'Primary',
        },
      };
  }
}

const noScenario = (call: VaultCall) => ({
  scenarioName: 'None',
  jobId: jobArmId(call, 'None'),
  startTime: '1753-01-01T01:01:01Z',
});

function planToWire(call: VaultCall, plan: RecoveryPlan, items: readonly ProtectedItem[]): Wire<SdkPlan> {
  const { activeJob } = plan;
  const own = items.filter(({ itemId }) => itemsOf(plan.groups).includes(itemId));
  return {
    id: planArmId(call, plan.planName),
    name: plan.planName,
    type: 'Microsoft.RecoveryServices/vaults/replicationRecoveryPlans',
    properties: {
      friendlyName: plan.planName,
      primaryFabricId: call.armId(`/replicationFabrics/${plan.fabricName}`),
      recoveryFabricId: recoveryFabric,
      recoveryFabricFriendlyName: recoveryFabric,
      failoverDeploymentModel: 'ResourceManager',
      replicationProviders: ['HyperVReplicaAzure'],
      allowedOperations: allowedPlanOperations(plan, own),
      lastTestFailoverTime: plan.lastTestFailoverAt,
      lastPlannedFailoverTime: plan.lastPlannedFailoverAt,
      lastUnplannedFailoverTime: plan.lastUnplannedFailoverAt,
      currentScenario: activeJob
        ? {
            scenarioName: activeJob.scenarioName,
            jobId: jobArmId(call, activeJob.jobName),
            startTime: activeJob.startedAt,
          }
        : noScenario(call),
      groups: plan.groups.map((group) => ({
        groupType: group.groupType,
        replicationProtectedItems: group.items.map(({ armId, itemId }) => ({
          id: armId,
          virtualMachineId: own.find((item) => item.itemId === itemId)?.vmId,
        })),
        startGroupActions: group.startActions.map(actionToWire),
        endGroupActions: group.endActions.map(actionToWire),
      })),
    },
  };
}

/** Runs and drills hold the plan as it was when they began. */
function refuseBusy({ planName, activeJob, test }: RecoveryPlan): void {
  const jobName = activeJob?.jobName ?? test?.jobName;
  if (jobName === undefined) return;
  throw new ApiError({
    code: 'US1027',
    httpStatus: 409,
    target: planName,
    message: `recovery plan ${planName} cannot be changed while job ${jobName} runs or waits`,
    possibleCauses: 'The plan runs, or its test failover waits for its clean-up.',
    recommendedAction: 'Wait for the job, or clean the test failover up; then change the plan.',
    details: { job: jobName },
  });
}

const savePlan = (call: VaultCall, kind: JobKind, decide: (now: string) => Promise<RowOperation[]>) => {
  const name = param(call, 'recoveryPlanName');
  return changeRows(call, { kind, targetResourceId: planArmId(call, name), targetObjectName: name, decide });
};

export const recoveryPlanOperations = [
  vaultOperation(
    'replicationRecoveryPlans.list',
    'GET',
    '~/replicationRecoveryPlans',
    { summary: 'Recovery plans of the vault, without their groups', response: 'RecoveryPlanCollection' },
    async (call) => {
      const plans = await list(call.app.table, rows.plans(call.vaultId));
      const items = (await list(call.app.table, rows.items(call.vaultId))).map(({ value }) => value);
      return collection(
        plans.map(({ value }) => {
          const wire = planToWire(call, value, items);
          return { ...wire, properties: { ...wire.properties, groups: [] } };
        }),
      );
    },
  ),
  vaultOperation(
    'replicationRecoveryPlans.get',
    'GET',
    '~/replicationRecoveryPlans/{recoveryPlanName}',
    { summary: 'One recovery plan', response: 'RecoveryPlan' },
    async (call) => {
      const { value } = await planOf(call);
      return ok(planToWire(call, value, await itemsOfPlan(call, value.groups)));
    },
  ),
  vaultOperationWithBody(
    'replicationRecoveryPlans.beginCreate',
    'PUT',
    '~/replicationRecoveryPlans/{recoveryPlanName}',
    {
      summary: 'Creates a recovery plan, or replaces its groups',
      request: 'CreateRecoveryPlanInput',
      response: 'RecoveryPlan',
      longRunning: true,
      body: createBody,
    },
    async (call, { properties }) => {
      const fabricName = lastSegment(properties.primaryFabricId);
      if (!(await read(call.app.table, rows.fabric(call.vaultId, fabricName)))) {
        throw badReference(
          '$.properties.primaryFabricId',
          'fabric',
          properties.primaryFabricId,
          'List the fabrics of the vault.',
        );
      }
      const sent = await groupsOf(call, properties.groups, fabricName);
      const planName = param(call, 'recoveryPlanName');
      const ref = rows.plan(call.vaultId, planName);
      return savePlan(call, jobKinds.savePlan, async (now) => {
        const found = await read(call.app.table, ref);
        if (found) refuseBusy(found.value);
        const { planName: name = planName, createdAt = now } = found?.value ?? {};
        const groups = addressedGroups(sent, found?.value.groups ?? []);
        return [put(ref, found, { ...found?.value, planName: name, createdAt, fabricName, groups })];
      });
    },
  ),
  vaultOperationWithBody(
    'replicationRecoveryPlans.beginUpdate',
    'PATCH',
    '~/replicationRecoveryPlans/{recoveryPlanName}',
    {
      summary: 'Replaces the groups of a recovery plan',
      request: 'UpdateRecoveryPlanInput',
      response: 'RecoveryPlan',
      longRunning: true,
      body: updateBody,
    },
    async (call, { properties }) => {
      const sent = await groupsOf(call, properties.groups, (await planOf(call)).value.fabricName);
      return savePlan(call, jobKinds.savePlan, async () => {
        const found = await planOf(call);
        refuseBusy(found.value);
        return [replace(found, { ...found.value, groups: addressedGroups(sent, found.value.groups) })];
      });
    },
  ),
  vaultOperation(
    'replicationRecoveryPlans.beginDelete',
    'DELETE',
    '~/replicationRecoveryPlans/{recoveryPlanName}',
    { summary: 'Deletes a recovery plan; its items stay', longRunning: true },
    async (call) => {
      await planOf(call);
      return savePlan(call, jobKinds.deletePlan, async () => {
        const found = await planOf(call);
        refuseBusy(found.value);
        return [remove(found)];
      });
    },
  ),
];
