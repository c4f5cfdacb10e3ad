import type { Logger } from 'pino';
import { mapInOrder } from '../core/dataplane/in-order.js';
import type { DiskReader } from '../core/dataplane/random-access.js';
import {
  chunkDigest,
  digestBytes,
  openDigestFile,
  type DigestFile,
  type DigestRegion,
} from '../core/dataplane/resync/digest-file.js';
import { isZero } from '../core/dataplane/zero-runs.js';
import { asDiskId, asVmId } from '../core/domain/ids.js';
import type { Assignment, FailbackReport } from '../core/domain/relay-protocol/wire.js';
import { chunksInGroup, resyncChunkBytes, resyncRegionBytes } from '../core/domain/replication/resync-geometry.js';
import { FetchedChunkDamagedError } from './errors.js';
import { grantedReader, type GrantedReader } from './granted-reader.js';
import type { ItemView } from './item-view.js';
import type { LaneStep } from './lane.js';
import { differingChunks, hashRegion } from './region-comparison.js';
import type { RelayContext } from './relay-context.js';

/** Neighbouring chunks are fetched together up to this many: 4 MiB. */
const chunksInFetch = 64;
const fetchesAtOnce = 3;
/** A site that was failed over from is asked so often whether it still holds a failback that was given up. */
const silentSiteMinutes = 10;

type FailbackOrder = NonNullable<Assignment['failback']>;

/**
 * The steps of one item's failback: readies the VM at the site, fetches what differs in Azure into its side images, has them
 * take the disks' places. Each step is planned from the app's order and the site's state, so that a kill costs a repeated one.
 */
export class ItemFailback {
  readonly #context: RelayContext;
  readonly #log: Logger;
  readonly #view: ItemView;
  readonly #onFetched: () => void;
  /** What the app has been told of this epoch, so that it is not told again and again. */
  #preparedLock: string | undefined;
  #told: { epoch: number; state: FailbackReport['state'] } | undefined;

  constructor(context: RelayContext, log: Logger, view: ItemView, onFetched: () => void) {
    this.#context = context;
    this.#log = log;
    this.#view = view;
    this.#onFetched = onFetched;
  }

  /** For reports: how much is compared, and how much was fetched in this round. */
  progress(): { comparedBytes: number; fetchedBytes: number } {
    const { known, assignment } = this.#view;
    const round = known?.epoch === assignment.epoch ? known.failback : undefined;
    const comparedBytes = Object.values(round?.comparedThroughBytes ?? {}).reduce((sum, bytes) => sum + bytes, 0);
    return { comparedBytes, fetchedBytes: round?.fetchedBytes ?? 0 };
  }

  async plan(): Promise<LaneStep> {
    const { assignment } = this.#view;
    if (assignment.phase === 'stopped') return this.#planStopped(assignment);
    if (assignment.phase !== 'failback' || assignment.failback === undefined) return { kind: 'rest' };
    return this.#planFailback(assignment, assignment.failback);
  }

