import type { RelayCommand } from '../core/domain/relay-protocol/wire.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { StateConflictError } from '../core/ports/state-table.js';
import { insert, read } from '../core/records/access.js';
import { owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import type { Activity, ActivityDependencies } from './activity.js';
import { superseded } from './activity.js';
import type { activities } from './contract.js';

type Needs = Pick<ActivityDependencies, 'table' | 'clock'>;

/** Puts the order into the relay's partition. Its id comes from the orchestrator, so that a repeat finds it there. */
export const makeSendRelayCommand =
  ({ table, clock }: Needs): Activity<typeof activities.sendRelayCommand> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const { relayId } = stored.value;
    const ref = rows.command(relayId, input.commandId);
    const command = commandFor(input.command, input.commandId, stored.value);
    const createdAt = (await clock.now()).toString();
    try {
      await table.transact(ref.partition, [insert(ref, { command, instanceId: input.instanceId, createdAt })]);
    } catch (error) {
      if (!(error instanceof StateConflictError)) throw error;
    }
    return { kind: 'sent', relayId };
  };

function commandFor(
  kind: Exclude<RelayCommand['kind'], 'runScript'>,
  commandId: string,
  item: ProtectedItem,
): RelayCommand {
  const { vmId, protectionId } = item;
  switch (kind) {
    case 'createReplicationRelationship':
    case 'removeReplicationRelationship':
      return { kind, commandId, vmId, protectionId };
    case 'shutDownVm':
      return { kind, commandId, vmId };
    case 'prepareFailover':
      return { kind, commandId, vmId, protectionId, lockId: item.replication.sourceLock ?? '' };
  }
}

export const makeReadCommandResult =
  ({ table }: Pick<Needs, 'table'>): Activity<typeof activities.readCommandResult> =>
  async ({ relayId, commandId }) => {
    const stored = await read(table, rows.command(relayId, commandId));
    return { result: stored?.value.result ?? null };
  };

export const makeDropRelayCommand =
  ({ table }: Pick<Needs, 'table'>): Activity<typeof activities.dropRelayCommand> =>
  async ({ relayId, commandId }) => {
    const ref = rows.command(relayId, commandId);
    await table.transact(ref.partition, [{ kind: 'delete', rowKey: ref.rowKey }]);
    return {};
  };
