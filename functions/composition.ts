import type { ActivityDependencies } from '../activities/activity.js';
import { openTableStateTable } from '../providers/azure-storage/state-table.js';
import { openReplicaStore } from '../providers/azure-storage/replica-store.js';
import { openTransferStore } from '../providers/azure-storage/transfer-store.js';
import { openBusinessClock } from '../providers/business-clock/business-clock.js';
import { openLocalAzure } from '../providers/local-azure/local-azure.js';
import { openLocalCompute } from '../providers/local-compute/local-compute.js';
import { startTelemetry } from '../providers/telemetry/application-insights.js';
import { openWebhooks } from '../providers/webhooks/webhooks.js';
import { Temporal } from 'temporal-polyfill';
import type { App } from './app.js';
import { closedAuthenticator, loopbackAuthenticator } from './http/authentication.js';
import { AssignmentChanges } from './relay-api/assignment-changes.js';
import { assignmentDigest } from './relay-api/assignments.js';
import type { Settings } from './settings.js';

/** The app's state, in its own storage account. */
export const stateTableName = 'UnderstudyState';
/** The local cloud's own record of its VMs, apart from the app's state. */
export const localVmsTableName = 'UnderstudyLocalVms';

/** Seconds between polls of a long-running operation: on a laptop no one else asks. */
const retryAfterSeconds = { loopback: 1, entra: 10 } as const;

/** Builds every provider from the settings: the only place that knows which ones there are. */
export async function compose(settings: Settings): Promise<{ app: App; activities: ActivityDependencies }> {
  const connectionString = settings.storageConnectionString;
  const cloudInventory = openLocalAzure(settings.azureInventoryPath);
  const assignmentChanges = new AssignmentChanges(assignmentDigest);
  const table = assignmentChanges.observed(openTableStateTable({ tableName: stateTableName, connectionString }));
  const replicas = await openReplicaStore({ inventory: cloudInventory });
  const transfers = openTransferStore({ inventory: cloudInventory });
  const clock = openBusinessClock(settings.clockUrl);
  const compute = openLocalCompute({
    inventory: cloudInventory,
    replicas,
    records: openTableStateTable({ tableName: localVmsTableName, connectionString }),
  });
  const telemetry =
    settings.telemetryConnectionString === undefined
      ? undefined
      : await startTelemetry(settings.telemetryConnectionString);
  return {
    app: {
      table,
      clock,
      systemNow: () => Temporal.Now.instant(),
      cloudInventory,
      transfers,
      replicas,
      compute,
      assignmentChanges,
      authenticator: settings.authentication === 'loopback' ? loopbackAuthenticator : closedAuthenticator,
      retryAfterSeconds: retryAfterSeconds[settings.authentication],
      log: (message, error) => {
        if (error !== undefined) telemetry?.failure(message, error);
      },
    },
    activities: {
      table,
      replicas,
      transfers,
      compute,
      cloudInventory,
      clock,
      webhooks: openWebhooks({ allowLoopback: settings.authentication === 'loopback' }),
    },
  };
}
