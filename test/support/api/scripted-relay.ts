import { generateKeyPairSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DiskChunk } from '../../../core/dataplane/disk-chunk.js';
import { writeTransferLog } from '../../../core/dataplane/transfer-log/writer.js';
import {
  relayProtocolVersion,
  type Assignment,
  type FailbackReport,
  type TransferLogRef,
  type UploadTarget,
} from '../../../core/domain/relay-protocol/wire.js';
import type { SiteInventory } from '../../../core/domain/site/inventory.js';
import { uploadBlocks } from '../../../providers/azure-storage/upload.js';
import { openAppClient, postRegistration, type AppClient } from '../../../relay/app-client.js';

/**
 * A relay in a few lines: it registers, says yes to every command, sends each disk's base in one segment and then one cycle in
 * which the first page of every disk changed. A source that is locked has written nothing more; of a failback it says that all is
 * done as soon as it is asked for.
 */
export class ScriptedRelay {
  readonly failures: unknown[] = [];
  fabricName = '';
  private readonly keys = generateKeyPairSync('ed25519');
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;
  /** What was told once. */
  private readonly done = new Set<string>();

  constructor(
    private readonly endpoint: string,
    readonly inventory: SiteInventory,
    /** Byte that the base of every disk is filled with; the cycle fills the first page with the one after it. */
    private readonly fill: number,
  ) {}

  async register(secret: string): Promise<void> {
    const { relayId, fabricName } = await postRegistration(this.endpoint, {
      protocolVersion: relayProtocolVersion,
      secret,
      publicKey: this.keys.publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
      relayVersion: '0.1.0',
      machineName: 'scripted',
      inventory: this.inventory,
    });
    this.fabricName = fabricName;
    const client = openAppClient(this.endpoint, { relayId, privateKey: this.keys.privateKey });
    this.running = this.run(client).catch((error: unknown) => {
      if (!this.stopping.signal.aborted) this.failures.push(error);
    });
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(client: AppClient): Promise<void> {
    const { signal } = this.stopping;
    let version: string | undefined;
    while (!signal.aborted) {
      const found = await client.assignments(version, 5, signal);
      version = found.version;
      for (const { commandId } of found.commands) await client.postCommandResult(commandId, { kind: 'succeeded' });
      for (const assignment of found.assignments) await this.advance(client, assignment);
      await sleep(50);
    }
  }

  /** One step towards what the assignment asks for; it is asked again after each. */
  private advance(client: AppClient, assignment: Assignment): Promise<void> | undefined {
    switch (assignment.phase) {
      case 'initialReplication':
        return assignment.receivedCycle > 0 ? undefined : this.sendBase(client, assignment);
      case 'delta':
        return this.sendEmptyCycle(client, assignment);
      case 'failback':
        return this.failBack(client, assignment);
      case 'stopped':
        return assignment.stopReason === 'failedBack' ? this.report(client, assignment, 'started') : undefined;
      case 'idle':
      case 'resynchronization':
    }
  }

  /** The first of every life after the first, and the final one of every lock. */
  private async sendEmptyCycle(client: AppClient, assignment: Assignment): Promise<void> {
    const { itemId, protectionId, epoch, sourceLock, receivedCycle, disks } = assignment;
    const of = sourceLock ?? `cycle ${itemId} ${epoch}`;
    if (this.done.has(of) || (sourceLock === undefined && epoch === 1)) return;
    this.done.add(of);
    await client.announceCycle(itemId, {
      ...{ protectionId, epoch, cycle: receivedCycle + 1, takenAt: new Date().toISOString() },
      ...{ consistency: 'crashConsistent', closesBase: false },
      ...(sourceLock === undefined ? {} : { finalOf: sourceLock }),
      disks: disks.map(({ diskId }) => ({ diskId, log: null })),
    });
  }

  private async failBack(client: AppClient, assignment: Assignment): Promise<void> {
    const { failback, epoch } = assignment;
    if (failback === undefined) return;
    await this.report(client, assignment, 'prepared', failback.lockId);
    if (failback.isCopying) await this.report(client, assignment, 'copied', `${failback.lockId} ${epoch}`);
    if (failback.replace !== undefined) await this.report(client, assignment, 'replaced', failback.lockId);
  }

  /** Once for each `of`. */
  private async report(
    client: AppClient,
    { itemId, protectionId, epoch }: Assignment,
    state: FailbackReport['state'],
    of = `${itemId} ${epoch}`,
  ): Promise<void> {
    if (this.done.has(`${state} ${of}`)) return;
    this.done.add(`${state} ${of}`);
    await client.reportFailback(itemId, { protectionId, epoch, state, fetchedBytes: 0 });
  }

  private async sendBase(client: AppClient, assignment: Assignment): Promise<void> {
    const { itemId, protectionId, epoch } = assignment;
    const checkpointAt = '2026-01-05T10:00:00Z';
    await client.reportBaseStarted(itemId, { protectionId, epoch, checkpointAt });
    const next = assignment.disks.find((disk) => disk.receivedThroughBytes < disk.sizeBytes);
    if (next !== undefined) {
      const target = { kind: 'segment', fromBytes: 0, diskId: next.diskId } as const;
      const log = await this.upload(client, assignment, target, next.sizeBytes, next.sizeBytes, this.fill);
      const { diskId, sizeBytes } = next;
      await client.announceSegment(itemId, { protectionId, epoch, diskId, fromBytes: 0, toBytes: sizeBytes, log });
      return;
    }
    const disks = [];
    for (const { diskId, sizeBytes } of assignment.disks) {
      const target = { kind: 'cycle', cycle: 1, diskId } as const;
      disks.push({ diskId, log: await this.upload(client, assignment, target, sizeBytes, 512, this.fill + 1) });
    }
    await client.announceCycle(itemId, {
      protectionId,
      epoch,
      cycle: 1,
      takenAt: new Date().toISOString(),
      consistency: 'crashConsistent',
      closesBase: true,
      disks,
    });
  }

  private async upload(
    client: AppClient,
    { itemId, protectionId, epoch }: Assignment,
    target: UploadTarget,
    diskSizeBytes: number,
    filledBytes: number,
    fill: number,
  ): Promise<TransferLogRef> {
    const base = target.kind === 'segment';
    const log = writeTransferLog(
      {
        kind: base ? 'base' : 'delta',
        protectionId,
        diskId: target.diskId,
        epoch,
        cycle: base ? 0 : target.cycle,
        diskSizeBytes,
        fromBytes: 0,
        toBytes: diskSizeBytes,
      },
      filled(filledBytes, fill),
    );
    const granted = await client.requestUpload(itemId, { protectionId, epoch, target });
    const { etag, lengthBytes } = await uploadBlocks({
      url: granted.url,
      renew: () => Promise.resolve(granted.url),
      chunks: log.bytes,
      blockBytes: 4 * 1024 * 1024,
      concurrency: 2,
    });
    const { digest, changedBytes, frameCount } = log.summary();
    return { uploadId: granted.uploadId, lengthBytes, digest, etag, changedBytes, frameCount };
  }
}

async function* filled(lengthBytes: number, fill: number): AsyncGenerator<DiskChunk> {
  const mebibyte = 1024 * 1024;
  for (let offsetBytes = 0; offsetBytes < lengthBytes; offsetBytes += mebibyte) {
    yield { kind: 'data', offsetBytes, data: Buffer.alloc(Math.min(mebibyte, lengthBytes - offsetBytes), fill) };
  }
}
