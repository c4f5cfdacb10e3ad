import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { CloudInventory, CloudNetwork, CloudStorageAccount } from '../../core/ports/cloud-inventory.js';

/**
 * The cloud on one machine: a file that names storage accounts, which Azurite serves, and networks. Azurite serves the
 * accounts that its environment variable AZURITE_ACCOUNTS lists (`name:key;name:key`); whoever starts it draws the keys
 * and seeds the file with the same ones. People may edit the networks; every reader takes the change up at once.
 */
const base64Key = z.string().regex(/^[A-Za-z0-9+/]+={0,2}$/, 'a base64 key');
const addressPrefix = z.string().regex(/^\d{1,3}(\.\d{1,3}){3}\/([0-9]|[12][0-9]|3[0-2])$/, 'like 10.1.0.0/24');
const localAzureFile = z.object({
  storageAccounts: z.array(
    z.object({
      name: z.string().regex(/^[a-z0-9]{3,24}$/, '3 to 24 lower-case letters and digits'),
      kind: z.enum(['standard', 'premium']),
      blobEndpoint: z.url({ protocol: /^https?$/ }),
      accountKey: base64Key,
      location: z.string().min(1).exactOptional(),
    }),
  ),
  networks: z.array(
    z.object({
      name: z.string().min(1),
      subnets: z.array(z.object({ name: z.string().min(1), addressPrefix })).min(1),
    }),
  ),
});
type LocalAzureFile = z.infer<typeof localAzureFile>;

const resourceGroupId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local';
const storageAccountId = (name: string): string =>
  `${resourceGroupId}/providers/Microsoft.Storage/storageAccounts/${name}`;
const networkId = (name: string): string => `${resourceGroupId}/providers/Microsoft.Network/virtualNetworks/${name}`;

/** Accounts for replicas, by name; the app's own account is no target for replicas and stays out of the inventory. */
const seededAccounts = { replicas: 'standard', premium: 'premium' } as const;
const seededNetworks: LocalAzureFile['networks'] = [
  {
    name: 'prod',
    subnets: [
      { name: 'default', addressPrefix: '10.10.0.0/24' },
      { name: 'backend', addressPrefix: '10.10.1.0/24' },
    ],
  },
  {
    name: 'test',
    subnets: [
      { name: 'default', addressPrefix: '10.20.0.0/24' },
      { name: 'backend', addressPrefix: '10.20.1.0/24' },
    ],
  },
];

/**
 * Writes the file with the accounts `replicas` and `premium` and, the first time, the networks `prod` and `test`. Run at
 * every start, for Azurite's port may be another one; networks that are there stay as they are.
 */
export async function seedLocalAzure(
  path: string,
  options: {
    /** Without the account's name: `http://127.0.0.1:10000`. */
    blobEndpointBase: string;
    /** The accounts that Azurite serves; others than `replicas` and `premium` are passed over. */
    accounts: readonly { name: string; key: string }[];
  },
): Promise<void> {
  const networks = (await readLocalAzure(path))?.networks ?? seededNetworks;
  const storageAccounts = Object.entries(seededAccounts).map(([name, kind]) => {
    const accountKey = options.accounts.find((account) => account.name === name)?.key;
    if (accountKey === undefined) throw new Error(`seeding ${path}: no key was given for the storage account ${name}`);
    return { name, kind, blobEndpoint: `${options.blobEndpointBase}/${name}`, accountKey };
  });
  const file = localAzureFile.parse({ storageAccounts, networks });
  // It holds keys: for its owner only.
  const unfinished = `${path}.${randomUUID()}`;
  try {
    await writeFile(unfinished, `${JSON.stringify(file, undefined, 2)}\n`, { mode: 0o600, flush: true });
    await rename(unfinished, path);
  } finally {
    await rm(unfinished, { force: true });
  }
}

/** An inventory over the file, which need not be there yet. */
export function openLocalAzure(path: string): CloudInventory {
  return new LocalAzure(path);
}

class LocalAzure implements CloudInventory {
  private known: { stamp: string; file: LocalAzureFile } | undefined;

  constructor(private readonly path: string) {}

  async storageAccount(armId: string): Promise<CloudStorageAccount> {
    return named('US6010', 'storage account', armId, await this.storageAccounts(), this.path);
  }

  async network(armId: string): Promise<CloudNetwork> {
    return named('US6011', 'network', armId, await this.networks(), this.path);
  }

  async storageAccounts(): Promise<CloudStorageAccount[]> {
    return (await this.file()).storageAccounts.map(({ name, kind, blobEndpoint, accountKey, location }) => ({
      armId: storageAccountId(name),
      name,
      kind,
      blobEndpoint,
      credential: { kind: 'sharedKey', accountName: name, accountKey },
      ...(location !== undefined && { location }),
    }));
  }

  async networks(): Promise<CloudNetwork[]> {
    return (await this.file()).networks.map(({ name, subnets }) => ({ armId: networkId(name), name, subnets }));
  }

  /** Read again only when it changed: every access to a blob asks for its account. */
  private async file(): Promise<LocalAzureFile> {
    const found = await stat(this.path, { bigint: true }).catch(absent);
    if (!found) throw inventoryUnreadable(this.path, 'the file is not there');
    const stamp = `${found.ino} ${found.size} ${found.mtimeNs}`;
    if (this.known?.stamp !== stamp) {
      const file = await readLocalAzure(this.path);
      if (!file) throw inventoryUnreadable(this.path, 'the file is not there');
      this.known = { stamp, file };
    }
    return this.known.file;
  }
}

async function readLocalAzure(path: string): Promise<LocalAzureFile | undefined> {
  const text = await readFile(path, 'utf8').catch(absent);
  if (text === undefined) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw inventoryUnreadable(path, 'it is not JSON');
  }
  const parsed = localAzureFile.safeParse(json);
  if (parsed.success) return parsed.data;
  // zod names the place and the rule, never the value: no key reaches the message.
  const found = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
  throw inventoryUnreadable(path, found);
}

function absent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

function named<T extends { armId: string }>(code: string, what: string, armId: string, all: T[], path: string): T {
  const wanted = armId.toLowerCase().replace(/\/+$/, '');
  const found = all.find((entry) => entry.armId.toLowerCase() === wanted);
  if (found) return found;
  throw new UnderstudyError({
    code,
    message: `${code} no ${what} ${armId} in the local cloud (there are ${all.map((entry) => entry.armId).join(', ')})`,
    possibleCauses: `The id is misspelt, or ${path} does not list it.`,
    recommendedAction: `Use an id that is there, or add it to ${path}.`,
    httpStatus: 400,
    details: { armId },
  });
}

function inventoryUnreadable(path: string, found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US6012',
    message: `US6012 reading the local cloud's inventory ${path}: ${found}`,
    possibleCauses: 'It was edited by hand and left broken, or the data folder is another one.',
    recommendedAction: 'Mend the file, or delete it and start again: "npm start" writes it anew.',
    details: { path },
  });
}
