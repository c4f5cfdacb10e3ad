import { createHash, generateKeyPairSync, randomBytes, randomUUID, sign, type KeyObject } from 'node:crypto';
import { Temporal } from 'temporal-polyfill';
import { operations } from '../../../functions/arm/operations.js';
import { Router } from '../../../functions/arm/router.js';
import type { AppInvocation } from '../../../functions/app.js';
import { loopbackAuthenticator } from '../../../functions/http/authentication.js';
import type { ApiRequest, ApiResponse } from '../../../functions/http/exchange.js';
import { AssignmentChanges } from '../../../functions/relay-api/assignment-changes.js';
import { assignmentDigest } from '../../../functions/relay-api/assignments.js';
import { RelayRouter } from '../../../functions/relay-api/relay-router.js';
import { relayProtocolVersion, textToSign } from '../../../core/domain/relay-protocol/wire.js';
import type { SiteInventory } from '../../../core/domain/site/inventory.js';
import { asVaultId } from '../../../core/domain/ids.js';
import type { Job } from '../../../core/domain/jobs/job.js';
import { list } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { UnderstudyError } from '../../../core/domain/errors.js';
import type { CloudCompute } from '../../../core/ports/cloud-compute.js';
import type { ReplicaStore } from '../../../core/ports/replica-store.js';
import type { TransferStore } from '../../../core/ports/transfer-store.js';
import { openWebhooks } from '../../../providers/webhooks/webhooks.js';
import { InMemoryStateTable } from '../in-memory/state-table.js';

export const vaultPath =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.RecoveryServices/vaults/local';
export const replicasAccount =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.Storage/storageAccounts/replicas';
export const premiumAccount = replicasAccount.replace('replicas', 'premium');

/** What stands behind the doors in unit tests; every call of a method that no test needs fails. */
const unused = <T extends object>(name: string): T =>
  new Proxy({} as T, {
    get: (_target, method) => () => {
      throw new Error(`${name}.${String(method)} is not there in this test`);
    },
  });

export class Harness {
  readonly assignmentChanges = new AssignmentChanges(assignmentDigest);
  /** What every instance of the app shares; writes through it are those of another instance. */
  readonly sharedTable = new InMemoryStateTable();
  readonly table = this.assignmentChanges.observed(this.sharedTable);
  readonly started: { orchestrator: string; instanceId: string; input: object }[] = [];
  readonly rung: string[] = [];
  readonly waitsEnded: string[] = [];
  readonly logged: string[] = [];
  /** Announced blobs: name → what lies there. */
  readonly uploaded = new Map<string, { etag: string; lengthBytes: number }>();
  now = Temporal.Instant.from('2026-01-05T10:00:00Z');
  systemNow = Temporal.Instant.from('2026-01-05T10:00:00Z');
  startFails = false;

