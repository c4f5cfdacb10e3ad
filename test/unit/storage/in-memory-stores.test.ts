import { replicaStoreConformance } from '../../support/conformance/replica-store.js';
import { transferStoreConformance } from '../../support/conformance/transfer-store.js';
import { InMemoryReplicaStore } from '../../support/in-memory/replica-store.js';
import { InMemoryTransferStore } from '../../support/in-memory/transfer-store.js';

replicaStoreConformance('in-memory replica store', async () => ({
  store: new InMemoryReplicaStore(),
  storageAccountId: 'account',
}));

transferStoreConformance('in-memory transfer store', async () => {
  const store = new InMemoryTransferStore();
  return { store, storageAccountId: 'account', put: async (name, data) => store.put('account', name, data) };
});
