import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import type { CopySlice } from '../activities/contract.js';
import type { JobWorkflowInput, RecoveryPointChoice } from '../core/domain/workflows/workflows.js';
import { requireOwned, startTask, supersededError } from './job.js';
import { call, callEach, insist, sleep, type Steps } from './orchestrator.js';

const copiesAtOnceMax = 8;
const copyPollSeconds = 5;

/** Takes the disks over in a new epoch, and makes a VM of copies of the chosen point. `beforeChoice`: what must be applied first. */
export function* takeOver(
  context: OrchestrationContext,
  job: JobWorkflowInput,
  recoveryPoint: RecoveryPointChoice,
  beforeChoice?: (context: OrchestrationContext, job: JobWorkflowInput, epoch: number) => Steps<void>,
): Steps<void> {
  const begun = yield* insist(context, () => call(context, activities.beginFailover, job));
  if (begun.kind === 'superseded') throw supersededError(job);
  const { epoch } = begun;
  if (beforeChoice) yield* beforeChoice(context, job, epoch);
  const chosen = yield* insist(context, () =>
    call(context, activities.chooseRecoveryPoint, { ...job, epoch, recoveryPoint }),
  );
  if (chosen.kind === 'superseded') throw supersededError(job);

  yield* startTask(context, job, 'VmFailover');
  yield* copyDisks(context, job, chosen.slices);
  requireOwned(yield* insist(context, () => call(context, activities.createFailoverVm, job)), job);
}

export function* startFailoverVm(context: OrchestrationContext, job: JobWorkflowInput): Steps<void> {
  yield* startTask(context, job, 'VmFoStartVmOnSecondary');
  yield* insist(context, () => call(context, activities.startFailoverVm, job));
}

/** Copies until every slice is finished; a store that copies by itself is asked again after a while. */
export function* copyDisks(
  context: OrchestrationContext,
  job: JobWorkflowInput,
  slices: readonly CopySlice[],
  copy: typeof activities.copyFailoverDisk = activities.copyFailoverDisk,
): Steps<void> {
  let waiting = slices;
  while (waiting.length > 0) {
    const copying = waiting;
    const copied = yield* insist(context, () =>
      callEach(
        context,
        copy,
        copying.map((slice) => ({ ...job, slice })),
        copiesAtOnceMax,
      ),
    );
    waiting = copying.filter((_, index) => copied[index]?.finished !== true);
    if (waiting.length > 0) yield* sleep(context, copyPollSeconds);
  }
}
