import type { z } from 'zod';
import type { Failback, ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { diskRequest, diskResponse, FailbackReport } from '../../core/domain/relay-protocol/wire.js';
import { checkEpoch } from '../../core/domain/replication/acceptance.js';
import { conflictError } from '../../core/domain/replication/conflict.js';
import { uploadGrantSeconds } from '../../core/ports/transfer-store.js';
import { changeItem } from '../../core/records/item-change.js';
import type { RegisteredRelay } from '../../core/records/rows.js';
import type { App, AppInvocation } from '../app.js';
import { wake } from '../wake.js';
import { ownItem } from './transfers.js';

/** One disk of the VM in Azure, as the failback's round holds it, for the relay to read. */
export async function grantDisk(
  app: App,
  relay: RegisteredRelay,
  itemId: string,
  request: z.output<typeof diskRequest>,
): Promise<z.output<typeof diskResponse>> {
  const item = await ownItem(app, relay, itemId);
  const superseded = checkEpoch(item, request);
  if (superseded !== undefined) throw conflictError(superseded);
  const { phase, stopReason } = item.replication;
  if (phase !== 'failback') throw conflictError({ kind: 'notReplicating', phase, stopReason });
  const source = item.failback?.round?.sources.find(({ diskId }) => diskId === request.diskId);
  if (source === undefined) throw conflictError({ kind: 'diskMismatch', missing: [], unexpected: [request.diskId] });
  return app.replicas.grantRead(source.blob, source.snapshotId, uploadGrantSeconds);
}

/** Takes what the relay says it has done, once, and wakes the workflow that waits for it. */
export async function reportFailback(
  app: AppInvocation,
  relay: RegisteredRelay,
  itemId: string,
  report: FailbackReport,
): Promise<void> {
  const { vaultId } = relay;
  const found = await ownItem(app, relay, itemId);
  const key = { vaultId, itemId: found.itemId, protectionId: found.protectionId };
  let changed: ProtectedItem | undefined;
  await changeItem(app.table, key, (item) => {
    const superseded = checkEpoch(item, report);
    if (superseded !== undefined) throw conflictError(superseded);
    changed = undefined;
    const failback = item.failback && withReport(item, item.failback, report);
    if (failback === undefined || failback === item.failback) return { kind: 'unchanged' };
    changed = { ...item, failback };
    return { kind: 'changed', item: changed };
  });
  if (changed !== undefined) await wake(app, vaultId, changed);
}

/** The same failback where it says so already, or is none of which this can be said. */
function withReport(item: ProtectedItem, failback: Failback, { state, fetchedBytes }: FailbackReport): Failback {
  const { round, swap } = failback;
  const isUnderWay = item.replication.phase === 'failback';
  switch (state) {
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