  readonly app: AppInvocation = {
    table: this.table,
    clock: {
      now: async () => this.now,
      waitUntil: async () => {
        throw new Error('no test waits');
      },
    },
    systemNow: () => this.systemNow,
    cloudInventory: {
      storageAccount: async (armId) => {
        const name = armId.split('/').at(-1) ?? '';
        if (name !== 'replicas' && name !== 'premium') {
          throw new UnderstudyError({ code: 'US6010', message: `no account ${armId}`, recommendedAction: '' });
        }
        return {
          armId,
          name,
          kind: name === 'premium' ? 'premium' : 'standard',
          blobEndpoint: 'http://127.0.0.1:1/replicas',
          credential: { kind: 'managedIdentity' },
        };
      },
      network: async (armId) => {
        throw new UnderstudyError({ code: 'US6011', message: `no network ${armId}`, recommendedAction: '' });
      },
      storageAccounts: async () => [],
      networks: async () => [],
    },
    transfers: {
      ...unused<TransferStore>('TransferStore'),
      grantUpload: async (_account, blobName) => ({
        url: `http://127.0.0.1:1/${blobName}?sig=x`,
        expiresAt: this.systemNow.add({ minutes: 15 }).toString(),
      }),
      grantRead: async (_account, blobName) => ({
        url: `http://127.0.0.1:1/${blobName}?sig=x`,
        expiresAt: this.systemNow.add({ minutes: 15 }).toString(),
      }),
      stat: async (_account, blobName) => this.uploaded.get(blobName),
    },
    compute: { ...unused<CloudCompute>('CloudCompute'), capabilities: { runsWithoutNetwork: true } },
    webhooks: openWebhooks({ allowLoopback: true }),
    replicas: {
      ...unused<ReplicaStore>('ReplicaStore'),
      grantRead: async (blob, snapshotId) => ({
        url: `http://127.0.0.1:1/${blob.blobName}?snapshot=${encodeURIComponent(snapshotId ?? '')}&sig=x`,
        expiresAt: this.systemNow.add({ minutes: 15 }).toString(),
      }),
    },
    assignmentChanges: this.assignmentChanges,
    authenticator: loopbackAuthenticator,
    retryAfterSeconds: 1,
    log: (message) => this.logged.push(message),
    workflows: {
      startNew: async (orchestrator, instanceId, input) => {
        if (this.startFails) throw new Error('the engine is away');
        this.started.push({ orchestrator, instanceId, input });
      },
      ensure: async (orchestrator, instanceId, input) => {
        if (this.started.some((instance) => instance.instanceId === instanceId)) return false;
        this.started.push({ orchestrator, instanceId, input });
        return true;
      },
      ring: async (instanceId) => {
        this.rung.push(instanceId);
        return this.started.some((instance) => instance.instanceId === instanceId);
      },
      resume: async (instanceId) => {
        this.waitsEnded.push(instanceId);
      },
    },
  };

  private readonly router = new Router(operations);
  private readonly relayRouter = new RelayRouter();

  request(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): ApiRequest {
    const text = typeof body === 'string' ? body : body === undefined ? '' : JSON.stringify(body);
    return {
      method,
      url: new URL(path, 'http://127.0.0.1:7071'),
      headers: new Map(Object.entries({ host: '127.0.0.1:7071', ...headers })),
      body: Buffer.from(text),
    };
  }

  /** A call of the ARM surface; adds an api-version unless the path has a query. */
  arm(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<ApiResponse> {
    const full = path.includes('?') ? path : `${path}?api-version=2023-08-01`;
    return this.router.answer(this.app, this.request(method, full, body, headers));
  }

  relay(request: ApiRequest): Promise<ApiResponse> {
    return this.relayRouter.answer(this.app, request);
  }

  /** All rows of all partitions, as one text. */
  content(): string {
    const text = (map: Map<unknown, unknown>): string =>
      JSON.stringify([...map].map(([key, value]) => [key, value instanceof Map ? text(value) : value]));
    return JSON.stringify(Object.values(this.sharedTable).map((value) => (value instanceof Map ? text(value) : '')));
  }

  /** Jobs of the vault but for those of registrations, with which each begins; oldest first. */
  async jobs(): Promise<Job[]> {
    const jobs = await list(this.table, rows.jobs(asVaultId(vaultPath)));
    return jobs.map(({ value }) => value).filter(({ scenarioName }) => scenarioName !== 'RegisterDra');
  }

  async putVault(): Promise<void> {
    await this.arm('PUT', vaultPath, { location: 'local' });
  }

  async drawKey(
    path = vaultPath,
    siteName?: string,
  ): Promise<{ secret: string; endpoint: string; vaultId: string; expiresAt: string }> {
    const answer = await this.arm('POST', '/understudy/v1/registrationKeys', {
      vaultId: path,
      siteName,
    });
    const { registrationKey } = answer.body as { registrationKey: string };
    return JSON.parse(Buffer.from(registrationKey, 'base64url').toString('utf8')) as {
      secret: string;
      endpoint: string;
      vaultId: string;
      expiresAt: string;
    };
  }

  /** A vault with a registered relay. */
  async registeredRelay(inventory = sampleInventory()): Promise<TestRelay> {
    await this.putVault();
    const relay = new TestRelay(this, inventory);
    await relay.register((await this.drawKey()).secret);
    return relay;
  }
}

/** A relay as seen from the wire: a key pair, and requests signed with it. */
export class TestRelay {
  private readonly keys = generateKeyPairSync('ed25519');
  relayId = '';
  fabricName = '';

