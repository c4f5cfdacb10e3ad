import type { VaultId } from '../core/domain/ids.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { doorbellInstances, ensureWorkflows } from '../core/domain/workflows/ensure-workflows.js';
import type { AppInvocation } from './app.js';

/** An operator resumed replication: the waits of the item's workflows after failures end. They find all else in the rows. */
export async function endWaits(app: AppInvocation, vaultId: VaultId, item: ProtectedItem): Promise<void> {
  try {
    for (const { instanceId } of ensureWorkflows(vaultId, item)) await app.workflows.resume(instanceId);
  } catch (error) {
    app.log(`the waits of item ${item.itemId} could not be ended now; they end by their schedule`, error);
  }
}

/**
 * Rows of the item changed: wakes what waits for them and starts what is missing. The rows are committed already, so a failure
 * here is no failure of the call: the sweep and the workflows' own timers make up for it.
 */
export async function wake(app: AppInvocation, vaultId: VaultId, item: ProtectedItem): Promise<void> {
  const wanted = ensureWorkflows(vaultId, item);
  try {
    for (const instanceId of doorbellInstances(vaultId, item)) {
      if (await app.workflows.ring(instanceId)) continue;
      const workflow = wanted.find((candidate) => candidate.instanceId === instanceId);
      if (workflow === undefined) continue;
      await app.workflows.ensure(workflow.orchestrator, instanceId, workflow.input as object, true);
    }
  } catch (error) {
    app.log(`the workflows of item ${item.itemId} could not be woken now; the sweep will see to them`, error);
  }
}
