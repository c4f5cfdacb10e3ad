import type { ItemId, VaultId } from '../domain/ids.js';
import type { Failback, ProtectedItem } from '../domain/protected-item/protected-item.js';
import type { FailbackReport } from '../domain/relay-protocol/wire.js';
import { checkEpoch } from '../domain/replication/acceptance.js';
import { conflictError } from '../domain/replication/conflict.js';
import type { StateTable } from '../ports/state-table.js';
import { changeItem } from './item-change.js';

/** Takes what the relay says that it has done for a failback, once. Resolves with the item that it changed, if it did. */
export async function receiveFailback(
  table: StateTable,
  vaultId: VaultId,
  itemId: ItemId,
  report: FailbackReport,
): Promise<ProtectedItem | undefined> {
  const change = await changeItem(table, { vaultId, itemId, protectionId: report.protectionId }, (item) => {
    const superseded = checkEpoch(item, report);
    if (superseded !== undefined) throw conflictError(superseded);
    const failback = item.failback && withReport(item, item.failback, report);
    if (failback === undefined || failback === item.failback) return { kind: 'unchanged' };
    return { kind: 'changed', item: { ...item, failback } };
  });
  return change.kind === 'changed' ? change.item : undefined;
}

/** The same failback where it says so already, or is none of which this can be said. */
function withReport(item: ProtectedItem, failback: Failback, { state, fetchedBytes }: FailbackReport): Failback {
  const { round, swap } = failback;
  const isUnderWay = item.replication.phase === 'failback';
  switch (state) {
    case 'prepared':
      return isUnderWay && !failback.prepared ? { ...failback, prepared: true } : failback;
    case 'copied':
      if (!isUnderWay || round === undefined || round.copied !== undefined) return failback;
      return { ...failback, round: { ...round, copied: { fetchedBytes } } };
    case 'replaced':
      return isUnderWay && swap === 'ordered' ? { ...failback, swap: 'done' } : failback;
    case 'started':
      if (item.replication.stopReason !== 'failedBack' || failback.startedAtSite) return failback;
      return { ...failback, startedAtSite: true };
  }
}
