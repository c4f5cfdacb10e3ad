import {
  BlobServiceClient,
  generateBlobSASQueryParameters,
  SASProtocol,
  StorageSharedKeyCredential,
  type BlobSASPermissions,
  type ContainerClient,
  type newPipeline,
  type UserDelegationKey,
} from '@azure/storage-blob';
import type { CloudInventory, CloudStorageAccount } from '../../core/ports/cloud-inventory.js';
import { blobPipeline } from './connections.js';
import { storageFailure } from './storage-errors.js';

/** The credential for accounts of kind `managedIdentity`, e.g. of @azure/identity. */
export type IdentityCredential = Extract<Parameters<typeof newPipeline>[0], { getToken: unknown }>;

/** Version of the SAS: newer ones are refused by the local emulator, and ask nothing more of a blob. */
const sasVersion = '2025-11-05';
/** A user delegation key serves many grants; renewed while this much of it is left. */
const delegationKeySeconds = 6 * 3600;
const delegationKeyLeftSeconds = 3600;

interface OpenAccount {
  account: CloudStorageAccount;
  service: BlobServiceClient;
  sharedKey: StorageSharedKeyCredential | undefined;
  containers: Map<string, Promise<void>>;
  delegationKey: { key: UserDelegationKey; expiresAtMs: number } | undefined;
}

/** Clients by account, kept as long as the inventory gives the same endpoint and credential. */
export class BlobAccounts {
  private readonly open = new Map<string, OpenAccount>();

  constructor(
    private readonly inventory: CloudInventory,
    private readonly identity: IdentityCredential | undefined,
  ) {}

  async container(storageAccountId: string, name: string): Promise<ContainerClient> {
    return (await this.account(storageAccountId)).service.getContainerClient(name);
  }

  /** Creates the container unless this process already saw it there. */
  async ensureContainer(storageAccountId: string, name: string): Promise<ContainerClient> {
    const { service, containers } = await this.account(storageAccountId);
    const client = service.getContainerClient(name);
    let ensured = containers.get(name);
    if (!ensured) {
      ensured = client.createIfNotExists().then(
        () => undefined,
        (error: unknown) => {
          containers.delete(name);
          throw storageFailure('creating container', `${name} in ${storageAccountId}`, error);
        },
      );
      containers.set(name, ensured);
    }
    await ensured;
    return client;
  }

  /** A SAS for one blob, without a start time: clocks of giver and taker may differ. */
  async grant(
    storageAccountId: string,
    container: string,
    blobName: string,
    permissions: BlobSASPermissions,
    ttlSeconds: number,
    snapshotId?: string,
  ): Promise<{ url: string; expiresAt: string }> {
    const opened = await this.account(storageAccountId);
    // A SAS counts whole seconds.
    const expiresOn = new Date(Math.floor(Date.now() / 1000 + ttlSeconds) * 1000);
    const values = {
      containerName: container,
      blobName,
      permissions,
      expiresOn,
      version: sasVersion,
      ...(snapshotId !== undefined && { snapshotTime: snapshotId }),
      ...(opened.account.blobEndpoint.startsWith('https:') && { protocol: SASProtocol.Https }),
    };
    const query = opened.sharedKey
      ? generateBlobSASQueryParameters(values, opened.sharedKey)
      : generateBlobSASQueryParameters(values, await this.delegationKey(opened, expiresOn), opened.account.name);
    const blob = opened.service.getContainerClient(container).getBlobClient(blobName);
    const target = snapshotId === undefined ? blob : blob.withSnapshot(snapshotId);
    return {
      url: `${target.url}${target.url.includes('?') ? '&' : '?'}${query.toString()}`,
      expiresAt: expiresOn.toISOString(),
    };
  }

  private async delegationKey(opened: OpenAccount, neededUntil: Date): Promise<UserDelegationKey> {
    const nowMs = Date.now();
    const known = opened.delegationKey;
    if (known && known.expiresAtMs > Math.max(neededUntil.getTime(), nowMs + delegationKeyLeftSeconds * 1000)) {
      return known.key;
    }
    const expiresAtMs = nowMs + delegationKeySeconds * 1000;
    try {
      // Five minutes back: the service's clock may be behind ours.
      const key = await opened.service.getUserDelegationKey(new Date(nowMs - 300_000), new Date(expiresAtMs));
      opened.delegationKey = { key, expiresAtMs };
      return key;
    } catch (error) {
      throw storageFailure('getting a user delegation key of', opened.account.armId, error);
    }
  }

  private async account(storageAccountId: string): Promise<OpenAccount> {
    const account = await this.inventory.storageAccount(storageAccountId);
    const known = this.open.get(account.armId);
    if (known && sameAccess(known.account, account)) return known;
    const { credential } = account;
    const sharedKey =
      credential.kind === 'sharedKey'
        ? new StorageSharedKeyCredential(credential.accountName, credential.accountKey)
        : undefined;
    if (!sharedKey && !this.identity) throw new Error(`no identity was given for the storage account ${account.armId}`);
    const opened: OpenAccount = {
      account,
      service: new BlobServiceClient(account.blobEndpoint, blobPipeline(sharedKey ?? this.identity)),
      sharedKey,
      containers: new Map(),
      delegationKey: undefined,
    };
    this.open.set(account.armId, opened);
    return opened;
  }
}

function sameAccess(a: CloudStorageAccount, b: CloudStorageAccount): boolean {
  return a.blobEndpoint === b.blobEndpoint && JSON.stringify(a.credential) === JSON.stringify(b.credential);
}

/** The local emulator has the account in the path; Azure has it in the host name. */
export const isEmulator = (account: CloudStorageAccount): boolean => new URL(account.blobEndpoint).pathname.length > 1;
