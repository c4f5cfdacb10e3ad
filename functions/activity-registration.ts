import * as df from 'durable-functions';
import { z } from 'zod';
import { activities } from '../activities/contract.js';
import type { RegisteredActivity } from '../activities/registration.js';
import { asItemId, asVaultId, type ItemId, type VaultId } from '../core/domain/ids.js';
import { ensureJobWorkflow, ensureWorkflows } from '../core/domain/workflows/ensure-workflows.js';
import { read } from '../core/records/access.js';
import { rows } from '../core/records/rows.js';
import type { App } from './app.js';
import { tellHealth } from './tell-health.js';
import { durableWorkflows, type Workflows } from './workflows-client.js';

/**
 * Activities that leave work for workflows other than their own: an orchestration cannot start one and go on without it, so
 * the activity's function starts what the rows now ask for. Without this the sweep would, up to a minute later.
 */
export const leaveWork: ReadonlySet<string> = new Set([
  activities.finishInitialReplication.name,
  activities.beginResynchronization.name,
  activities.finishResynchronization.name,
  activities.giveBackPlannedFailover.name,
  activities.beginFailbackRound.name,
  activities.beginReverseReplication.name,
]);

/** Activities after which an item's health is another: it is told at once. */
const changeHealth: ReadonlySet<string> = new Set([
  ...leaveWork,
  activities.recordReplicationFailure.name,
  activities.abandonResynchronization.name,
]);

const itemInput = z.object({ vaultId: z.string().transform(asVaultId), itemId: z.string().transform(asItemId) });

export function registerActivities(app: App, registrations: readonly RegisteredActivity[]): void {
  for (const { name, handler } of registrations) {
    if (!changeHealth.has(name)) {
      df.app.activity(name, { handler });
      continue;
    }
    df.app.activity(name, {
      extraInputs: [df.input.durableClient()],
      handler: async (input: unknown, context) => {
        const output = await handler(input);
        const { vaultId, itemId } = itemInput.parse(input);
        if (leaveWork.has(name)) {
          await startWhatRowsAskFor(app, () => durableWorkflows(df.getClient(context)), vaultId, itemId);
        }
        await tellHealth(app, vaultId, itemId);
        return output;
      },
    });
  }
}

/** The instances of the item's row and of its running job. The rows are committed: a failure is the sweep's to make good. */
export async function startWhatRowsAskFor(
  app: App,
  openWorkflows: () => Workflows,
  vaultId: VaultId,
  itemId: ItemId,
): Promise<void> {
  try {
    const item = (await read(app.table, rows.item(vaultId, itemId)))?.value;
    if (item === undefined) return;
    const job = item.activeJob && (await read(app.table, rows.job(vaultId, item.activeJob.jobName)));
    const workflows = openWorkflows();
    const ofJob = job && ensureJobWorkflow(job.value);
    for (const workflow of [...ensureWorkflows(vaultId, item), ...(ofJob === undefined ? [] : [ofJob])]) {
      await workflows.ensure(workflow.orchestrator, workflow.instanceId, workflow.input as object);
    }
  } catch (error) {
    app.log(`what item ${itemId} asks for could not be started now; the sweep will start it`, error);
  }
}
