import { ChecksumCollector } from '../core/dataplane/resync/checksum-table.js';
import {
  planPageOperations,
  readPageOperations,
  sliceFrames,
  type PageOperation,
} from '../core/dataplane/transfer-log/page-operations.js';
import { readTransferLogIndex, type TransferLogIndex } from '../core/dataplane/transfer-log/reader.js';
import type { RandomReader } from '../core/dataplane/random-access.js';
import { UnderstudyError } from '../core/domain/errors.js';
import type { ProtectedItem, ReplicaDisk } from '../core/domain/protected-item/protected-item.js';
import type { TransferLogRef, UploadTarget } from '../core/domain/relay-protocol/wire.js';
import { transferBlobName, transferStorageAccountId } from '../core/domain/replication/blob-names.js';
import type { Fence } from '../core/domain/replication/fence.js';
import { failureOf } from '../core/domain/workflows/failure.js';
import { FencedError, type ReplicaStore } from '../core/ports/replica-store.js';
import type { TransferStore } from '../core/ports/transfer-store.js';
import { read } from '../core/records/access.js';
import { owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import { forEachBounded } from './bounded.js';
import type { activities, ApplyOutcome } from './contract.js';
import { keepChecksums, noteWritten } from './kept-checksums.js';
import { checksumsBefore } from './replica-digests.js';
import { readCycle } from './replication-work.js';

/** Page writes under way within one activity: each holds at most 4 MiB. */
const writesAtOnce = 4;

/** A log as announced, and the disk that it changes. */
interface LogToApply {
  item: ProtectedItem;
  disk: ReplicaDisk;
  /** Epoch under which it was announced: a failover applies what an earlier epoch received. */
  announcedEpoch: number;
  target: UploadTarget;
  /** Of a piece of a base. */
  toBytes?: number;
  log: TransferLogRef;
}

/** Applies its parts of a cycle's logs. Pages are written in any order: the fence keeps other cycles and owners out. */
export const makeApplyCycleSlices =
  ({
    table,
    ...stores
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'transfers'>): Activity<typeof activities.applyCycleSlices> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const item = stored.value;
    if (item.replication.appliedCycle >= input.cycle) return done;
    const received = await readCycle(table, input.vaultId, item, input.cycle);
    if (!received) return superseded;
    const { manifest } = received.value;
    return settle(async () => {
      for (const { diskIndex, sliceIndex, sliceCount } of input.slices) {
        const disk = item.disks[diskIndex];
        const log = manifest.disks.find(({ diskId }) => diskId === disk?.diskId)?.log;
        if (!disk || !log) continue;
        const target: UploadTarget = { kind: 'cycle', cycle: input.cycle, diskId: disk.diskId };
        const source = { item, disk, announcedEpoch: manifest.epoch, target, log };
        const fence = { epoch: input.epoch, cycle: input.cycle };
        await readLog(stores.transfers, source, async (index, operations) => {
          const slice = sliceFrames(index, sliceCount)[sliceIndex];
          if (!slice) return;
          await noteWritten(table, { vaultId: input.vaultId, item, diskIndex }, [...planPageOperations(index)]);
          await writeAll(stores.replicas, disk, operations(slice), fence);
        });
      }
    });
  };

/** Applies pieces of a disk's base. */
export const makeApplySegments =
  ({
    table,
    ...stores
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'transfers'>): Activity<typeof activities.applySegments> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const disk = stored?.value.disks[input.diskIndex];
    if (!owned(stored, input) || !disk) return superseded;
    const item = stored.value;
    return settle(async () => {
      for (const fromBytes of input.fromBytes) {
        if (fromBytes < disk.baseAppliedThroughBytes) continue;
        const segment = await read(table, rows.segment(input.vaultId, input.itemId, input.diskIndex, fromBytes));
        const announcement = segment?.value.announcement;
        // Gone: another run of this activity was faster, and its mark has moved.
        if (announcement?.protectionId !== input.protectionId || announcement.epoch !== input.epoch) continue;
        const { log } = announcement;
        const piece = { fromBytes, toBytes: announcement.toBytes };
        const before = await checksumsBefore({ table, ...stores }, { ...input, item, disk }, piece);
        // Neither side was looked at.
        if (log === null && before === 'spared') continue;
        const known = before === 'spared' ? undefined : before;
        const fence = { epoch: input.epoch, cycle: item.replication.baseCycle };
        const keep = (entries: Buffer | undefined) =>
          keepChecksums({ table, ...stores }, { ...input, item, disk }, piece, entries, fence);
        if (log === null) {
          await keep(known && new ChecksumCollector(piece, known).entries());
          continue;
        }
        const target: UploadTarget = { kind: 'segment', fromBytes, diskId: disk.diskId };
        const source = { item, disk, announcedEpoch: announcement.epoch, target, toBytes: piece.toBytes, log };
        await readLog(stores.transfers, source, async (_, operations) => {
          const collector = new ChecksumCollector(piece, known);
          await writeAll(stores.replicas, disk, collector.seen(operations()), fence);
          await keep(collector.entries());
        });
      }
    });
  };

async function settle(apply: () => Promise<void>): Promise<ApplyOutcome> {
  try {
    await apply();
    return done;
  } catch (error) {
    if (error instanceof FencedError) return superseded;
    if (isDamage(error)) return { kind: 'damaged', failure: failureOf(error) };
    throw error;
  }
}

/** The log is not what was announced, or its content is not what its digests say; or it does not fit where it was sent. */
const isDamage = (error: unknown): boolean =>
  error instanceof UnderstudyError && (/^US204\d$/.test(error.code) || ['US3011', 'US3012'].includes(error.code));

/** What a log holds: its index, verified, and the page operations of its frames `[from, to)`. */
type UseLog = (
  index: TransferLogIndex,
  operations: (slice?: { from: number; to: number }) => AsyncIterable<PageOperation>,
) => Promise<void>;

/** Reads the log with the announced ETag and checks it against the announced digest. */
async function readLog(transfers: TransferStore, source: LogToApply, use: UseLog): Promise<void> {
  try {
    await readLogOnce(transfers, source, use);
  } catch (error) {
    // Damage on the way from storage is gone at the second look; damage in storage is not.
    if (!isDamage(error)) throw error;
    await readLogOnce(transfers, source, use);
  }
}

async function readLogOnce(transfers: TransferStore, source: LogToApply, use: UseLog): Promise<void> {
  const { item, log, target, announcedEpoch } = source;
  const blobName = transferBlobName(item.protectionId, announcedEpoch, target, log.uploadId);
  const reader: RandomReader = transfers.openReader(transferStorageAccountId(item), blobName, log);
  const index = await readTransferLogIndex(reader, log);
  checkHeader(source, index, blobName);
  await use(index, (slice) => readPageOperations(reader, index, slice?.from, slice?.to));
}

const writeAll = (
  replicas: ReplicaStore,
  { replica }: ReplicaDisk,
  operations: AsyncIterable<PageOperation>,
  fence: Fence,
): Promise<void> =>
  forEachBounded(operations, writesAtOnce, (operation) =>
    operation.kind === 'write'
      ? replicas.writePages(replica, operation.offsetBytes, operation.data, fence)
      : replicas.clearPages(replica, operation.offsetBytes, operation.lengthBytes, fence),
  );

/** A whole log, but of another disk, cycle or life, must not reach this one. */
function checkHeader(source: LogToApply, { header }: TransferLogIndex, blobName: string): void {
  const { item, disk, target, toBytes, announcedEpoch } = source;
  const expected = {
    kind: target.kind === 'cycle' ? 'delta' : 'base',
    protectionId: item.protectionId.toLowerCase(),
    diskId: disk.diskId.toLowerCase(),
    epoch: announcedEpoch,
    diskSizeBytes: disk.sourceSizeBytes,
    ...(target.kind === 'cycle' ? { cycle: target.cycle } : { fromBytes: target.fromBytes, toBytes }),
  };
  const wrong = Object.entries(expected).filter(([field, value]) => header[field as keyof typeof header] !== value);
  if (wrong.length === 0) return;
  throw new UnderstudyError({
    code: 'US3012',
    message:
      `transfer log ${blobName} is not the one of this disk and cycle: ` +
      wrong
        .map(([field, value]) => `${field} is ${header[field as keyof typeof header]}, expected ${value}`)
        .join(', '),
    possibleCauses: 'The relay announced another log than the one that it made for this disk.',
    recommendedAction: 'Resynchronize the virtual machine, and report this as a defect of the relay.',
    details: { blobName, wrong },
  });
}
