import { jobKinds, type Job } from '../jobs/job.js';
import { hasEnded } from '../jobs/transitions.js';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { JobName, VaultId } from '../ids.js';
import {
  applyResynchronizationInstanceId,
  digestReplicaInstanceId,
  initialReplicationInstanceId,
  planItemStepInstanceId,
  replicationLoopInstanceId,
  workflowNames,
  type EpochWorkflowInput,
  type PlanItemStepInput,
} from './workflows.js';

/** A workflow instance that must be alive now. Starting it when it is alive already is harmless: the id is its identity. */
export interface WorkflowToRun {
  orchestrator: string;
  instanceId: string;
  input: unknown;
}

/**
 * The instances that an item's row asks for beside its jobs. Rows are the truth: a door that changed the row and the sweep
 * both start what this names and is not alive (absent, or ended), and ring the doorbell of what is.
 */
export function ensureWorkflows(vaultId: VaultId, item: ProtectedItem): WorkflowToRun[] {
  const { phase, epoch, checkpointAt } = item.replication;
  const input: EpochWorkflowInput = { vaultId, itemId: item.itemId, protectionId: item.protectionId, epoch };
  switch (phase) {
    case 'none':
    case 'stopped':
      return [];
    case 'failback': {
      // Only the cloud's side of the round that is under way.
      const { round } = item.failback ?? {};
      return round === undefined || round.copied !== undefined ? [] : digestOf(item, input);
    }
    case 'initialReplication':
      // Before the checkpoint there is nothing to apply; enable protection waits for it.
      return checkpointAt === undefined
        ? []
        : [
            {
              orchestrator: workflowNames.initialReplication,
              instanceId: initialReplicationInstanceId(item.protectionId, epoch),
              input,
            },
          ];
    case 'resynchronization':
      return [
        ...digestOf(item, input),
        {
          orchestrator: workflowNames.applyResynchronization,
          instanceId: applyResynchronizationInstanceId(item.protectionId, epoch),
          input,
        },
      ];
    case 'delta':
      return [
        {
          orchestrator: workflowNames.replicationLoop,
          instanceId: replicationLoopInstanceId(item.protectionId, epoch),
          input,
        },
      ];
  }
}

/** Until all checksums are there: it would end at its first look, and be started again by every sweep. */
function digestOf(item: ProtectedItem, input: EpochWorkflowInput): WorkflowToRun[] {
  if (item.disks.every((disk) => disk.digestedThroughBytes >= disk.sourceSizeBytes)) return [];
  return [
    {
      orchestrator: workflowNames.digestReplica,
      instanceId: digestReplicaInstanceId(item.protectionId, input.epoch),
      input,
    },
  ];
}

/** The instance that a job's row asks for: its intent, until the job has ended. */
export function ensureJobWorkflow(job: Job): WorkflowToRun | undefined {
  // Its plan's run drives it, step by step.
  if (job.planJobName !== undefined) return undefined;
  return intentUntilEnded(job);
}

/**
 * The instance that an item's job asks for when its plan's run is over and has left it: its giving back failed, for example,
 * or it was begun and the answer lost. A VM that was started already is not taken back, for somebody may use it: its start is
 * made whole. `plan`: the job of the run, undefined where its row is gone.
 */
export function ensureJobLeftByPlan(job: Job, plan: Job | undefined): WorkflowToRun | undefined {
  const isOver = plan === undefined || hasEnded(plan) || plan.suspendedFor === 'testFailover';
  if (!isOver || job.suspendedFor === 'testFailover') return undefined;
  const left = intentUntilEnded(job);
  if (left?.orchestrator !== workflowNames.planItemStep) return left;
  const step: PlanItemStepInput['step'] = wasStarted(job) ? 'boot' : 'giveUp';
  return { ...left, instanceId: planItemStepInstanceId(job.jobName, step), input: { ...(left.input as object), step } };
}

const wasStarted = ({ scenarioName, tasks }: Job): boolean =>
  scenarioName !== jobKinds.testFailover.scenarioName &&
  tasks.some(({ name, state }) => name === 'VmFoStartVmOnSecondary' && state !== 'NotStarted');

function intentUntilEnded(job: Job): WorkflowToRun | undefined {
  switch (job.state) {
    case 'NotStarted':
    case 'InProgress':
    case 'Suspended':
      return { orchestrator: job.intent.orchestrator, instanceId: job.jobName, input: job.intent.input };
    case 'Succeeded':
    case 'Failed':
    case 'Cancelled':
      return undefined;
  }
}

/** Every instance that waits for changes of this item's rows and must be woken after one, beside those started anew. */
export function doorbellInstances(vaultId: VaultId, item: ProtectedItem): string[] {
  const instances = ensureWorkflows(vaultId, item).map(({ instanceId }) => instanceId);
  const jobs = [item.activeJob?.jobName, item.replication.resync?.jobName, item.testFailover?.jobName];
  return [
    ...instances,
    ...jobs.flatMap((jobName) => (jobName === undefined ? [] : [jobName])),
    // Of a plan's failback the later steps are workflows of their own, and wait for the relay too.
    ...laterSteps(item.failback?.jobName),
  ];
}

const laterSteps = (jobName: JobName | undefined): string[] =>
  jobName === undefined ? [] : (['prepare', 'boot'] as const).map((step) => planItemStepInstanceId(jobName, step));
