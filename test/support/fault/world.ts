import { enterMachine, leaveMachine } from './simulated-machine.js';
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Temporal } from 'temporal-polyfill';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { jobKinds, type Job } from '../../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../../../core/domain/recovery-point/recovery-point.js';
import { writeTransferLog } from '../../../core/dataplane/transfer-log/writer.js';
import { asItemId, asVaultId, type ItemId } from '../../../core/domain/ids.js';
import type { BlobTransfer } from '../../../core/ports/blob-transfer.js';
import type { Clock } from '../../../core/ports/clock.js';
import type { HypervisorHost } from '../../../core/ports/hypervisor-host.js';
import type { RowOperation } from '../../../core/ports/state-table.js';
import { list, read } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { MemoryStore } from '../../../devhost/engine/memory-store.js';
import type { ApiRequest, ApiResponse } from '../../../functions/http/exchange.js';
import type { SiteOperation, SiteRequest, SiteResponse, VmListing } from '../../../providers/simulated-site/api.js';
import { openSimulatedSite } from '../../../providers/simulated-site/client.js';
import { siteUnreachable } from '../../../providers/simulated-site/errors.js';
import { sitePaths } from '../../../providers/simulated-site/site-file.js';
import type { RegisteredIdentity } from '../../../relay/identity.js';
import { registerRelay } from '../../../relay/register.js';
import { InMemoryBlobTransfer } from '../in-memory/blob-transfer.js';
import { InMemoryCloudCompute } from '../in-memory/cloud-compute.js';
import { InMemoryCloudInventory } from '../in-memory/cloud-inventory.js';
import { InMemoryReplicaStore } from '../in-memory/replica-store.js';
import { InMemoryStateTable } from '../in-memory/state-table.js';
import { InMemoryTransferStore } from '../in-memory/transfer-store.js';
import { AppProcess, type CloudStores } from './app-process.js';
import { GuestWrites } from './guest-writes.js';
import { SourceImages } from './images.js';
import { Life } from './life.js';
import { Line, Storage } from './line.js';
import { NetworkOfRelay } from './network.js';
import { SeededRandom } from './random.js';
import { RelayProcess } from './relay-process.js';
import { SiteProcess } from './site-process.js';
import { VirtualTime } from './virtual-time.js';

export const vaultPath =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.RecoveryServices/vaults/local';
const vaultId = asVaultId(vaultPath.toLowerCase());
const accountId =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.Storage/storageAccounts/replicas';
const networkId =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.Network/virtualNetworks/prod';
const mebibyte = 1024 * 1024;
const startMs = Date.UTC(2026, 0, 5, 8);
/** Small, so that a log of some kilobytes travels in several requests. */
const blockBytesMax = 4 * 1024;
/** A block that is slow at all takes this long at least. */
const blockSecondsMin = 20;
/** Generation 2 with Linux: the prerequisites refuse it. */
const unprotectable = 'app-01';
const checkGuid = '00000000-0000-4000-8000-000000000001';
const logLinesMax = 4000;

export interface WorldOptions {
  seed: number;
  vmCount: number;
  diskMebibytes: number;
  replicationIntervalSeconds: 30 | 300 | 900;
  /** Mean time between two writes of one guest. */
  guestPauseSeconds: number;
  /** When items that must be resynchronized are: at once, or in the window that a vault has by default. */
  resyncMode: 'immediate' | 'window';
}

/** One protected VM as the world sees it. */
export interface WorldVm {
  listing: VmListing;
  guest: GuestWrites;
  images: SourceImages;
}

/**
 * A whole Understudy in one process: the real site, relay, doors, workflows and activities, each a life that can be killed
 * and started anew, over stores that outlive them. Time moves to the next timer when nothing else goes on.
 */