  async #planFailback(assignment: Assignment, order: FailbackOrder): Promise<LaneStep> {
    const { host } = this.#context;
    const { protectionId, vmName } = assignment;
    const vmId = asVmId(assignment.vmId);
    const { lockId, replace } = order;
    const status = await host.failbackStatus(vmId, protectionId);
    if (status.kind === 'replaced' && status.lockId === lockId) return this.#tell(assignment, 'replaced');
    if (status.kind !== 'prepared' || status.lockId !== lockId) {
      return { kind: 'work', attempt: 'ready the VM for its failback', run: () => this.#prepare(assignment, order) };
    }
    if (this.#preparedLock !== lockId) return this.#tellPrepared(assignment, lockId);
    if (replace !== undefined) {
      return {
        kind: 'work',
        attempt: 'replace the disks',
        run: async () => {
          const { epoch, receivedCycle: baseCycle } = assignment;
          await host.replaceDisks(vmId, { protectionId, lockId, epoch, baseCycle, ...replace });
          this.#log.info({ epoch, lock: lockId }, `the disks of ${vmName} are those of its failback`);
        },
      };
    }
    if (!order.isCopying) return { kind: 'rest' };
    const { failback } = await this.#view.local();
    for (const { diskId, sizeBytes, digestedThroughBytes } of assignment.disks) {
      const fromBytes = failback?.comparedThroughBytes[diskId] ?? 0;
      if (fromBytes >= sizeBytes) continue;
      const region = { protectionId, diskId, epoch: assignment.epoch, diskSizeBytes: sizeBytes, fromBytes };
      const toBytes = Math.min(fromBytes + resyncRegionBytes, sizeBytes);
      // The app makes the checksums; its next answer says how far they are.
      if (digestedThroughBytes < toBytes) return { kind: 'rest' };
      return {
        kind: 'work',
        attempt: `compare disk ${diskId} from byte ${fromBytes} on`,
        run: (signal) => this.#compare(assignment, order, region, toBytes, signal),
      };
    }
    return this.#tell(assignment, 'copied');
  }

  async #prepare({ vmId, vmName, protectionId }: Assignment, { lockId, create }: FailbackOrder): Promise<void> {
    await this.#context.host.prepareFailback(asVmId(vmId), {
      protectionId,
      lockId,
      ...(create !== undefined && { create }),
    });
    this.#log.info({ lock: lockId }, `${vmName} is locked, and its side images stand ready for its failback`);
  }

  /** After a failback: the VM is the site's again. After a failover: what a failback that was given up has left is dropped. */
  async #planStopped(assignment: Assignment): Promise<LaneStep> {
    const { host, clock } = this.#context;
    const { protectionId, stopReason, vmName } = assignment;
    const vmId = asVmId(assignment.vmId);
    if (stopReason === 'failedBack') {
      const tracking = await host.tracking(vmId, protectionId);
      const lockId = tracking.kind === 'notReplicated' ? undefined : tracking.lockId;
      if (lockId === undefined) return this.#tell(assignment, 'started');
      return {
        kind: 'work',
        attempt: 'lift the lock of the VM',
        run: async () => {
          await host.unlockSource(vmId, { protectionId, lockId });
          this.#log.info({ lock: lockId }, `${vmName} is the site's again`);
        },
      };
    }
    const status = await host.failbackStatus(vmId, protectionId).catch(() => undefined);
    if (status === undefined) {
      return { kind: 'rest', until: (await clock.now()).add({ minutes: silentSiteMinutes }) };
    }
    if (status.kind === 'none' || status.kind === 'replaced') return { kind: 'rest' };
    return {
      kind: 'work',
      attempt: 'give the failback up',
      run: async () => {
        await host.abandonFailback(vmId, protectionId);
        this.#log.warn({ lock: status.lockId }, `the failback of ${vmName} is given up; its disks are as they were`);
      },
    };
  }

  /** Once: from here on the app begins its rounds. */
  #tellPrepared({ itemId, protectionId, epoch }: Assignment, lockId: string): LaneStep {
    return {
      kind: 'work',
      attempt: 'report that the VM is ready for its failback',
      run: async () => {
        await this.#context.client.reportFailback(itemId, { protectionId, epoch, state: 'prepared', fetchedBytes: 0 });
        this.#preparedLock = lockId;
      },
    };
  }

  #tell(assignment: Assignment, state: FailbackReport['state']): LaneStep {
    const { itemId, protectionId, epoch } = assignment;
    if (this.#told?.epoch === epoch && this.#told.state === state) return { kind: 'rest' };
    return {
      kind: 'work',
      attempt: `report that the failback is ${state}`,
      run: async () => {
        const { fetchedBytes } = this.progress();
        await this.#context.client.reportFailback(itemId, { protectionId, epoch, state, fetchedBytes });
        if (state === 'started') await this.#view.note(assignment, { failedBack: true });
        this.#told = { epoch, state };
        this.#log.info({ epoch, fetchedBytes }, `failback: ${state}`);
      },
    };
  }

  /** Makes a region of the side image equal to the cloud's; noted when it is flushed. */
  async #compare(
    assignment: Assignment,
    { lockId }: FailbackOrder,
    region: DigestRegion,
    toBytes: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { host } = this.#context;
    const image = await host.openSideImage(asVmId(assignment.vmId), { lockId, diskId: asDiskId(region.diskId) });
    let fetchedBytes = 0;
    try {
      const source = await hashRegion(image, region, undefined, signal);
      const digests = await openDigestFile(this.#digestReader(assignment, region, signal), region);
      const chunks = await differingChunks(source, digests);
      const disk = this.#diskReader(assignment, region.diskId, signal);
      for await (const { offsetBytes, data } of fetchChunks(disk, digests, region, chunks)) {
        signal.throwIfAborted();
        await image.write(offsetBytes, data);
      }
      // Also where nothing differs: a relay that died here may have written, and not flushed, what it finds equal now.
      await image.flush();
      fetchedBytes = disk.readBytes();
    } finally {
      await image.close();
    }
    signal.throwIfAborted();
    const { failback } = await this.#view.local();
    await this.#view.note(assignment, {
      failback: {
        comparedThroughBytes: { ...failback?.comparedThroughBytes, [region.diskId]: toBytes },
        fetchedBytes: (failback?.fetchedBytes ?? 0) + fetchedBytes,
      },
    });
    this.#onFetched();
  }

  #digestReader({ itemId, protectionId, epoch }: Assignment, region: DigestRegion, signal: AbortSignal): GrantedReader {
    const { client, blobs } = this.#context;
    const { diskId, fromBytes } = region;
    const grant = async () =>
      (await client.requestDigests(itemId, { protectionId, epoch, diskId, fromBytes }, signal)).url;
    return grantedReader(blobs, grant, signal);
  }

  #diskReader({ itemId, protectionId, epoch }: Assignment, diskId: string, signal: AbortSignal): GrantedReader {
    const { client, blobs } = this.#context;
    const grant = async () => (await client.requestDisk(itemId, { protectionId, epoch, diskId }, signal)).url;
    return grantedReader(blobs, grant, signal);
  }
}

