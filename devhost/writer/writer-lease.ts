import { setTimeout as sleep } from 'node:timers/promises';
import { BlobServiceClient, RestError } from '@azure/storage-blob';
import type { BlockBlobClient } from '@azure/storage-blob';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { DevhostError } from '../errors.js';
import type { Log } from '../log.js';
import { isCertainlyGone, ownIdentity, type ProcessIdentity } from './process-identity.js';

/**
 * One writer a task hub: a lease on a blob, as the real host has, with the owner beside it in the blob's metadata.
 *
 * A take-over goes: acquire the lease (breaking it first when the owner is certainly gone), then write the new owner
 * and the next writer epoch under the lease. A break is bound to the ETag at which the owner was read, and the write
 * is bound to the lease: of two that take over at once, one fails and starts again.
 */
const leaseSeconds = 15;
const renewEveryMs = 5000;
const renewCheckMs = 500;
/** Without a renewal for so long the lease may have ended: stop before another writer can have begun. */
const giveUpAfterMs = 13_000;
const requestTimeoutMs = 4000;
const retryAcquireMs = 500;
const containerName = 'azure-webjobs-hosts';

const ownerSchema = z.object({
  epoch: z.coerce.number().int().nonnegative(),
  machine: z.string().transform((text) => Buffer.from(text, 'base64').toString()),
  pid: z.coerce.number().int(),
  starttime: z.string(),
});

export interface WriterLease {
  /** Grows by one at each take-over of the hub. */
  readonly epoch: number;
  /** Ends the lease at once, for the next owner. */
  release(): Promise<void>;
}

export interface WriterLeaseOptions {
  connectionString: string;
  hubName: string;
  /** How long to wait for another, living owner. */
  waitMs: number;
  log: Log;
  /** Called once; nothing may be written any more. */
  onLost: (reason: string) => void;
}

export async function acquireWriterLease(options: WriterLeaseOptions): Promise<WriterLease> {
  const container = BlobServiceClient.fromConnectionString(options.connectionString, {
    retryOptions: { maxTries: 2, tryTimeoutInMs: requestTimeoutMs, retryDelayInMs: 200 },
  }).getContainerClient(containerName);
  await container.createIfNotExists();
  const blob = container.getBlockBlobClient(`locks/${options.hubName.toLowerCase()}/devhost-writer`);
  await createIfMissing(blob);
  const leaseId = randomUUID();
  const deadline = Date.now() + options.waitMs;
  let said = '';
  for (;;) {
    const outcome = await tryAcquire(blob, leaseId);
    if (outcome.kind === 'acquired') {
      options.log.info('this process is the writer of the hub', { hub: options.hubName, epoch: outcome.epoch });
      return holdLease(blob, leaseId, outcome.epoch, options);
    }
    if (outcome.kind === 'held') {
      const owner = outcome.owner === undefined ? 'unknown' : `process ${outcome.owner.pid}`;
      if (Date.now() > deadline) {
        throw new DevhostError(
          'hubHasWriter',
          `the hub ${options.hubName} has a writer (${owner} on ${outcome.owner?.machine.split(' ')[0] ?? '?'}) that ` +
            `holds the lease; stop it first, or give this host another hubName or storage account`,
        );
      }
      if (said !== owner) options.log.info('waiting for the writer of the hub to end', { hub: options.hubName, owner });
      said = owner;
      await sleep(retryAcquireMs);
    }
  }
}

type Attempt =
  { kind: 'acquired'; epoch: number } | { kind: 'held'; owner: ProcessIdentity | undefined } | { kind: 'again' };

async function tryAcquire(blob: BlockBlobClient, leaseId: string): Promise<Attempt> {
  const { metadata, etag, leaseState } = await blob.getProperties();
  const parsed = ownerSchema.safeParse(metadata);
  const owner = parsed.success
    ? { machine: parsed.data.machine, pid: parsed.data.pid, startTime: parsed.data.starttime }
    : undefined;
  if (leaseState === 'leased' || leaseState === 'breaking') {
    if (owner === undefined || !isCertainlyGone(owner)) return { kind: 'held', owner };
    const broken = await unlessRefused(
      blob.getBlobLeaseClient(leaseId).breakLease(0, etag === undefined ? {} : { conditions: { ifMatch: etag } }),
    );
    if (!broken) return { kind: 'again' };
  }
  const lease = blob.getBlobLeaseClient(leaseId);
  if (!(await unlessRefused(lease.acquireLease(leaseSeconds)))) return { kind: 'again' };
  const epoch = (parsed.success ? parsed.data.epoch : 0) + 1;
  const self = ownIdentity();
  const written = await unlessRefused(
    blob.setMetadata(
      {
        epoch: String(epoch),
        // Metadata travels in HTTP headers.
        machine: Buffer.from(self.machine).toString('base64'),
        pid: String(self.pid),
        starttime: self.startTime,
      },
      { conditions: { leaseId, ...(etag === undefined ? {} : { ifMatch: etag }) } },
    ),
  );
  if (written) return { kind: 'acquired', epoch };
  await unlessRefused(lease.releaseLease());
  return { kind: 'again' };
}

async function createIfMissing(blob: BlockBlobClient): Promise<void> {
  await unlessRefused(blob.upload('', 0, { conditions: { ifNoneMatch: '*' } }));
}

/** False for an answer that says "someone else was faster". */
async function unlessRefused(request: Promise<unknown>): Promise<boolean> {
  try {
    await request;
    return true;
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof RestError && (error.statusCode === 409 || error.statusCode === 412);
}

function holdLease(blob: BlockBlobClient, leaseId: string, epoch: number, options: WriterLeaseOptions): WriterLease {
  const lease = blob.getBlobLeaseClient(leaseId);
  let renewedAtMs = performance.now();
  let askedAtMs = renewedAtMs;
  let isOver = false;
  let renewal: Promise<void> | undefined;
  const lose = (reason: string) => {
    if (isOver) return;
    isOver = true;
    clearInterval(timer);
    options.onLost(reason);
  };
  const renew = async () => {
    try {
      await lease.renewLease();
      renewedAtMs = askedAtMs;
    } catch (error) {
      if (isRefusal(error)) {
        lose(`another process has taken over the hub ${options.hubName}`);
      } else if (performance.now() - renewedAtMs > giveUpAfterMs) {
        lose(`the storage did not answer for ${giveUpAfterMs / 1000} s, so the lease may have ended`);
      } else {
        options.log.warn('the writer lease could not be renewed', { error: String(error) });
      }
    } finally {
      renewal = undefined;
    }
  };
  // After a long pause of this process (a sleeping machine, a busy event loop) the renewal itself tells whether the hub
  // is still ours: storage renews an ended lease only if nobody else has taken it.
  const timer = setInterval(() => {
    const now = performance.now();
    if (renewal !== undefined || now - askedAtMs < renewEveryMs) return;
    askedAtMs = now;
    renewal = renew();
  }, renewCheckMs);
  return {
    epoch,
    async release() {
      isOver = true;
      clearInterval(timer);
      await renewal;
      await unlessRefused(lease.releaseLease());
    },
  };
}
