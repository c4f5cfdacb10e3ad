import type { DurableClient } from 'durable-functions';
import { OrchestrationRuntimeStatus } from 'durable-functions';
import { doorbellEvent, resumedEvent } from '../core/domain/workflows/workflows.js';

/** Starting and waking workflows. Instances are found again by id, so every method may be called twice. */
export interface Workflows {
  /** Starts an instance whose id was drawn just now. */
  startNew(orchestrator: string, instanceId: string, input: object): Promise<void>;
  /**
   * Starts the instance when it is absent, failed or terminated, and, where `evenIfCompleted`, also when it completed.
   * Resolves with whether it started one.
   */
  ensure(orchestrator: string, instanceId: string, input: object, evenIfCompleted?: boolean): Promise<boolean>;
  /** Tells the instance that rows changed. A missing or finished instance is no error; resolves with false when it is missing. */
  ring(instanceId: string): Promise<boolean>;
  /** Ends the instance's wait after a failure, if it waits. A missing or finished instance is no error. */
  resume(instanceId: string): Promise<void>;
}

type InstanceStatus = 'absent' | 'alive' | 'completed' | 'dead';

export function durableWorkflows(client: Pick<DurableClient, 'startNew' | 'getStatus' | 'raiseEvent'>): Workflows {
  const statusOf = async (instanceId: string): Promise<InstanceStatus> => {
    try {
      const { runtimeStatus } = await client.getStatus(instanceId, { showInput: false });
      switch (runtimeStatus) {
        case OrchestrationRuntimeStatus.Completed:
          return 'completed';
        case OrchestrationRuntimeStatus.Failed:
        case OrchestrationRuntimeStatus.Terminated:
        case OrchestrationRuntimeStatus.Canceled:
          return 'dead';
        case OrchestrationRuntimeStatus.Running:
        case OrchestrationRuntimeStatus.Pending:
        case OrchestrationRuntimeStatus.ContinuedAsNew:
        case OrchestrationRuntimeStatus.Suspended:
          return 'alive';
      }
    } catch (error) {
      // The client tells "absent" from "unreachable" by its message only.
      if (error instanceof Error && error.message.includes('HTTP 404')) return 'absent';
      throw error;
    }
  };
  /** Two starters may pass the check at once; the loser's error means nothing when the instance is there. */
  const start = async (orchestrator: string, instanceId: string, input: object): Promise<void> => {
    try {
      await client.startNew(orchestrator, { instanceId, input });
    } catch (error) {
      if ((await statusOf(instanceId)) === 'absent') throw error;
    }
  };
  const raise = async (instanceId: string, eventName: string): Promise<boolean> => {
    try {
      await client.raiseEvent(instanceId, eventName, {});
      return true;
    } catch (error) {
      if (error instanceof Error && error.message.startsWith('No instance with ID')) return false;
      throw error;
    }
  };
  return {
    startNew: start,
    async ensure(orchestrator, instanceId, input, evenIfCompleted = false) {
      const status = await statusOf(instanceId);
      if (status === 'alive' || (status === 'completed' && !evenIfCompleted)) return false;
      await start(orchestrator, instanceId, input);
      return true;
    },
    ring: (instanceId) => raise(instanceId, doorbellEvent),
    async resume(instanceId) {
      await raise(instanceId, resumedEvent);
    },
  };
}
