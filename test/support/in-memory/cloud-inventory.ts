import { UnderstudyError } from '../../../core/domain/errors.js';
import type { CloudInventory, CloudNetwork, CloudStorageAccount } from '../../../core/ports/cloud-inventory.js';
import { azuriteAccount, azuriteKey, type Azurite } from '../azurite.js';

const armPrefix = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers';

/** An inventory of one storage account, the one that every Azurite has, and of the networks that a test names. */
export class InMemoryCloudInventory implements CloudInventory {
  constructor(
    private readonly accountList: CloudStorageAccount[],
    private readonly networkList: CloudNetwork[] = [],
  ) {}

  static ofAzurite(azurite: Azurite, networks: CloudNetwork[] = []): InMemoryCloudInventory {
    const account: CloudStorageAccount = {
      armId: `${armPrefix}/Microsoft.Storage/storageAccounts/${azuriteAccount}`,
      name: azuriteAccount,
      kind: 'standard',
      blobEndpoint: `http://127.0.0.1:${azurite.ports.blob}/${azuriteAccount}`,
      credential: { kind: 'sharedKey', accountName: azuriteAccount, accountKey: azuriteKey },
    };
    return new InMemoryCloudInventory([account], networks);
  }

  async storageAccounts(): Promise<CloudStorageAccount[]> {
    return this.accountList;
  }

  async networks(): Promise<CloudNetwork[]> {
    return this.networkList;
  }

  async storageAccount(armId: string): Promise<CloudStorageAccount> {
    return found('US6010', armId, this.accountList);
  }

  async network(armId: string): Promise<CloudNetwork> {
    return found('US6011', armId, this.networkList);
  }
}

function found<T extends { armId: string }>(code: string, armId: string, entries: T[]): T {
  const entry = entries.find((candidate) => candidate.armId.toLowerCase() === armId.toLowerCase());
  if (!entry) throw new UnderstudyError({ code, message: `${code} no ${armId}`, recommendedAction: 'Mend the test.' });
  return entry;
}