/** The content of these chunks of the region, ascending, each held against its digest. What is zero there is not fetched. */
async function* fetchChunks(
  disk: Pick<DiskReader, 'read'>,
  digests: DigestFile,
  region: DigestRegion,
  chunks: readonly number[],
): AsyncGenerator<{ offsetBytes: number; data: Buffer }> {
  const tables = new Map<number, Buffer>();
  const digestOf = async (chunk: number): Promise<Buffer> => {
    const group = Math.floor(chunk / chunksInGroup);
    const table = tables.get(group) ?? (await digests.chunkDigests(group, 1));
    tables.set(group, table);
    const at = (chunk % chunksInGroup) * digestBytes;
    return table.subarray(at, at + digestBytes);
  };
  const runs: { from: number; digests: Buffer[]; zero: boolean }[] = [];
  for (const chunk of chunks) {
    const digest = await digestOf(chunk);
    const zero = isZero(digest);
    const last = runs.at(-1);
    const isNext = last !== undefined && last.from + last.digests.length === chunk && last.zero === zero;
    if (isNext && last.digests.length < chunksInFetch) last.digests.push(digest);
    else runs.push({ from: chunk, digests: [digest], zero });
  }
  yield* mapInOrder(runs, fetchesAtOnce, async (run) => {
    const offsetBytes = region.fromBytes + run.from * resyncChunkBytes;
    const endBytes = Math.min(offsetBytes + run.digests.length * resyncChunkBytes, region.diskSizeBytes);
    if (run.zero) return { offsetBytes, data: Buffer.alloc(endBytes - offsetBytes) };
    const data = await disk.read(offsetBytes, endBytes - offsetBytes);
    for (const [index, digest] of run.digests.entries()) {
      const piece = data.subarray(index * resyncChunkBytes, (index + 1) * resyncChunkBytes);
      if (!chunkDigest(piece).equals(digest)) {
        throw new FetchedChunkDamagedError(region.diskId, offsetBytes + index * resyncChunkBytes);
      }
    }
    return { offsetBytes, data };
  });
}
