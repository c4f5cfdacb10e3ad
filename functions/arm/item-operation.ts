import type { JobName } from '../../core/domain/ids.js';
import type { JobKind } from '../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { begun } from '../../core/domain/protected-item/begin-operation.js';
import type { ProtectionOperation } from '../../core/domain/protected-item/state-table.js';
import type { JobWorkflowInput } from '../../core/domain/workflows/workflows.js';
import { replace, type Stored } from '../../core/records/access.js';
import type { ApiResponse } from '../http/exchange.js';
import { refuseUnlessAllowed } from '../jobs/refuse-operation.js';
import { submitJob } from '../jobs/submit-job.js';
import { accepted } from './long-running.js';
import type { VaultCall } from './operation.js';
import { protectedItemArmId } from './protectable-items.js';
import { itemOf } from './protected-items.js';

/** Moves the item into the operation's state and starts its job, in one transaction. */
export async function act(
  call: VaultCall,
  action: {
    operation: ProtectionOperation;
    kind: JobKind;
    orchestrator: string;
    input: (base: JobWorkflowInput, item: Stored<ProtectedItem>) => Promise<object>;
    /** Where the operation moves no state and may go on beside another: how the item's row names its job. */
    begin?: (item: ProtectedItem, jobName: JobName, now: string) => ProtectedItem;
  },
): Promise<ApiResponse> {
  const { itemId, vmName, fabricName, containerName, itemName } = (await itemOf(call)).value;
  const job = await submitJob(call.app, {
    vaultId: call.vaultId,
    kind: action.kind,
    orchestrator: action.orchestrator,
    targetResourceId: protectedItemArmId(call, { fabricName, containerName, itemName }),
    targetObjectName: vmName,
    itemId,
    decide: async (jobName, now) => {
      const item = await itemOf(call);
      refuseUnlessAllowed(item.value, action.operation);
      const base = { vaultId: call.vaultId, itemId, protectionId: item.value.protectionId, jobName };
      const input = await action.input(base, item);
      const { scenarioName } = action.kind;
      const next =
        action.begin?.(item.value, jobName, now) ??
        begun(item.value, action.operation, { jobName, scenarioName, startedAt: now });
      return { operations: [replace(item, next)], input };
    },
  });
  return accepted(call, job);
}
