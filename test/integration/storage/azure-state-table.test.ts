import { after, before } from 'node:test';
import { openTableStateTable } from '../../../providers/azure-storage/state-table.js';
import { startAzurite, type Azurite } from '../../support/azurite.js';
import { stateTableConformance } from '../../support/conformance/state-table.js';

let azurite: Azurite;
before(async () => {
  azurite = await startAzurite();
});
after(() => azurite.stop());

stateTableConformance('table storage', async () =>
  openTableStateTable({ connectionString: azurite.connectionString, tableName: 'state' }),
);
