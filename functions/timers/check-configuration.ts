import { jobKinds } from '../../core/domain/jobs/job.js';
import type { VaultId } from '../../core/domain/ids.js';
import { list, read } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { workflowNames, type RunOperationInput } from '../../core/domain/workflows/workflows.js';
import type { AppInvocation } from '../app.js';
import { findInconsistencies } from '../jobs/consistency.js';
import { submitJob } from '../jobs/submit-job.js';

/**
 * Twice a day: holds every site's items against what the site and Azure have now. Where something does not fit a job says what,
 * as a check that an operator asks for does; where all is well there is none.
 */
export async function checkConfiguration(app: AppInvocation): Promise<void> {
  for (const { value } of await list(app.table, rows.vaultIndexes())) {
    try {
      await checkVault(app, value.vaultId);
    } catch (error) {
      app.log(`the configuration of vault ${value.vaultId} could not be checked; tried again in twelve hours`, error);
    }
  }
}

async function checkVault(app: AppInvocation, vaultId: VaultId): Promise<void> {
  const vault = await read(app.table, rows.vault(vaultId));
  if (vault === undefined) return;
  for (const { value: fabric } of await list(app.table, rows.fabrics(vaultId))) {
    const inconsistentVms = await findInconsistencies(app, vaultId, fabric);
    if (inconsistentVms.length === 0) continue;
    await submitJob(app, {
      vaultId,
      kind: jobKinds.checkConsistency,
      orchestrator: workflowNames.runOperation,
      targetResourceId: `${vault.value.armId}/replicationFabrics/${fabric.fabricName}`,
      targetObjectName: fabric.inventory.vmmServerName,
      decide: async (jobName) => {
        const input: RunOperationInput = { vaultId, jobName, taskName: jobKinds.checkConsistency.tasks[0].name };
        return { operations: [], input, details: { inconsistentVms } };
      },
    });
  }
}
