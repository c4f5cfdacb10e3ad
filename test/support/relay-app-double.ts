import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { BlobSASPermissions, BlobServiceClient } from '@azure/storage-blob';
import { Temporal } from 'temporal-polyfill';
import type { z } from 'zod';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import {
  commandResult,
  cycleManifest,
  digestRequest,
  heartbeatRequest,
  baseStartedRequest,
  inventoryRequest,
  registerRequest,
  resyncRequiredRequest,
  segmentRequest,
  textToSign,
  uploadRequest,
  type CommandResult,
  type CycleManifest,
  type ItemReport,
  type RelayCommand,
  type SegmentAnnouncement,
  type TransferLogRef,
} from '../../core/domain/relay-protocol/wire.js';
import { acceptManifest, acceptSegment, checkScopes, sendsBase } from '../../core/domain/replication/acceptance.js';
import { conflictError } from '../../core/domain/replication/conflict.js';
import type { SiteInventory } from '../../core/domain/site/inventory.js';
import { encodeDigestFile, type DigestRegion } from '../../core/dataplane/resync/digest-file.js';
import type { StoredPolicy } from '../../core/records/rows.js';
import { assignmentOf } from '../../functions/relay-api/assignments.js';
import {
  beginResynchronization,
  digestedRegion,
  digestNextRegion,
  readScopes,
  type Scope,
} from './relay/double-resync.js';
import { UnderstudyError } from '../../core/domain/errors.js';

/** Carries out what the relay announced; the double answers only after it, as if apply were instant. */
export interface DoubleReplica {
  applySegment(segment: SegmentAnnouncement, log: Buffer): Promise<void>;
  applyCycle(manifest: CycleManifest, logs: Map<string, Buffer>): Promise<void>;
  /** For a resynchronization: the digests of the region's chunks, zero for those outside of the scope. */
  chunkTable(region: DigestRegion, scope?: Scope): Promise<Buffer>;
}

interface DoubleItem {
  item: ProtectedItem;
  intervalSeconds: number;
  segments: Map<string, SegmentAnnouncement>;
  cycles: Map<number, { manifest: CycleManifest; manifestDigest: string }>;
  blobNames: Map<string, string>;
  replica: DoubleReplica;
  resyncRequired: { reason: string; message: string }[];
  /** Of the present base: what the relay said that it compares; undefined: everything. */
  scopes: Map<string, Scope> | undefined;
  /** Announcements of an item are taken one after another, as the ETag of its row makes the app do. */
  queue: Promise<unknown>;
}

/**
 * The app as a relay sees it, in this process: speaks wire.ts, checks signatures, hands out SAS for blobs in Azurite, and
 * accepts by the domain's own rule (core/domain/replication/acceptance.ts), so that what it accepts is what the app accepts.
 * Beyond that it is held to the real API by the end-to-end tests, which run the same relay against the app.
 */
export class RelayAppDouble {
  readonly endpoint: string;
  readonly items = new Map<string, DoubleItem>();
  readonly commandResults = new Map<string, CommandResult>();
  readonly problems: string[] = [];
  commands: RelayCommand[] = [];
  inventory: SiteInventory | undefined;
  lastHeartbeat: { memoryRssBytes: number; items: ItemReport[] } | undefined;
  /** While set, every call fails: 'cut' drops the connection. */
  outage: 'none' | 'cut' | 'unavailable' = 'none';
  /** After this many accepted announcements the answer is lost, once. */
  loseAnswerAfter: number | undefined;
  /** The line is cut with the next accepted piece of a base, before its answer. */
  cutsAfterSegment = false;
  readonly #clockStart = Temporal.Now.instant();
  readonly #speed: number;
  #advancedSeconds = 0;
  #publicKey: string | undefined;
  readonly #secret = randomBytes(16).toString('hex');
  readonly #blobs: BlobServiceClient;
  #version = 1;

  static async start(options: { connectionString: string; speed: number }): Promise<RelayAppDouble> {
    const blobs = BlobServiceClient.fromConnectionString(options.connectionString);
    await blobs.getContainerClient(container).createIfNotExists();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const double = new RelayAppDouble(`http://127.0.0.1:${port}`, options.speed, blobs, () => {
      server.close();
      server.closeAllConnections();
    });
    server.on('request', (request, response) => {
      void double.#serve(request, response);
    });
    return double;
  }