export class FaultWorld {
  readonly time = new VirtualTime(startMs);
  readonly random: SeededRandom;
  readonly line: Line;
  /** The storage service as the app meets it, and as the relay's uploads meet it. */
  readonly storage: Storage;
  readonly uploads: Storage;
  readonly table = new InMemoryStateTable();
  readonly transfers = new InMemoryTransferStore();
  readonly replicas = new InMemoryReplicaStore({ copiesFromSnapshotsAreIndependent: true });
  readonly compute = new InMemoryCloudCompute(this.replicas);
  readonly log: string[] = [];
  /** How far clocks are off. */
  readonly skew = { relayMs: 0, siteMs: 0, signatureMs: 0 };
  relayDiskIsFull = false;
  /** Part of the activities that run once more, at once or later. */
  activityAgainShare = 0;
  /** Part of the app's transactions that find a row changed by another. */
  rowChangedShare = 0;
  /** Longest time that a block takes to storage. */
  blockSeconds = 0;
  /** So many uploads to come are damaged once they lie in storage. */
  damageNextUploads = 0;
  /** What the faults did so far, for the table of outcomes. */
  readonly effects: Record<string, number> = {};
  /** Each time that an item was marked for resynchronization: why. */
  readonly resyncReasons: { vmName: string; reason: string; message: string }[] = [];
  readonly #markedFor = new Map<string, string>();
  /** What went wrong in the harness itself. */
  readonly failures: unknown[] = [];
  readonly vms: WorldVm[] = [];
  readonly root: string;
  #site: SiteProcess | undefined;
  #app: AppProcess | undefined;
  #relay: RelayProcess | undefined;
  #identity: RegisteredIdentity | undefined;
  readonly #lives = new Map<number, Life>();
  readonly #againRandom: SeededRandom;
  readonly #rowRandom: SeededRandom;
  readonly #stores: CloudStores;
  readonly #network: NetworkOfRelay;
  readonly #base = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'understudy-fault-'));

