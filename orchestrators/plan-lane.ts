import { workflowNames, type PlanLaneInput } from '../core/domain/workflows/workflows.js';
import { failuresOf } from './job.js';
import { orchestrator } from './orchestrator.js';
import type { PlanItemStepResult } from './plan-item-step.js';

/**
 * Works on some of a plan's items, one after the other. A plan runs a number of lanes side by side: that bounds how many items
 * are worked on at a time. One that fails keeps none of the others of its lane from their turn.
 */
export const planLane = orchestrator<PlanLaneInput, PlanItemStepResult[]>(
  workflowNames.planLane,
  function* (context, { turns }) {
    const results: PlanItemStepResult[] = [];
    for (const { workflow, instanceId, input } of turns) {
      try {
        const result = (yield context.df.callSubOrchestrator(
          workflow,
          input,
          instanceId,
        )) as Partial<PlanItemStepResult>;
        const { succeeded = false, failures = [], ...rest } = result;
        results.push({ succeeded, failures, ...rest });
      } catch (error) {
        results.push({ succeeded: false, failures: failuresOf(error) });
      }
    }
    return results;
  },
);
