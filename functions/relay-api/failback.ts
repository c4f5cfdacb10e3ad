import type { z } from 'zod';
import type { diskRequest, diskResponse, FailbackReport } from '../../core/domain/relay-protocol/wire.js';
import { checkEpoch } from '../../core/domain/replication/acceptance.js';
import { conflictError } from '../../core/domain/replication/conflict.js';
import { uploadGrantSeconds } from '../../core/ports/transfer-store.js';
import { receiveFailback } from '../../core/records/receive-failback.js';
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
  const { itemId: id } = await ownItem(app, relay, itemId);
  const changed = await receiveFailback(app.table, vaultId, id, report);
  if (changed !== undefined) await wake(app, vaultId, changed);
}
