import type { ActivityDependencies } from '../activities/activity.js';
import type { CloudCompute } from '../core/ports/cloud-compute.js';
import type { CloudInventory } from '../core/ports/cloud-inventory.js';
import type { ReplicaStore } from '../core/ports/replica-store.js';
import { openTableStateTable } from '../providers/azure-storage/state-table.js';
import { openReplicaStore } from '../providers/azure-storage/replica-store.js';
import { openTransferStore } from '../providers/azure-storage/transfer-store.js';
import { openBusinessClock } from '../providers/business-clock/business-clock.js';
import { openEntraTokens } from '../providers/entra/token-verifier.js';
import { openLocalAzure } from '../providers/local-azure/local-azure.js';
import { openLocalCompute } from '../providers/local-compute/local-compute.js';
import { openMailer } from '../providers/smtp/mailer.js';
import { startTelemetry } from '../providers/telemetry/application-insights.js';
import { openWebhooks } from '../providers/webhooks/webhooks.js';
import { Temporal } from 'temporal-polyfill';
import type { App } from './app.js';
import {
  closedAuthenticator,
  entraAuthenticator,
  loopbackAuthenticator,
  type Authenticator,
} from './http/authentication.js';
import { RateLimiter } from './http/rate-limit.js';
import { AssignmentChanges } from './relay-api/assignment-changes.js';
import { assignmentDigest } from './relay-api/assignments.js';
import type { Settings } from './settings.js';

/** The app's state, in its own storage account. */
export const stateTableName = 'UnderstudyState';
/** The local cloud's own record of its VMs, apart from the app's state. */
export const localVmsTableName = 'UnderstudyLocalVms';

/** Seconds between polls of a long-running operation: on a laptop no one else asks. */
const retryAfterSeconds = { loopback: 1, entra: 10 } as const;

/** Of one caller on one worker. A portal or a script that heeds Retry-After stays far below. */
const operatorRates = { reads: { burst: 600, perSecond: 20 }, writes: { burst: 120, perSecond: 2 } };
/** A relay of 1,000 VMs at 30 s says some 100 things a second, and catches up after an outage. */
const relayRate = { burst: 6000, perSecond: 300 };
/** An operator registers a relay now and then, and perhaps several behind one address. */
const registrationRate = { burst: 20, perSecond: 0.1 };

function authenticatorOf({ authentication, entra }: Settings): Authenticator {
  if (authentication === 'loopback') return loopbackAuthenticator;
  return entra === undefined ? closedAuthenticator : entraAuthenticator(openEntraTokens(entra));
}

/** Builds every provider from the settings: the only place that knows which ones there are. */
export async function compose(settings: Settings): Promise<{ app: App; activities: ActivityDependencies }> {
  const connectionString = settings.storageConnectionString;
  const cloudInventory = openLocalAzure(settings.azureInventoryPath);
  const assignmentChanges = new AssignmentChanges(assignmentDigest);
  const table = assignmentChanges.observed(openTableStateTable({ tableName: stateTableName, connectionString }));
  const azure = settings.compute === 'azure' ? await loadAzure() : undefined;
  const storage = { inventory: cloudInventory, ...(azure && { identity: azure.identity }) };
  const replicas = await openReplicaStore(storage);
  const transfers = openTransferStore(storage);
  const clock = openBusinessClock(settings.clockUrl);
  const compute =
    azure?.openCompute(cloudInventory, replicas) ??
    openLocalCompute({
      inventory: cloudInventory,
      replicas,
      records: openTableStateTable({ tableName: localVmsTableName, connectionString }),
    });
  const webhooks = openWebhooks({ allowLoopback: settings.authentication === 'loopback' });
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
      webhooks,
      ...(settings.smtp === undefined ? {} : { mailer: openMailer(settings.smtp) }),
      assignmentChanges,
      authenticator: authenticatorOf(settings),
      ...(settings.authentication === 'loopback'
        ? {}
        : {
            rateLimits: {
              operators: new RateLimiter(operatorRates),
              relays: new RateLimiter({ reads: relayRate, writes: relayRate }),
              registrations: new RateLimiter({ reads: registrationRate, writes: registrationRate }),
            },
          }),
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
      webhooks,
    },
  };
}

/** The SDKs of Azure's management take long to load, and a local start does without. */
async function loadAzure() {
  const [{ DefaultAzureCredential }, { openArmClients }, { openAzureCompute }] = await Promise.all([
    import('@azure/identity'),
    import('../providers/azure-compute/arm-clients.js'),
    import('../providers/azure-compute/azure-compute.js'),
  ]);
  const identity = new DefaultAzureCredential();
  return {
    identity,
    openCompute: (inventory: CloudInventory, replicas: ReplicaStore): CloudCompute =>
      openAzureCompute({ inventory, replicas, clients: openArmClients(identity) }),
  };
}
