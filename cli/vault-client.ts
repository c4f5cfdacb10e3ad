import {
  SiteRecoveryManagementClient,
  type Event,
  type HyperVReplicaAzureReplicationDetails,
  type Job,
  type ProtectableItem,
  type RecoveryPoint,
  type ReplicationProtectedItem,
} from '@azure/arm-recoveryservices-siterecovery';

/** One vault behind the official SDK, with the lookups that an operator's words need: VMs and items by name. */
export interface VaultConnection {
  endpoint: string;
  subscriptionId: string;
  resourceGroup: string;
  vaultName: string;
  /** An access token of Microsoft Entra, sent over https alone. Without one the app must run without sign-in. */
  token?: string | undefined;
}

/** Something that the operator named is not there, or not the only one. */
export class NotFoundError extends Error {}

/** The SDK, unmodified. Over http there is no bearer token: the local environment runs without sign-in on loopback. */
export function connectSdk(
  connection: Pick<VaultConnection, 'endpoint' | 'subscriptionId' | 'token'>,
): SiteRecoveryManagementClient {
  const token = { token: connection.token ?? 'none', expiresOnTimestamp: Number.MAX_SAFE_INTEGER };
  const client = new SiteRecoveryManagementClient(
    { getToken: () => Promise.resolve(token) },
    connection.subscriptionId,
    { endpoint: connection.endpoint, allowInsecureConnection: connection.endpoint.startsWith('http:') },
  );
  if (connection.endpoint.startsWith('http:')) {
    client.pipeline.removePolicy({ name: 'bearerTokenAuthenticationPolicy' });
  }
  return client;
}

async function collect<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const entry of pages) all.push(entry);
  return all;
}

/** The n-th name of an ARM id, after a segment: `after(id, 'replicationFabrics')`. */
export function nameAfter(armId: string | undefined, segment: string): string {
  const parts = (armId ?? '').split('/');
  const index = parts.findIndex((part) => part.toLowerCase() === segment.toLowerCase());
  const name = parts[index + 1];
  if (index < 0 || name === undefined) throw new NotFoundError(`the id ${armId} has no ${segment}`);
  return name;
}

export interface FoundItem {
  item: ReplicationProtectedItem;
  details: HyperVReplicaAzureReplicationDetails;
  fabricName: string;
  containerName: string;
  itemName: string;
}

export class Vault {
  readonly sdk: SiteRecoveryManagementClient;

  constructor(readonly connection: VaultConnection) {
    this.sdk = connectSdk(connection);
  }

  get armId(): string {
    const { subscriptionId, resourceGroup, vaultName } = this.connection;
    return `/subscriptions/${subscriptionId}/resourceGroups/${resourceGroup}/providers/Microsoft.RecoveryServices/vaults/${vaultName}`;
  }

  /** Vault name and resource group: the first two arguments of every SDK operation. */
  get scope(): [string, string] {
    return [this.connection.vaultName, this.connection.resourceGroup];
  }

  /** A call of what ARM has no operation for: the paths below /understudy/v1. */
  async call<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
    const { endpoint, token } = this.connection;
    const response = await fetch(`${endpoint}${path}`, {
      method,
      headers: {
        'content-type': 'application/json',
        ...(token !== undefined && endpoint.startsWith('https:') ? { authorization: `Bearer ${token}` } : {}),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const answer = (text === '' ? undefined : JSON.parse(text)) as
      (Answer & { error?: { code: string; message: string; recommendedAction?: string } }) | undefined;
    if (!response.ok) {
      const error = answer?.error;
      throw new Error(
        error ? `${error.code}: ${error.message} ${error.recommendedAction ?? ''}` : `HTTP ${response.status}`,
      );
    }
    return answer as Answer;
  }

  async items(): Promise<FoundItem[]> {
    const items = await collect(this.sdk.replicationProtectedItems.list(...this.scope));
    return items.map((item) => ({
      item,
      details: item.properties?.providerSpecificDetails as HyperVReplicaAzureReplicationDetails,
      fabricName: nameAfter(item.id, 'replicationFabrics'),
      containerName: nameAfter(item.id, 'replicationProtectionContainers'),
      itemName: item.name ?? '',
    }));
  }

  /** An item by its own name or by its VM's. */
  async item(name: string): Promise<FoundItem> {
    const items = await this.items();
    const found = items.filter(
      ({ item, itemName }) =>
        itemName.toLowerCase() === name.toLowerCase() ||
        item.properties?.friendlyName?.toLowerCase() === name.toLowerCase(),
    );
    if (found.length === 1 && found[0]) return found[0];
    const known = items.map(({ item }) => item.properties?.friendlyName).join(', ') || 'none';
    throw new NotFoundError(
      found.length === 0
        ? `no replicated item is named ${name}; replicated are: ${known}`
        : `${found.length} items are named ${name}; use the item's id instead`,
    );
  }

  /** Newest first. */
  async events(filter: string | undefined): Promise<Event[]> {
    return collect(this.sdk.replicationEvents.list(...this.scope, filter === undefined ? {} : { filter }));
  }

  async jobs(): Promise<Job[]> {
    return collect(this.sdk.replicationJobs.list(...this.scope));
  }

  async points(found: FoundItem): Promise<RecoveryPoint[]> {
    return collect(
      this.sdk.recoveryPoints.listByReplicationProtectedItems(
        ...this.scope,
        found.fabricName,
        found.containerName,
        found.itemName,
      ),
    );
  }

  /** Every VM of every cloud, replicated or not. */
  async protectableItems(): Promise<{ vm: ProtectableItem; fabricName: string; containerName: string }[]> {
    const containers = await collect(this.sdk.replicationProtectionContainers.list(...this.scope));
    const lists = await Promise.all(
      containers.map(async (container) => {
        const fabricName = nameAfter(container.id, 'replicationFabrics');
        const containerName = container.name ?? '';
        const vms = await collect(
          this.sdk.replicationProtectableItems.listByReplicationProtectionContainers(
            ...this.scope,
            fabricName,
            containerName,
          ),
        );
        return vms.map((vm) => ({ vm, fabricName, containerName }));
      }),
    );
    return lists.flat();
  }
}
