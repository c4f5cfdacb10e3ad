import { isDeepStrictEqual } from 'node:util';
import pLimit from 'p-limit';
import { Temporal } from 'temporal-polyfill';
import type { z } from 'zod';
import { asItemId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { CommandResult, heartbeatRequest, ItemReport } from '../../core/domain/relay-protocol/wire.js';
import { vmIn, type SiteInventory, type SiteVm } from '../../core/domain/site/inventory.js';
import { StateConflictError } from '../../core/ports/state-table.js';
import { decideAndCommit, list, read, replace, type Stored } from '../../core/records/access.js';
import { rows, type Fabric, type RegisteredRelay, type Signed } from '../../core/records/rows.js';
import type { App, AppInvocation } from '../app.js';
import { ApiError } from '../http/api-error.js';
import { forgetRelay } from './register.js';

/** Reports that are written in one transaction: few, since one item that changed meanwhile spoils it. */
const reportsOfTransaction = 20;
/** Transactions at the same time; after a conflict, reports. */
const writesAtOnce = 4;
/** A report without news is written this often, so that the row shows that the relay is in contact. */
const restatedAfterSeconds = 120;
/** A backlog that moved by this much is news. */
const backlogNewsBytes = 16 * 1024 * 1024;

async function changeFabric(app: App, relay: RegisteredRelay, change: (fabric: Fabric) => Fabric): Promise<void> {
  const ref = rows.fabric(relay.vaultId, relay.fabricName);
  await decideAndCommit(app.table, ref.partition, async () => {
    const fabric = await read(app.table, ref);
    if (fabric?.value.relayId !== relay.relayId) {
      await forgetRelay(app, relay.relayId);
      throw fabricGone(relay);
    }
    return { operations: [replace(fabric, change(fabric.value))], result: undefined };
  });
}

/** What was said later counts: a request that comes late, or is repeated by someone, does not bring back what it tells of. */
function requireNews(signed: Signed, last: Signed | undefined): void {
  const isOld =
    last !== undefined &&
    (signed.nonce === last.nonce ||
      Temporal.Instant.compare(Temporal.Instant.from(signed.at), Temporal.Instant.from(last.at)) < 0);
  if (!isOld) return;
  throw new ApiError({
    code: 'US1108',
    httpStatus: 409,
    retry: 'later',
    message: `this was signed at ${signed.at}, and what was signed at ${last.at} has been taken already`,
    possibleCauses: "A proxy held the request back, someone repeats what they saw, or the relay's clock was set back.",
    recommendedAction: 'Nothing: the relay reports again, and is heard once its clock has caught up.',
  });
}

/** As one that was never registered: the relay stops, and says what to do. */
const fabricGone = ({ relayId }: RegisteredRelay): ApiError =>
  new ApiError({
    code: 'US1103',
    httpStatus: 401,
    message: `relay ${relayId} speaks for nothing in the vault any more`,
    possibleCauses: 'An operator removed the fabric or its provider, or another relay was registered for it since.',
    recommendedAction: 'Register the relay anew with a fresh registration key, if the site is to be protected again.',
  });

/** The site as it is now. Another VMM server's inventory under this relay's name is refused. */
export async function storeInventory(
  app: App,
  relay: RegisteredRelay,
  signed: Signed,
  inventory: SiteInventory,
): Promise<void> {
  const now = (await app.clock.now()).toString();
  await changeFabric(app, relay, (fabric) => {
    if (inventory.vmmServerId !== fabric.inventory.vmmServerId) {
      throw new ApiError({
        code: 'US1107',
        httpStatus: 403,
        target: '$.vmmServerId',
        message: `the inventory is of VMM server ${inventory.vmmServerId}, which relay ${relay.relayId} was not registered for`,
        possibleCauses: 'The relay was pointed at another site after it registered.',
        recommendedAction: 'Register the relay anew for this VMM server.',
      });
    }
    requireNews(signed, fabric.inventorySigned);
    return { ...fabric, inventory, inventoryAt: now, inventorySigned: signed, lastHeartbeatAt: now };
  });
  await keepSources(app, relay, inventory);
}

/** Each item keeps its VM as the site has it: a VM that an inventory names no more can still be failed over. */
async function keepSources(app: App, relay: RegisteredRelay, inventory: SiteInventory): Promise<void> {
  const vmOf = ({ relayId, vmId }: ProtectedItem): SiteVm | undefined =>
    relayId === relay.relayId ? vmIn(inventory, vmId) : undefined;
  const isNews = ({ value }: Stored<ProtectedItem>): boolean => {
    const vm = vmOf(value);
    return vm !== undefined && !isDeepStrictEqual(value.source, vm);
  };
  const due = (await list(app.table, rows.items(relay.vaultId))).filter(isNews);
  const limit = pLimit(writesAtOnce);
  await Promise.all(
    due.map(({ ref }) =>
      limit(() =>
        decideAndCommit(app.table, ref.partition, async () => {
          const item = await read(app.table, ref);
          const source = item && vmOf(item.value);
          return { operations: item && source ? [replace(item, { ...item.value, source })] : [], result: undefined };
        }),
      ),
    ),
  );
}

export async function storeHeartbeat(
  app: App,
  relay: RegisteredRelay,
  signed: Signed,
  heartbeat: z.output<typeof heartbeatRequest>,
): Promise<void> {
  const now = (await app.clock.now()).toString();
  const { relayVersion } = heartbeat;
  await changeFabric(app, relay, (fabric) => {
    requireNews(signed, fabric.heartbeatSigned);
    return { ...fabric, lastHeartbeatAt: now, heartbeatSigned: signed, relayVersion };
  });
  if (heartbeat.items.length === 0) return;
  const items = new Map((await list(app.table, rows.items(relay.vaultId))).map((item) => [item.value.itemId, item]));
  const byItem = new Map<string, { item: Stored<ProtectedItem>; report: ItemReport }>();
  for (const report of heartbeat.items) {
    const item = items.get(asItemId(report.itemId));
    if (isCurrent(item, relay, report) && isWorthWriting(item.value, report, now)) {
      byItem.set(report.itemId, { item, report });
    }
  }
  const due = [...byItem.values()];
  const limit = pLimit(writesAtOnce);
  const parts = Array.from({ length: Math.ceil(due.length / reportsOfTransaction) }, (_, index) =>
    due.slice(index * reportsOfTransaction, (index + 1) * reportsOfTransaction),
  );
  const spoiled = await Promise.all(parts.map((part) => limit(() => storeReports(app, relay, part, now))));
  await Promise.all(spoiled.flat().map((report) => limit(() => storeItemReport(app, relay, report, now))));
}

/** A report on another life or epoch is old news and is dropped. */
function isCurrent(
  item: Stored<ProtectedItem> | undefined,
  relay: RegisteredRelay,
  report: ItemReport,
): item is Stored<ProtectedItem> {
  return (
    item?.value.relayId === relay.relayId &&
    item.value.protectionId === report.protectionId &&
    item.value.replication.epoch === report.epoch
  );
}

/** Hundreds of items that do well have nothing to say each half minute that is worth a write. */
function isWorthWriting({ replication }: ProtectedItem, { lastError, backlogBytes }: ItemReport, now: string): boolean {
  const { lastHeartbeatAt, relayError } = replication;
  if (lastHeartbeatAt === undefined) return true;
  const written = Temporal.Instant.from(lastHeartbeatAt);
  if (Temporal.Instant.from(now).since(written).total('seconds') >= restatedAfterSeconds) return true;
  if (Math.abs(backlogBytes - replication.backlogBytes) >= backlogNewsBytes) return true;
  // An error that began, another one, and one that is over.
  return lastError?.at !== relayError?.at || lastError?.code !== relayError?.code;
}

/** Several reports in one transaction; resolves with those that are still to be stored, since another writer was faster. */
async function storeReports(
  app: App,
  relay: RegisteredRelay,
  part: readonly { item: Stored<ProtectedItem>; report: ItemReport }[],
  now: string,
): Promise<ItemReport[]> {
  try {
    await app.table.transact(
      rows.items(relay.vaultId).partition,
      part.map(({ item, report }) => replace(item, withReport(item.value, report, now))),
    );
    return [];
  } catch (error) {
    if (!(error instanceof StateConflictError)) throw error;
    return part.map(({ report }) => report);
  }
}

async function storeItemReport(app: App, relay: RegisteredRelay, report: ItemReport, now: string): Promise<void> {
  const ref = rows.item(relay.vaultId, asItemId(report.itemId));
  await decideAndCommit(app.table, ref.partition, async () => {
    const item = await read(app.table, ref);
    if (!isCurrent(item, relay, report)) return { operations: [], result: undefined };
    return { operations: [replace(item, withReport(item.value, report, now))], result: undefined };
  });
}

/**
 * The item as its relay reports it at `now`. The report is the whole truth of the relay's side: what it does not tell is over. The
 * app's own errors are not the relay's to clear.
 */
export function withReport(item: ProtectedItem, report: ItemReport, now: string): ProtectedItem {
  const { relayError: _error, resyncProgress: _progress, ...rest } = item.replication;
  const { backlogBytes, lastError, resynchronization } = report;
  const relayError = lastError && {
    code: lastError.code,
    message: lastError.message,
    recommendedAction: lastError.recommendedAction,
    at: lastError.at,
    ...(lastError.blocking === true ? { blocking: true } : {}),
  };
  return {
    ...item,
    replication: {
      ...rest,
      lastHeartbeatAt: now,
      backlogBytes,
      ...(relayError === undefined ? {} : { relayError }),
      ...(resynchronization === undefined ? {} : { resyncProgress: resynchronization }),
    },
  };
}

/** Stores a command's result and wakes its workflow. A command that no one waits for any more is no error. */
export async function storeCommandResult(
  app: AppInvocation,
  relay: RegisteredRelay,
  commandId: string,
  result: CommandResult,
): Promise<void> {
  const ref = rows.command(relay.relayId, commandId);
  const instanceId = await decideAndCommit(app.table, ref.partition, async () => {
    const command = await read(app.table, ref);
    if (command === undefined) return { operations: [], result: undefined };
    const { instanceId } = command.value;
    if (command.value.result !== undefined) return { operations: [], result: instanceId };
    return { operations: [replace(command, { ...command.value, result })], result: instanceId };
  });
  if (instanceId !== undefined) await app.workflows.ring(instanceId);
}
