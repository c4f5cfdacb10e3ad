import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { protect } from '../../../cli/protect.js';
import { Vault } from '../../../cli/vault-client.js';
import { asVaultId } from '../../../core/domain/ids.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../../../core/domain/recovery-point/recovery-point.js';
import type { CloudCompute } from '../../../core/ports/cloud-compute.js';
import type { ReplicaStore } from '../../../core/ports/replica-store.js';
import type { StateTable } from '../../../core/ports/state-table.js';
import type { TransferStore } from '../../../core/ports/transfer-store.js';
import { list } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { localVmsTableName, stateTableName } from '../../../functions/composition.js';
import { openReplicaStore } from '../../../providers/azure-storage/replica-store.js';
import { openTableStateTable } from '../../../providers/azure-storage/state-table.js';
import { openTransferStore } from '../../../providers/azure-storage/transfer-store.js';
import { openLocalGuest, type LocalGuest } from '../../../providers/local-compute/guest.js';
import { openLocalCompute } from '../../../providers/local-compute/local-compute.js';
import { openLocalAzure } from '../../../providers/local-azure/local-azure.js';
import { runSite } from '../../../scripts/demo/run-site.js';
import { freePort } from '../../../scripts/supervisor/free-port.js';
import {
  localResourceGroup,
  localSubscriptionId,
  localVaultId,
  localVaultName,
  startEnvironment,
  type Environment,
} from '../../../scripts/supervisor/environment.js';

/** The whole system in a fresh folder and on a free port: what `npm start` runs, with its rows and blobs in reach. */
export interface UnderstudySystem {
  readonly environment: Environment;
  readonly vault: Vault;
  readonly table: StateTable;
  readonly replicas: ReplicaStore;
  readonly transfers: TransferStore;
  readonly compute: CloudCompute;
  /** ARM ids of all VMs in the local cloud. */
  cloudVmIds(): Promise<string[]>;
  /** The guests of the VMs in the local cloud. */
  readonly guest: LocalGuest;
  readonly folder: string;
  readonly siteFolder: string;
  /** What the supervisor told, e.g. of crashes and restarts. */
  readonly told: string[];
  site(...args: string[]): Promise<string>;
  protectVm(vmName: string, replicationIntervalSeconds?: number): Promise<void>;
  /** The item's row, read afresh. */
  item(vmName: string): Promise<ProtectedItem>;
  /** Whole recovery points, oldest first. */
  points(vmName: string): Promise<RecoveryPoint[]>;
  stop(): Promise<void>;
}

export interface SystemOptions {
  speed?: number;
  /** A site folder made before; absent: an empty one, which the site seeds. */
  siteFolder?: string;
  devhostModes?: string;
  devhostRestartWaitMs?: number;
  /** The judges' reference (default); benches do without it: it copies disks and writes everything twice. */
  journal?: boolean;
  azuriteAccessLog?: boolean;
}

const cloudVmRecord = z.object({ specification: z.object({ vmArmId: z.string() }) });

const armGroup = `/subscriptions/${localSubscriptionId}/resourceGroups/${localResourceGroup}/providers`;

export async function startSystem(options: SystemOptions = {}): Promise<UnderstudySystem> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-e2e-'));
  const dataFolder = join(folder, 'data');
  const siteFolder = options.siteFolder ?? join(folder, 'site');
  const told: string[] = [];
  const environment = await startEnvironment({
    port: await freePort(),
    dataFolder,
    siteFolder,
    speed: options.speed ?? 10,
    withRelay: true,
    journal: options.journal ?? true,
    azuriteAccessLog: options.azuriteAccessLog ?? false,
    ...(options.devhostModes === undefined ? {} : { devhostModes: options.devhostModes }),
    ...(options.devhostRestartWaitMs === undefined ? {} : { devhostRestartWaitMs: options.devhostRestartWaitMs }),
    tell: (message) => told.push(message),
  });
  const vault = new Vault({
    endpoint: environment.endpoint,
    subscriptionId: localSubscriptionId,
    resourceGroup: localResourceGroup,
    vaultName: localVaultName,
  });
  const table = openTableStateTable({
    connectionString: environment.azurite.connectionString,
    tableName: stateTableName,
  });
  const vaultId = asVaultId(localVaultId);
  const inventory = openLocalAzure(join(dataFolder, 'azure.json'));
  const replicas = await openReplicaStore({ inventory });
  const records = openTableStateTable({
    connectionString: environment.azurite.connectionString,
    tableName: localVmsTableName,
  });
  const compute = openLocalCompute({ inventory, replicas, records });
  const itemRow = async (vmName: string): Promise<ProtectedItem> => {
    const found = (await list(table, rows.items(vaultId))).find(({ value }) => value.vmName === vmName);
    if (!found) throw new Error(`${vmName} is not replicated`);
    return found.value;
  };
  return {
    environment,
    vault,
    table,
    replicas,
    compute,
    cloudVmIds: async () => {
      const { rows: found } = await records.query('local-compute', { prefix: 'vm!' });
      return found.map(({ value }) => cloudVmRecord.parse(value).specification.vmArmId);
    },
    guest: openLocalGuest({ compute, replicas }),
    transfers: openTransferStore({ inventory }),
    folder,
    siteFolder,
    told,
    site: (...args) => runSite(siteFolder, args),
    protectVm: async (vmName, replicationIntervalSeconds = 30) => {
      await protect(vault, {
        vmName,
        policyName: `every-${replicationIntervalSeconds}`,
        replicationIntervalSeconds,
        storageAccountId: `${armGroup}/Microsoft.Storage/storageAccounts/replicas`,
        networkId: `${armGroup}/Microsoft.Network/virtualNetworks/prod`,
        tell: () => undefined,
      });
    },
    item: itemRow,
    points: async (vmName) => {
      const { itemId } = await itemRow(vmName);
      const points = (await list(table, rows.points(vaultId, itemId))).map(({ value }) => value);
      return points.filter(({ state }) => state === 'ready').reverse();
    },
    stop: async () => {
      await environment.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Asks again and again until `ask` gives something; fails with what was last seen. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  ask: () => Promise<T | undefined>,
  lastSeen: () => Promise<string> = () => Promise.resolve(''),
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask().catch((error: unknown) => {
      // While a process restarts its door is closed; only the deadline decides.
      if (Date.now() > deadline) throw error;
      return undefined;
    });
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs / 1000} s: ${what}. ${await lastSeen()}`);
    await delay(200);
  }
}

/** The tail of a process's log, for a failure's message. */
export async function logTail(system: UnderstudySystem, name: string): Promise<string> {
  const text = await readFile(join(system.folder, 'data', 'logs', `${name}.log`), 'utf8').catch(() => '(no log)');
  return `last lines of ${name}:\n${text.split('\n').slice(-15).join('\n')}`;
}