  private constructor(
    endpoint: string,
    speed: number,
    blobs: BlobServiceClient,
    readonly close: () => void,
  ) {
    this.endpoint = endpoint;
    this.#speed = speed;
    this.#blobs = blobs;
  }

  get clockUrl(): string {
    return `${this.endpoint}/clock`;
  }

  registrationKey(expiresAt = Temporal.Now.instant().add({ hours: 120 }).toString()): string {
    const key = { endpoint: this.endpoint, vaultId: 'vault', secret: this.#secret, expiresAt };
    return Buffer.from(JSON.stringify(key)).toString('base64url');
  }

  now(): Temporal.Instant {
    const elapsed = Temporal.Now.instant().since(this.#clockStart).total('seconds') * this.#speed;
    return this.#clockStart.add({ milliseconds: Math.round((elapsed + this.#advancedSeconds) * 1000) });
  }

  advance(seconds: number): void {
    this.#advancedSeconds += seconds;
  }

  assign(item: ProtectedItem, intervalSeconds: number, replica: DoubleReplica): void {
    this.items.set(item.itemId, {
      item,
      intervalSeconds,
      replica,
      segments: new Map(),
      cycles: new Map(),
      blobNames: new Map(),
      resyncRequired: [],
      scopes: undefined,
      queue: Promise.resolve(),
    });
    this.#version++;
  }

  item(itemId: string): DoubleItem {
    const found = this.items.get(itemId);
    if (!found) throw new Error(`no item ${itemId}`);
    return found;
  }

  changeProgress(itemId: string, change: Partial<ProtectedItem['replication']>): void {
    const found = this.item(itemId);
    found.item = { ...found.item, replication: { ...found.item.replication, ...change } };
    this.#version++;
  }

  /** Begins a resynchronization as the app does: under a new epoch, from the start of every disk. */
  resynchronize(itemId: string): void {
    const double = this.item(itemId);
    double.segments.clear();
    double.scopes = undefined;
    double.resyncRequired = [];
    double.item = beginResynchronization(double.item, this.now().toString());
    this.#version++;
  }

  /** The replica's checksums of the next region can be read. */
  #digestFurther(double: DoubleItem, diskId: string): void {
    double.item = digestNextRegion(double.item, diskId);
    this.#version++;
  }

  order(command: RelayCommand): void {
    this.commands.push(command);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body ?? {}));
    };
    try {
      const url = new URL(request.url ?? '', this.endpoint);
      if (url.pathname === '/clock') {
        answer(200, { now: this.now().toString(), speed: this.#speed });
        return;
      }
      if (this.outage === 'cut') {
        request.socket.destroy();
        return;
      }
      if (this.outage === 'unavailable') {
        answer(503, 'gateway');
        return;
      }
      const body = await readBody(request);
      if (url.pathname !== '/relay/v1/register') this.#checkSignature(request, body);
      const result = await this.#dispatch(
        request.method ?? '',
        url,
        body.length === 0 ? undefined : JSON.parse(body.toString()),
      );
      if (this.cutsAfterSegment && url.pathname.endsWith('segments')) {
        this.cutsAfterSegment = false;
        this.outage = 'cut';
        request.socket.destroy();
        return;
      }
      if (
        this.loseAnswerAfter !== undefined &&
        /(segments|cycles)$/.test(url.pathname) &&
        this.loseAnswerAfter-- <= 0
      ) {
        this.loseAnswerAfter = undefined;
        request.socket.destroy();
        return;
      }
      answer(200, result);
    } catch (error) {
      if (error instanceof UnderstudyError) {
        const { code, message, recommendedAction, details } = error;
        answer(error.httpStatus, { error: { code, message, recommendedAction, details } });
        return;
      }
      this.problems.push(
        `${request.method} ${request.url}: ${error instanceof Error ? (error.stack ?? '') : String(error)}`,
      );
      answer(500, { error: { code: 'US1999', message: String(error) } });
    }
  }

  #checkSignature(request: IncomingMessage, body: Buffer): void {
    const header = (name: string) => String(request.headers[`x-understudy-${name}`]);
    const text = textToSign({
      method: request.method ?? '',
      target: request.url ?? '',
      date: header('date'),
      nonce: header('nonce'),
      bodySha256Hex: createHash('sha256').update(body).digest('hex'),
    });
    const key = createPublicKey({ key: Buffer.from(this.#publicKey ?? '', 'base64'), format: 'der', type: 'spki' });
    if (!verify(null, Buffer.from(text), key, Buffer.from(header('signature'), 'base64'))) {
      throw new Error('the signature does not fit');
    }
  }

  async #dispatch(method: string, url: URL, body: unknown): Promise<unknown> {
    const [, , , noun = '', id = '', verb = ''] = url.pathname.split('/');
    const operation = [method, noun, verb].join(' ').trim();
    switch (operation) {
      case 'POST register':
        return this.#register(registerRequest.parse(body));
      case 'PUT inventory':
        this.inventory = inventoryRequest.parse(body);
        return {};
      case 'POST heartbeat':
        this.lastHeartbeat = heartbeatRequest.parse(body);
        return {};
      case 'GET assignments':
        return this.#awaitAssignments(url.searchParams);
      case 'POST commands result':
        this.commandResults.set(id, commandResult.parse(body));
        this.commands = this.commands.filter(({ commandId }) => commandId !== id);
        return {};
      case 'POST items uploads':
        return this.#grant(this.item(id), uploadRequest.parse(body).uploadId);
      case 'POST items baseStarted': {
        const { checkpointAt, scopes } = baseStartedRequest.parse(body);
        const double = this.item(id);
        const before = double.item.replication.checkpointAt;
        const wrong = checkScopes(double.item, scopes);
        if (wrong) throw conflictError(wrong);
        if (before !== undefined && before !== checkpointAt) {
          throw conflictError({ kind: 'baseRestarted', startedAt: before, announcedAt: checkpointAt });
        }
        double.scopes = scopes && readScopes(scopes);
        this.changeProgress(id, { checkpointAt });
        if (double.item.replication.phase === 'resynchronization') {
          for (const { diskId } of double.item.disks) this.#digestFurther(double, diskId);
        }
        return {};
      }
      case 'POST items digests':
        return this.#giveDigests(this.item(id), digestRequest.parse(body));
      case 'POST items segments':
        return this.#inTurn(this.item(id), (item) => this.#takeSegment(item, segmentRequest.parse(body)));
      case 'POST items cycles':
        return this.#inTurn(this.item(id), (item) => this.#takeCycle(item, cycleManifest.parse(body)));
      case 'POST items resyncRequired': {
        const { reason, message } = resyncRequiredRequest.parse(body);
        this.item(id).resyncRequired.push({ reason, message });
        this.changeProgress(id, { resyncRequired: { reason, message, at: this.now().toString() } });
        return {};
      }
      default:
        throw new Error(`no operation ${operation}`);
    }
  }

  #register(request: ReturnType<typeof registerRequest.parse>): unknown {
    if (request.secret !== this.#secret) throw new Error('another secret');
    if (this.#publicKey !== undefined && this.#publicKey !== request.publicKey) {
      throw new UnderstudyError({ code: 'US1106', message: 'used', recommendedAction: 'new key', httpStatus: 409 });
    }
    this.#publicKey = request.publicKey;
    this.inventory = request.inventory;
    return { relayId: 'relay-1', vaultId: 'vault', fabricName: 'fabric' };
  }

  async #awaitAssignments(query: URLSearchParams): Promise<unknown> {
    const until = Date.now() + Number(query.get('waitSeconds')) * 1000;
    while (query.get('version') === String(this.#version) && this.commands.length === 0 && Date.now() < until) {
      if (this.outage !== 'none') throw new Error('an outage began');
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    const assignments = [...this.items.values()].map(({ item, intervalSeconds }) =>
      assignmentOf(item, {
        createdAt: item.createdAt,
        name: 'double',
        replicationIntervalSeconds: intervalSeconds,
        appConsistentFrequencyHours: 0,
      } as StoredPolicy),
    );
    return { version: String(this.#version), assignments, commands: this.commands };
  }

  async #grant(item: DoubleItem, uploadId = randomBytes(16).toString('hex')): Promise<unknown> {
    const blobName = item.blobNames.get(uploadId) ?? `${item.item.protectionId}/${uploadId}`;
    item.blobNames.set(uploadId, blobName);
    const expiresOn = new Date(Date.now() + 15 * 60_000);
    const url = await this.#blob(blobName).generateSasUrl({ permissions: BlobSASPermissions.parse('cw'), expiresOn });
    return { uploadId, url, expiresAt: expiresOn.toISOString() };
  }

  async #giveDigests(double: DoubleItem, request: z.output<typeof digestRequest>): Promise<unknown> {
    const region = digestedRegion(double.item, request);
    const table = await double.replica.chunkTable(region, double.scopes?.get(region.diskId));
    const blob = this.#blob(`${region.protectionId}/digests-${region.epoch}-${region.diskId}-${region.fromBytes}`);
    const file = encodeDigestFile(region, table);
    await blob.upload(file, file.length);
    const expiresOn = new Date(Date.now() + 15 * 60_000);
    const url = await blob.generateSasUrl({ permissions: BlobSASPermissions.parse('r'), expiresOn });
    return { url, expiresAt: expiresOn.toISOString() };
  }

  #inTurn(item: DoubleItem, work: (item: DoubleItem) => Promise<unknown>): Promise<unknown> {
    const turn = item.queue.then(() => work(item));
    item.queue = turn.catch(() => undefined);
    return turn;
  }

  async #takeSegment(double: DoubleItem, segment: SegmentAnnouncement): Promise<unknown> {
    const key = `${segment.diskId}/${segment.fromBytes}`;
    const stored = double.segments.get(key);
    const acceptance = acceptSegment(double.item, stored && { announcement: stored }, segment);
    if (acceptance.kind === 'conflict') throw conflictError(acceptance.conflict);
    if (acceptance.kind === 'accepted') {
      if (segment.log) await double.replica.applySegment(segment, await this.#download(double, segment.log));
      double.segments.set(key, segment);
      const disks = acceptance.item.disks.map((disk) => ({
        ...disk,
        baseAppliedThroughBytes: disk.baseReceivedThroughBytes,
      }));
      double.item = { ...acceptance.item, disks };
      if (double.item.replication.phase === 'resynchronization') this.#digestFurther(double, segment.diskId);
      this.#version++;
    }
    const disk = double.item.disks.find(({ diskId }) => diskId === segment.diskId);
    return {
      receivedThroughBytes: disk?.baseReceivedThroughBytes,
      appliedThroughBytes: disk?.baseAppliedThroughBytes,
    };
  }

  async #takeCycle(double: DoubleItem, manifest: CycleManifest): Promise<unknown> {
    const manifestDigest = createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
    const stored = double.cycles.get(manifest.cycle);
    const acceptance = acceptManifest(double.item, stored, manifest, manifestDigest, this.now().toString());
    if (acceptance.kind === 'conflict') throw conflictError(acceptance.conflict);
    if (acceptance.kind === 'accepted') {
      double.item = acceptance.item;
      double.cycles.set(manifest.cycle, { manifest, manifestDigest });
      await this.#applyCycles(double);
      this.#version++;
    }
    const { receivedCycle, appliedCycle } = double.item.replication;
    return { receivedCycle, appliedCycle };
  }

  /** Cycles are applied after the base is complete, in order. */
  async #applyCycles(double: DoubleItem): Promise<void> {
    if (double.item.replication.baseClosedByCycle === undefined) return;
    for (;;) {
      const { appliedCycle, receivedCycle } = double.item.replication;
      const next = double.cycles.get(appliedCycle + 1);
      if (next === undefined || appliedCycle >= receivedCycle) break;
      const logs = new Map<string, Buffer>();
      for (const { diskId, log } of next.manifest.disks) if (log) logs.set(diskId, await this.#download(double, log));
      await double.replica.applyCycle(next.manifest, logs);
      const { phase } = double.item.replication;
      this.changeProgress(double.item.itemId, {
        appliedCycle: next.manifest.cycle,
        phase: sendsBase(phase) ? 'delta' : phase,
        torn: false,
      });
    }
  }

  async #download(double: DoubleItem, log: TransferLogRef): Promise<Buffer> {
    const name = double.blobNames.get(log.uploadId);
    if (name === undefined) throw new Error(`upload ${log.uploadId} was never granted`);
    const blob = this.#blob(name);
    const { etag } = await blob.getProperties();
    if (etag !== log.etag) throw new Error(`ETag ${etag} of ${name}, ${log.etag} was announced`);
    return blob.downloadToBuffer();
  }

  #blob(name: string) {
    return this.#blobs.getContainerClient(container).getBlockBlobClient(name);
  }
}

const container = 'relay-double';

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
