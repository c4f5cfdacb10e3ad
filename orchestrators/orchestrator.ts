import type { OrchestrationContext, OrchestrationHandler, Task } from 'durable-functions';
import type { ActivityDefinition } from '../activities/contract.js';
import { secondsAfter } from '../core/domain/workflows/dates.js';
import { failureFromError, type WorkflowFailure } from '../core/domain/workflows/failure.js';

/** What an orchestrator yields and returns: durable tasks only, and at its end an Output. */
export type Steps<Output> = Generator<Task, Output, unknown>;

export interface Workflow {
  name: string;
  handler: OrchestrationHandler;
}

/** A workflow by its name. The body is a synchronous generator: it orders effects and has none itself. */
export const orchestrator = <Input, Output>(
  name: string,
  body: (context: OrchestrationContext, input: Input) => Steps<Output>,
): Workflow => ({
  name,
  *handler(context) {
    return yield* body(context, context.df.getInput<Input>());
  },
});

/** An activity failed, and this is what it said. */
export class ActivityFailedError extends Error {
  constructor(readonly failure: WorkflowFailure) {
    super(failure.message);
    this.name = 'ActivityFailedError';
  }
}

export function* call<Input, Output>(
  context: OrchestrationContext,
  activity: ActivityDefinition<Input, Output>,
  input: Input,
): Steps<Output> {
  try {
    // The contract types what this activity returns; history carries it as JSON.
    return (yield context.df.callActivity(activity.name, input)) as Output;
  } catch (error) {
    throw new ActivityFailedError(failureFromError(error));
  }
}

/** The same activity on several inputs, at most `atOnce` at a time. Ends when all ended, or with the first failure. */
export function* callEach<Input, Output>(
  context: OrchestrationContext,
  activity: ActivityDefinition<Input, Output>,
  inputs: readonly Input[],
  atOnce: number,
): Steps<Output[]> {
  const outputs: Output[] = [];
  for (let index = 0; index < inputs.length; index += atOnce) {
    const tasks = inputs.slice(index, index + atOnce).map((input) => context.df.callActivity(activity.name, input));
    try {
      outputs.push(...((yield context.df.Task.all(tasks)) as Output[]));
    } catch (error) {
      throw new ActivityFailedError(failureFromError(error));
    }
  }
  return outputs;
}

/** Seconds between attempts of a job's step that failed by a fault that may pass. */
const stepWaitsSeconds: readonly number[] = [2, 5, 15, 30];

/** What the step asked for goes on in the cloud, for example the import of a large disk (docs/errors.md): no fault, but a wait. */
const goesOnInCloudCode = 'US6065';
const cloudWaitSeconds = 30;
const cloudWaitsMax = (4 * 60 * 60) / cloudWaitSeconds;

/** For jobs: faults that may pass are tried again a few times before the job fails with them. */
export function* insist<Output>(context: OrchestrationContext, step: () => Steps<Output>): Steps<Output> {
  const waits = [...stepWaitsSeconds];
  for (let cloudWaits = 0; ;) {
    try {
      return yield* step();
    } catch (error) {
      if (!(error instanceof ActivityFailedError) || error.failure.retry === 'never') throw error;
      if (error.failure.code === goesOnInCloudCode && cloudWaits < cloudWaitsMax) {
        cloudWaits++;
        yield* sleep(context, cloudWaitSeconds);
        continue;
      }
      const waitSeconds = waits.shift();
      if (waitSeconds === undefined) throw error;
      yield* sleep(context, waitSeconds);
    }
  }
}

export function* sleep(context: OrchestrationContext, seconds: number): Steps<void> {
  yield context.df.createTimer(secondsAfter(context.df.currentUtcDateTime, seconds));
}
