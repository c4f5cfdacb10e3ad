import pLimit from 'p-limit';
import type { z } from 'zod';
import { asItemId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { CommandResult, heartbeatRequest, ItemReport } from '../../core/domain/relay-protocol/wire.js';
import type { SiteInventory } from '../../core/domain/site/inventory.js';
import { decideAndCommit, read, replace } from '../../core/records/access.js';
import { rows, type Fabric, type RegisteredRelay } from '../../core/records/rows.js';
import type { App, AppInvocation } from '../app.js';
import { ApiError } from '../http/api-error.js';
import { fabricNameOf } from './register.js';

/** Items whose reports are written at the same time. */
const reportsAtOnce = 8;

async function changeFabric(app: App, relay: RegisteredRelay, change: (fabric: Fabric) => Fabric): Promise<void> {
  const ref = rows.fabric(relay.vaultId, relay.fabricName);
  await decideAndCommit(app.table, ref.partition, async () => {
    const fabric = await read(app.table, ref);
    if (fabric?.value.relayId !== relay.relayId) return { operations: [], result: undefined };
    return { operations: [replace(fabric, change(fabric.value))], result: undefined };
  });
}

/** The site as it is now. Another VMM server's inventory under this relay's name is refused. */
export async function storeInventory(app: App, relay: RegisteredRelay, inventory: SiteInventory): Promise<void> {
  if (fabricNameOf(inventory.vmmServerId) !== relay.fabricName) {
    throw new ApiError({
      code: 'US1107',
      httpStatus: 403,
      target: '$.vmmServerId',
      message: `the inventory is of VMM server ${inventory.vmmServerId}, which relay ${relay.relayId} was not registered for`,
      possibleCauses: 'The relay was pointed at another site after it registered.',
      recommendedAction: 'Register the relay anew for this VMM server.',
    });
  }
  const now = (await app.clock.now()).toString();
  await changeFabric(app, relay, (fabric) => ({ ...fabric, inventory, inventoryAt: now, lastHeartbeatAt: now }));
}

export async function storeHeartbeat(
  app: App,
  relay: RegisteredRelay,
  heartbeat: z.output<typeof heartbeatRequest>,
): Promise<void> {
  const now = (await app.clock.now()).toString();
  await changeFabric(app, relay, (fabric) => ({
    ...fabric,
    lastHeartbeatAt: now,
    relayVersion: heartbeat.relayVersion,
  }));
  const limit = pLimit(reportsAtOnce);
  await Promise.all(heartbeat.items.map((report) => limit(() => storeItemReport(app, relay, report, now))));
}

/** What the relay says of an item that it carries now. A report on another life or epoch is old news and is dropped. */
async function storeItemReport(app: App, relay: RegisteredRelay, report: ItemReport, now: string): Promise<void> {
  const ref = rows.item(relay.vaultId, asItemId(report.itemId));
  await decideAndCommit(app.table, ref.partition, async () => {
    const item = await read(app.table, ref);
    const current =
      item?.value.relayId === relay.relayId &&
      item.value.protectionId === report.protectionId &&
      item.value.replication.epoch === report.epoch;
    if (!current) return { operations: [], result: undefined };
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