  private constructor(readonly options: WorldOptions) {
    process.once('exit', this.#removeFolder);
    this.random = new SeededRandom(options.seed);
    const count = (effect: string) => this.count(effect);
    this.line = new Line(this.time, this.random.stream('line'), count);
    this.storage = new Storage(this.time, this.random.stream('storage'), count);
    this.uploads = new Storage(this.time, this.random.stream('uploads'), count);
    this.#againRandom = this.random.stream('activities again');
    this.#rowRandom = this.random.stream('rows changed');
    this.root = this.#base;
    this.#stores = {
      table: this.table,
      transfers: this.transfers,
      replicas: this.replicas,
      compute: this.compute,
      clock: this.#clock(() => 0),
      cloudInventory: new InMemoryCloudInventory(
        [
          {
            armId: accountId,
            name: 'replicas',
            kind: 'standard',
            blobEndpoint: 'http://127.0.0.1:1/replicas',
            credential: { kind: 'managedIdentity' },
          },
        ],
        [{ armId: networkId, name: 'prod', subnets: [{ name: 'default', addressPrefix: '10.0.0.0/24' }] }],
      ),
      hub: new MemoryStore(),
      webhooks: { faultOf: () => undefined, post: () => Promise.reject(new Error('no scene calls a runbook')) },
    };
    this.#network = new NetworkOfRelay({
      time: this.time,
      line: this.line,
      table: this.table,
      life: (id) => this.#lives.get(id),
      app: () => this.#app,
      identity: () => this.#identity,
    });
    const tellNetwork = this.table.onChange;
    this.table.onChange = (operations) => {
      tellNetwork?.(operations);
      for (const operation of operations) this.#watchMarks(operation);
    };
  }

  #watchMarks(operation: RowOperation): void {
    if (!operation.rowKey.startsWith('item!') || operation.kind === 'delete') return;
    const { vmName, replication } = operation.value as ProtectedItem;
    const { reason, message, at } = replication.resyncRequired ?? {};
    const mark = `${reason} ${at}`;
    if (this.#markedFor.get(vmName) === mark) return;
    this.#markedFor.set(vmName, mark);
    if (reason === undefined || message === undefined) return;
    this.resyncReasons.push({ vmName, reason, message });
    this.note(`${vmName} is marked for resynchronization: ${reason}, ${message}`);
  }

  /** Runs `scene` in a world of its own, which is gone afterwards. One at a time in a process. */
  static async run<T>(options: WorldOptions, scene: (world: FaultWorld) => Promise<T>): Promise<T> {
    const world = new FaultWorld(options);
    enterMachine({
      seed: options.seed,
      time: world.time,
      disk: {
        root: world.root,
        life: (id) => world.#lives.get(id),
        refuseWrite: (life, path) => world.#refuseWrite(life, path),
      },
      fetch: (url, init) => world.#network.fetch(url, init),
    });
    try {
      await world.#begin();
      return await scene(world);
    } finally {
      for (const life of world.#lives.values()) life.kill();
      world.#relay?.kill();
      world.#app?.kill();
      await world.#runOut();
      leaveMachine();
      process.off('exit', world.#removeFolder);
      world.#removeFolder();
    }
  }

  /** The pauses of the dead come to their ends: one that is left holds its world in memory (AbortSignal.any). */
  async #runOut(): Promise<void> {
    this.#isOver = true;
    const untilMs = this.time.now() + 4 * 3_600_000;
    await this.advanceTo(untilMs);
  }
  #isOver = false;

  readonly #removeFolder = (): void => {
    rmSync(this.#base, { recursive: true, force: true });
  };

  // ---- time ----

  /** Lets business time reach the instant; work is never cut short by it. */
  async advanceTo(untilMs: number): Promise<void> {
    for (;;) {
      await this.time.settle();
      const next = this.time.nextMs;
      if (next === undefined || next > untilMs) break;
      this.time.runNext();
    }
    this.time.advanceTo(untilMs);
  }

  advance(seconds: number): Promise<void> {
    return this.advanceTo(this.time.now() + seconds * 1000);
  }

  /** Looks every `lookSeconds` until it holds; false when it does not within the time. */
  async until(holds: () => Promise<boolean>, withinSeconds: number, lookSeconds = 30): Promise<boolean> {
    const endMs = this.time.now() + withinSeconds * 1000;
    while (!(await holds())) {
      if (this.time.now() >= endMs) return false;
      await this.advance(lookSeconds);
    }
    return true;
  }

  /** A call whose work goes on in business time. */
  async during<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const watched = work.finally(() => (settled = true));
    watched.catch(() => undefined);
    for (;;) {
      await this.time.settle();
      if (settled) return watched;
      assert(this.time.nextMs !== undefined, 'nothing goes on any more, and the work has not ended');
      this.time.runNext();
    }
  }

  /** The stand-ins keep every call's name, which adds up over a long time. */
  forgetCalls(): void {
    for (const { faults } of [this.table, this.transfers, this.replicas]) faults.calls.length = 0;
  }

  count(effect: string): void {
    this.effects[effect] = (this.effects[effect] ?? 0) + 1;
  }

  fail(error: unknown): void {
    this.failures.push(error);
    this.note(`HARNESS: ${error instanceof Error ? error.stack : String(error)}`);
  }

  note(line: string): void {
    if (this.log.length >= logLinesMax) this.log.shift();
    this.log.push(`${new Date(this.time.now()).toISOString().slice(5, 19)} ${line}`);
  }

  // ---- processes ----

  get relay(): RelayProcess | undefined {
    return this.#relay;
  }
  get app(): AppProcess | undefined {
    return this.#app;
  }
  get site(): SiteProcess | undefined {
    return this.#site;
  }

  async startSite(): Promise<void> {
    const { vmCount, diskMebibytes } = this.options;
    const site = new SiteProcess({
      folderOf: (life) => this.#folder('site', life),
      clock: this.#clock(() => this.skew.siteMs),
      // One that is never protected comes with every seeded site.
      seed: { vmCount: vmCount + (vmCount > 2 ? 1 : 0), diskSizeBytes: diskMebibytes * mebibyte, fillFraction: 0.5 },
    });
    this.#lives.set(site.life.id, site.life);
    this.#site = site;
    site.life.onDeath(() => this.#died('site'));
    await site.start();
    this.note('site runs');
  }

  async startApp(): Promise<void> {
    const app = new AppProcess({
      time: this.time,
      clock: this.#stores.clock,
      stores: this.#stores,
      storage: this.storage,
      beforeTransact: ([partition, operations]) =>
        this.#changeRow(partition as string, operations as readonly RowOperation[]),
      skewMs: () => this.skew.signatureMs,
      again: (request, run) => this.#runAgain(request.functionName, run),
      log: (message) => this.note(message),
    });
    this.#lives.set(app.life.id, app.life);
    app.life.onDeath(() => this.#died('app'));
    this.#app = app;
    await app.start();
    this.note('app runs');
  }

  startRelay(): void {
    assert(this.#identity, 'the relay is not registered');
    const life = this.#newLife('relay');
    life.onDeath(() => this.#died('relay'));
    const relay = new RelayProcess(life, {
      identity: this.#identity,
      endpoint: this.#network.endpointOf(life),
      host: this.#hostAs(life),
      blobs: this.#blobs(),
      clock: this.#clock(() => this.skew.relayMs),
      dataFolder: this.#folder('relay', life),
      line: this.line,
      log: (line) => this.note(`relay: ${relayLine(line)}`),
    });
    this.#relay = relay;
    relay.start();
    this.note('relay runs');
  }

  /** An order to the site, from whoever stands beside it. */
  async callSite<Name extends SiteOperation>(name: Name, request: SiteRequest<Name>): Promise<SiteResponse<Name>> {
    if (this.#site === undefined) throw siteUnreachable('site');
    return this.#site.call(name, request);
  }

  #died(name: string): void {
    this.count(`${name} killed`);
    this.note(`${name} is dead`);
  }

  #newLife(name: string): Life {
    const life = new Life(name);
    this.#lives.set(life.id, life);
    return life;
  }

  #folder(name: string, life: Life): string {
    return join(this.root, `${name}~${life.id}`);
  }

  #hostAs(life: Life): HypervisorHost {
    return openSimulatedSite({
      siteFolder: this.#folder('site', life),
      connection: { call: (name, request) => this.callSite(name, request) },
    });
  }

  #blobs(): BlobTransfer {
    const random = this.random.stream('blobs');
    const blobs = new InMemoryBlobTransfer(this.transfers, {
      blockBytesMax,
      request: async (effect) => {
        if (this.blockSeconds > 0) await this.time.sleep(random.between(blockSecondsMin, this.blockSeconds) * 1000);
        return this.line
          .exchange(() => this.uploads.call('upload', effect))
          .catch((error: unknown) => {
            throw unreachableStorage(error);
          });
      },
    });
    return {
      upload: async (options) => {
        const renew = () => {
          this.count('SAS renewed');
          return options.renew();
        };
        const uploaded = await blobs.upload({ ...options, renew });
        if (this.damageNextUploads > 0) this.#damage(options.url, random);
        return uploaded;
      },
      readRange: (url, offsetBytes, lengthBytes, signal) =>
        this.replicas.isGrant(url)
          ? this.line.exchange(() =>
              this.uploads.call('readRange', () => this.replicas.readGranted(url, offsetBytes, lengthBytes)),
            )
          : blobs.readRange(url, offsetBytes, lengthBytes, signal),
    };
  }

  #damage(url: string, random: SeededRandom): void {
    const data = this.transfers.contentAt(url);
    if (data === undefined || data.length === 0) return;
    this.damageNextUploads--;
    this.count('blobs damaged');
    const at = random.below(data.length);
    data[at] = (data[at] ?? 0) ^ (1 << random.below(8));
    this.note(`byte ${at} of ${data.length} damaged in ${new URL(url).pathname.slice(-100)}`);
  }

  /** What a heartbeat, or another instance of the app, does to a row between our read and our write. */
  async #changeRow(partition: string, operations: readonly RowOperation[]): Promise<void> {
    if (!this.#rowRandom.chance(this.rowChangedShare)) return;
    const replaced = operations.filter(({ kind }) => kind === 'replace');
    if (replaced.length === 0) return;
    const { rowKey } = this.#rowRandom.pick(replaced);
    const row = await this.table.get(partition, rowKey);
    if (row === undefined) return;
    this.count('rows changed by another');
    await this.table.transact(partition, [{ kind: 'replace', rowKey, etag: row.etag, value: row.value }]);
  }

  #clock(skewMs: () => number): Clock {
    const { time } = this;
    return {
      now: async () => Temporal.Instant.fromEpochMilliseconds(time.now() + skewMs()),
      waitUntil: (instant, signal) =>
        new Promise((resolve, reject) => {
          const due = () => instant.epochMilliseconds - skewMs();
          let cancel = (): void => undefined;
          const look = () => {
            // A clock that was put right meanwhile moves the instant.
            if (due() > time.now()) cancel = time.schedule(Math.min(due(), time.now() + clockLookMs), look);
            else {
              signal?.removeEventListener('abort', giveUp);
              resolve();
            }
          };
          const giveUp = () => {
            cancel();
            reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
          };
          if (signal?.aborted) return giveUp();
          signal?.addEventListener('abort', giveUp, { once: true });
          look();
        }),
    };
  }

  #refuseWrite(life: Life, path: string): void {
    if (!this.relayDiskIsFull || life.name !== 'relay' || !path.includes('/relay')) return;
    this.count('writes refused by a full disk');
    throw Object.assign(new Error(`ENOSPC: no space left on device, write '${path}'`), { code: 'ENOSPC' });
  }

  #runAgain(name: string, run: () => Promise<unknown>): void {
    const random = this.#againRandom;
    if (!random.chance(this.activityAgainShare)) return;
    this.count('activities run again');
    const delayMs = random.chance(0.3) ? 0 : random.between(1, 900) * 1000;
    this.time.schedule(this.time.now() + delayMs, () => {
      run().catch((error: unknown) => this.note(`${name} run again: ${String(error)}`));
    });
  }

  // ---- the operator ----

  async arm(method: string, path: string, body?: unknown): Promise<ApiResponse> {
    assert(this.#app, 'no app runs');
    const full = path.startsWith('/understudy') ? path : `${vaultPath}${path}?api-version=2023-08-01`;
    const request: ApiRequest = {
      method,
      url: new URL(full, 'http://127.0.0.1:7071'),
      headers: new Map([['host', '127.0.0.1:7071']]),
      body: Buffer.from(body === undefined ? '' : JSON.stringify(body)),
    };
    return this.during(this.#app.arm(request));
  }

  async #ordered(method: string, path: string, body?: unknown): Promise<ApiResponse> {
    const answer = await this.arm(method, path, body);
    assert(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer;
  }

  /** Whoever imports the product before the simulated machine has its compression on other threads, which no seed orders. */
  async #checkMachine(): Promise<void> {
    let isWritten = false;
    const header = { kind: 'delta', protectionId: checkGuid, diskId: checkGuid, epoch: 1, cycle: 1 } as const;
    const log = writeTransferLog(
      { ...header, diskSizeBytes: mebibyte, fromBytes: 0, toBytes: mebibyte },
      (async function* () {
        yield { kind: 'data', offsetBytes: 0, data: Buffer.alloc(mebibyte / 2, 'check') } as const;
      })(),
    );
    void (async () => {
      for await (const _ of log.bytes);
      isWritten = true;
    })();
    await this.time.settle();
    assert(isWritten, 'import test/support/fault/simulated-machine.js before any module of the product');
  }

  async #begin(): Promise<void> {
    await this.#checkMachine();
    mkdirSync(join(this.#base, 'relay'));
    await this.during(this.startSite());
    await this.during(this.startApp());
    await this.#ordered('PUT', '', { location: 'local' });
    const { body } = await this.#ordered('POST', '/understudy/v1/registrationKeys', { vaultId: vaultPath });
    const life = this.#newLife('registration');
    const keyText = this.#network.keyFor(life, (body as { registrationKey: string }).registrationKey);
    this.#identity = await this.during(
      registerRelay({
        keyFile: 'key.txt',
        keyText,
        identityFile: join(this.#folder('relay', life), 'identity.json'),
        host: this.#hostAs(life),
        replace: false,
      }),
    );
    const { vms } = await this.during(this.callSite('list', {}));
    for (const listing of vms.filter(({ name }) => name !== unprotectable)) {
      const folder = sitePaths.journalFolder(join(this.root, 'site'), listing.name);
      const guest = new GuestWrites(listing, this.random.stream(`guest ${listing.name}`), (name, request) =>
        this.callSite(name, request),
      );
      const names = listing.disks.map(({ name }) => name);
      this.vms.push({ listing, guest, images: new SourceImages(folder, names) });
    }
    this.startRelay();
  }

  /** Policy, mapping, and an item for each VM; resolves when the orders are taken. */
  async protectAll(): Promise<void> {
    assert(this.#identity);
    const { fabricName } = this.#identity.registered;
    const fabric = await read(this.table, rows.fabric(vaultId, fabricName));
    const cloudId = fabric?.value.inventory.clouds[0]?.cloudId;
    assert(cloudId);
    await this.#ordered('PUT', '/replicationPolicies/default', {
      properties: {
        providerSpecificInput: {
          instanceType: 'HyperVReplicaAzure',
          replicationInterval: this.options.replicationIntervalSeconds,
          recoveryPointHistoryDuration: 2,
          applicationConsistentSnapshotFrequencyInHours: 1,
          storageAccounts: [accountId],
        },
      },
    });
    if (this.options.resyncMode === 'immediate') {
      const settings = `/understudy/v1/replicationSettings?vaultId=${encodeURIComponent(vaultPath)}`;
      await this.#ordered('PUT', settings, { resync: { mode: 'immediate', atOnceMax: 10 } });
    }
    await this.advance(10);
    const container = `/replicationFabrics/${fabricName}/replicationProtectionContainers/${cloudId}`;
    const policyId = `${vaultPath}/replicationPolicies/default`;
    await this.#ordered('PUT', `${container}/replicationProtectionContainerMappings/default`, {
      properties: { policyId, targetProtectionContainerId: 'Microsoft Azure' },
    });
    await this.advance(10);
    for (const { listing } of this.vms) {
      await this.#ordered('PUT', `${container}/replicationProtectedItems/${listing.vmId}`, {
        properties: {
          policyId,
          protectableItemId: `${vaultPath}${container}/replicationProtectableItems/${listing.vmId}`,
          providerSpecificDetails: {
            instanceType: 'HyperVReplicaAzure',
            hvHostVmId: listing.vmId,
            vmName: listing.name,
            osType: 'Windows',
            targetAzureVmName: listing.name,
            targetStorageAccountId: accountId,
            targetAzureNetworkId: networkId,
            useManagedDisks: 'false',
          },
        },
      });
    }
  }

  /** From here on the guests write, each at its own pace, for as long as the world lasts. */
  startGuests(): void {
    for (const { guest, listing } of this.vms) {
      const random = this.random.stream(`pace ${listing.name}`);
      const again = (): void => {
        const pauseMs = random.between(1, 2 * this.options.guestPauseSeconds * 1000);
        this.time.schedule(this.time.now() + pauseMs, () => {
          if (!this.#isOver) void guest.writeOnce().then(again);
        });
      };
      again();
    }
  }

  // ---- what the rows say ----

  async items(): Promise<ProtectedItem[]> {
    return (await list(this.table, rows.items(vaultId))).map(({ value }) => value);
  }

  async points(itemId: ItemId | string): Promise<RecoveryPoint[]> {
    return (await list(this.table, rows.points(vaultId, asItemId(itemId)))).map(({ value }) => value);
  }

  async resyncJobs(): Promise<Job[]> {
    const jobs = await list(this.table, rows.jobs(vaultId));
    return jobs
      .map(({ value }) => value)
      .filter(({ scenarioName }) => scenarioName === jobKinds.resynchronize.scenarioName);
  }

  vmOf(item: ProtectedItem): WorldVm {
    const vm = this.vms.find(({ listing }) => listing.vmId === item.vmId);
    assert(vm, `no VM ${item.vmName}`);
    return vm;
  }

  readonly startedMs = startMs;
  readonly vaultId = vaultId;
  readonly accountId = accountId;
}

/** How often a wait looks at a clock that may be put right. */
const clockLookMs = 600_000;

function relayLine(text: string): string {
  const { level, msg, vm } = JSON.parse(text) as { level: number; msg: string; vm?: string };
  return `${level >= 40 ? '! ' : ''}${vm === undefined ? '' : `${vm}: `}${msg}`;
}

function unreachableStorage(error: unknown): Error {
  if (error instanceof UnderstudyError) return error;
  return new UnderstudyError({
    code: 'US6020',
    message: `US6020 uploading: the storage service gave no answer: ${String(error)}`,
    retry: 'later',
    recommendedAction: 'Nothing at once: it is tried again.',
    cause: error,
  });
}