  constructor(
    private readonly harness: Harness,
    readonly inventory: SiteInventory = sampleInventory(),
  ) {}

  get publicKey(): string {
    return this.keys.publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
  }

  async register(secret: string, headers: Record<string, string> = {}): Promise<ApiResponse> {
    const answer = await this.harness.relay(
      this.harness.request(
        'POST',
        '/relay/v1/register',
        {
          protocolVersion: relayProtocolVersion,
          secret,
          publicKey: this.publicKey,
          relayVersion: '0.1.0',
          machineName: 'vmm-01',
          inventory: this.inventory,
        },
        headers,
      ),
    );
    if (answer.status === 200) {
      const body = answer.body as { relayId: string; fabricName: string };
      this.relayId = body.relayId;
      this.fabricName = body.fabricName;
    }
    return answer;
  }

  signed(
    method: string,
    target: string,
    body?: unknown,
    changes: { date?: string; nonce?: string; key?: KeyObject } = {},
  ): ApiRequest {
    const request = this.harness.request(method, target, body);
    const date = changes.date ?? this.harness.systemNow.toString();
    const nonce = changes.nonce ?? randomBytes(16).toString('hex');
    const text = textToSign({
      method,
      target: request.url.pathname + request.url.search,
      date,
      nonce,
      bodySha256Hex: createHash('sha256').update(request.body).digest('hex'),
    });
    return {
      ...request,
      headers: new Map([
        ...request.headers,
        ['x-understudy-relay', this.relayId],
        ['x-understudy-date', date],
        ['x-understudy-nonce', nonce],
        [
          'x-understudy-signature',
          sign(null, Buffer.from(text), changes.key ?? this.keys.privateKey).toString('base64'),
        ],
      ]),
    };
  }

  call(method: string, target: string, body?: unknown): Promise<ApiResponse> {
    return this.harness.relay(this.signed(method, target, body));
  }
}

const gibibyte = 1024 ** 3;

export function sampleInventory(): SiteInventory {
  const cloudId = 'c10d0000-0000-4000-8000-000000000001';
  const hostId = '40570000-0000-4000-8000-000000000001';
  const networkId = 'e7000000-0000-4000-8000-000000000001';
  const vm = (number: number, name: string, diskCount: number): SiteInventory['vms'][number] => ({
    vmId: `50000000-0000-4000-8000-00000000000${number}`,
    name,
    cloudId,
    hostId,
    generation: 1,
    osType: 'Windows',
    osName: 'Windows Server 2019',
    architecture: 'x64',
    powerState: 'running',
    secureBoot: false,
    hasFibreChannelAdapter: false,
    cpuCount: 2,
    memoryMegabytes: 4096,
    disks: Array.from({ length: diskCount }, (_, index) => ({
      diskId: `d15c0000-0000-4000-8000-0000000000${number}${index}`,
      name: `${name}-${index}.vhdx`,
      sizeBytes: gibibyte,
      format: 'vhdx',
      kind: 'dynamic',
      logicalSectorBytes: 512,
      physicalSectorBytes: 4096,
      shared: false,
      isOsDisk: index === 0,
    })),
    nics: [
      {
        nicId: randomUUID(),
        macAddress: '00-15-5D-00-00-01',
        networkId,
        subnetName: 'servers',
        ipAddress: `10.0.0.${number}`,
      },
    ],
  });
  return {
    vmmServerId: '7e000000-0000-4000-8000-000000000001',
    vmmServerName: 'vmm-01',
    timeZone: 'Europe/Berlin',
    clouds: [{ cloudId, name: 'Production' }],
    hosts: [{ hostId, name: 'host-01', cloudId }],
    networks: [
      {
        networkId,
        name: 'production',
        logicalNetworkId: 'e8000000-0000-4000-8000-000000000001',
        logicalNetworkName: 'corp',
        subnets: [{ name: 'servers', addressPrefix: '10.0.0.0/24' }],
      },
    ],
    vms: [vm(1, 'sql-01', 2), vm(2, 'web-01', 1), vm(3, 'app-01', 1)],
  };
}
