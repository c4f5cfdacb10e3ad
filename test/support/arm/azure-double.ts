import { randomUUID } from 'node:crypto';
import type { PipelinePolicy } from '@azure/core-rest-pipeline';
import type { CloudCompute, CloudVmSpecification } from '../../../core/ports/cloud-compute.js';
import type { CloudStorageAccount } from '../../../core/ports/cloud-inventory.js';
import type { ReplicaStore } from '../../../core/ports/replica-store.js';
import { openArmClients, type ArmClients } from '../../../providers/azure-compute/arm-clients.js';
import { openAzureCompute } from '../../../providers/azure-compute/azure-compute.js';
import { InMemoryCloudInventory } from '../in-memory/cloud-inventory.js';
import { InMemoryReplicaStore } from '../in-memory/replica-store.js';
import { ArmResources } from './arm-resources.js';
import { ArmServer } from './arm-server.js';

export const account = {
  armId: '/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/replicas',
  name: 'replicas',
  kind: 'standard',
  blobEndpoint: 'https://replicas.blob.core.windows.net',
  location: 'westeurope',
  credential: { kind: 'managedIdentity' },
} as const;
const network = {
  armId: '/subscriptions/s/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/prod',
  name: 'prod',
  subnets: [
    { name: 'frontend', addressPrefix: '10.1.0.0/28' },
    { name: 'backend', addressPrefix: '10.1.1.0/28' },
  ],
};
const diskBytes = 1024 * 1024;

/** A process that dies when its last life is used up: after a call that took effect, nothing it asks for arrives. */
class Lives {
  used = 0;
  constructor(private readonly count: number) {}

  async spend<T>(call: () => Promise<T>): Promise<T> {
    this.check();
    const result = await call();
    this.used++;
    this.check();
    return result;
  }

  private check(): void {
    if (this.used >= this.count) throw new Error('the process is dead');
  }
}

/** Azure on loopback, and the provider on it with the unmodified SDKs. */
export class AzureDouble {
  readonly network = network;
  readonly storageAccountId = account.armId;

  private constructor(
    readonly replicas: InMemoryReplicaStore,
    readonly resources: ArmResources,
    readonly server: ArmServer,
  ) {}

  static async open(): Promise<AzureDouble> {
    const replicas = new InMemoryReplicaStore();
    const resources = new ArmResources({ replicas, accounts: [account], networks: [network] });
    return new AzureDouble(replicas, resources, await ArmServer.start(resources));
  }

  /** A process that uses Azure; `lives` counts its calls to Azure and to the store. */
  compute(options: { lives?: number; waitMilliseconds?: number; accounts?: CloudStorageAccount[] } = {}): {
    compute: CloudCompute;
    lives: Lives;
  } {
    const lives = new Lives(options.lives ?? Number.POSITIVE_INFINITY);
    const compute = openAzureCompute({
      inventory: new InMemoryCloudInventory(options.accounts ?? [account], [network]),
      replicas: mortal(this.replicas, lives),
      clients: clientsOn(this.server.origin, lives),
      limits: { waitMilliseconds: options.waitMilliseconds ?? 10_000, pollMilliseconds: 1 },
    });
    return { compute, lives };
  }

  /** With its two disks' blobs made, which begin with `content`. */
  async specification(overrides: Partial<CloudVmSpecification> = {}): Promise<CloudVmSpecification> {
    const id = randomUUID();
    const disks = [0, 1].map((lun) => ({
      name: `disk-${lun}`,
      lun,
      isOsDisk: lun === 0,
      blob: { storageAccountId: account.armId, container: 'understudy-replicas', blobName: `${id}/disk ${lun}.vhd` },
      sizeBytes: diskBytes,
    }));
    for (const { blob } of disks) {
      await this.replicas.createDisk(blob, diskBytes + 512);
      await this.replicas.raiseFence(blob, { epoch: 1, cycle: 1 });
      await this.replicas.writePages(blob, 0, Buffer.alloc(512, 'a'), { epoch: 1, cycle: 1 });
    }
    return {
      vmArmId: '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm',
      name: 'sql-01',
      size: 'Standard_D2s_v5',
      generation: 1,
      osType: 'Windows',
      networkId: network.armId,
      nics: [{}],
      disks,
      tags: { 'understudy-item': 'item', 'understudy-job': 'job' },
      ...overrides,
    };
  }

  left(): string[] {
    return this.resources.names().sort();
  }

  /** What was asked of Azure since the last time, without reads. */
  changes(): string[] {
    return this.server.calls.splice(0).filter((call) => !call.startsWith('GET'));
  }
}

function clientsOn(origin: string, lives: Lives): (subscriptionId: string) => ArmClients {
  const token = { token: 'token', expiresOnTimestamp: Date.now() + 3_600_000 };
  const open = openArmClients({ getToken: async () => token }, origin);
  const policy: PipelinePolicy = {
    name: 'lives',
    sendRequest: (request, next) => lives.spend(() => next(request)),
  };
  return (subscriptionId) => {
    const clients = open(subscriptionId);
    for (const { pipeline } of [clients.compute, clients.network]) {
      // The SDKs send no token without TLS.
      pipeline.removePolicy({ name: 'bearerTokenAuthenticationPolicy' });
      pipeline.removePolicy({ name: policy.name });
      pipeline.addPolicy(policy, { afterPhase: 'Retry' });
    }
    return clients;
  };
}

const storeMethods = ['properties', 'deleteDisk', 'copyFromUrl'];

const mortal = (store: ReplicaStore, lives: Lives): ReplicaStore =>
  new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      const call = (...inputs: unknown[]): Promise<unknown> =>
        Reflect.apply(member, target, inputs) as Promise<unknown>;
      return storeMethods.includes(String(name)) ? (...inputs: unknown[]) => lives.spend(() => call(...inputs)) : call;
    },
  });
