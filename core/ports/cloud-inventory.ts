/** What ARM ids stand for: storage accounts and networks. Locally a file, in Azure its management API. */
export interface CloudInventory {
  /** Rejects with US6010 when there is no such account. */
  storageAccount(armId: string): Promise<CloudStorageAccount>;
  /** Rejects with US6011 when there is no such network. */
  network(armId: string): Promise<CloudNetwork>;
  storageAccounts(): Promise<CloudStorageAccount[]>;
  networks(): Promise<CloudNetwork[]>;
}

export interface CloudStorageAccount {
  armId: string;
  name: string;
  kind: 'standard' | 'premium';
  blobEndpoint: string;
  /** The account's Azure region, e.g. `westeurope`; virtual machines made of its blobs are made there. Absent where nothing needs one. */
  location?: string;
  credential: { kind: 'sharedKey'; accountName: string; accountKey: string } | { kind: 'managedIdentity' };
}

export interface CloudNetwork {
  armId: string;
  name: string;
  /** In the virtual network's order. */
  subnets: { name: string; addressPrefix: string }[];
}
