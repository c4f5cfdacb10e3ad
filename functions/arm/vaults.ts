import { z } from 'zod';
import { list, read, upsert, insert } from '../../core/records/access.js';
import { rows, vaultPartition, type Vault } from '../../core/records/rows.js';
import { asVaultId } from '../../core/domain/ids.js';
import { StateConflictError, transactionOperationsMax } from '../../core/ports/state-table.js';
import type { ApiResponse } from '../http/exchange.js';
import { vaultArmId } from './arm-id.js';
import {
  collection,
  notFound,
  ok,
  operation,
  operationWithBody,
  param,
  vaultOperation,
  type Call,
} from './operation.js';
import { refuseUsed } from './used.js';

const apiProvider = 'Microsoft.RecoveryServices';

const vaultBody = z.object({
  location: z.string().min(1),
  tags: z.record(z.string(), z.string()).optional(),
  sku: z.object({ name: z.string(), tier: z.string().optional() }).optional(),
  properties: z.looseObject({}).optional(),
});

const toWire = (vault: Vault) => ({
  id: vault.armId,
  name: vault.name,
  type: `${apiProvider}/vaults`,
  location: vault.location,
  tags: vault.tags,
  sku: { name: 'Standard' },
  properties: { provisioningState: 'Succeeded' },
});

const subscriptionToWire = (subscriptionId: string) => ({
  id: `/subscriptions/${subscriptionId}`,
  subscriptionId,
  displayName: 'Understudy',
  state: 'Enabled',
  tenantId: '00000000-0000-0000-0000-000000000000',
});

/** Names follow ARM's rule for vaults; resource groups and subscriptions are taken as they come. */
const vaultNamePattern = /^[A-Za-z][A-Za-z0-9-]{1,49}$/;

async function allVaults(call: Call): Promise<Vault[]> {
  const index = await list(call.app.table, rows.vaultIndexes());
  const found = await Promise.all(index.map(({ value }) => read(call.app.table, rows.vault(value.vaultId))));
  return found.flatMap((vault) => (vault === undefined ? [] : [vault.value]));
}

async function vaultsUnder(call: Call, prefix: string): Promise<Vault[]> {
  const start = `${prefix}/`.toLowerCase();
  return (await allVaults(call)).filter((vault) => vault.vaultId.startsWith(start));
}

/** Vaults and what clients ask of a subscription before they turn to one. */
export const vaultOperations = [
  operation(
    'subscriptions.list',
    'GET',
    '/subscriptions',
    { summary: 'Subscriptions that have a vault here' },
    async (call) => {
      const ids = new Set((await allVaults(call)).flatMap((vault) => vault.vaultId.split('/')[2] ?? []));
      return collection([...ids].sort().map(subscriptionToWire));
    },
  ),
  operation(
    'subscriptions.get',
    'GET',
    '/subscriptions/{subscriptionId}',
    { summary: 'One subscription' },
    async (call) => {
      const subscriptionId = param(call, 'subscriptionId');
      const found = await vaultsUnder(call, `/subscriptions/${subscriptionId}`);
      if (found.length === 0)
        throw notFound('subscription', subscriptionId, 'Create a vault in it, or correct its id.');
      return ok(subscriptionToWire(subscriptionId));
    },
  ),
  operation(
    'vaults.listBySubscription',
    'GET',
    `/subscriptions/{subscriptionId}/providers/${apiProvider}/vaults`,
    { summary: 'Vaults of a subscription' },
    async (call) =>
      collection((await vaultsUnder(call, `/subscriptions/${param(call, 'subscriptionId')}`)).map(toWire)),
  ),
  operation(
    'vaults.listByResourceGroup',
    'GET',
    `/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/${apiProvider}/vaults`,
    { summary: 'Vaults of a resource group' },
    async (call) => {
      const group = `/subscriptions/${param(call, 'subscriptionId')}/resourceGroups/${param(call, 'resourceGroupName')}`;
      return collection((await vaultsUnder(call, group)).map(toWire));
    },
  ),
  vaultOperation('vaults.get', 'GET', '~', { summary: 'One vault' }, async (call) => ok(toWire(call.vault))),
  operationWithBody(
    'vaults.createOrUpdate',
    'PUT',
    '~',
    { summary: 'Creates the vault, or changes its location and tags', body: vaultBody },
    async (call, body) => {
      const name = param(call, 'resourceName');
      if (!vaultNamePattern.test(name)) {
        throw notFound('valid vault name', name, 'Use 2 to 50 letters, digits and hyphens, a letter first.');
      }
      const armId = vaultArmId(param(call, 'subscriptionId'), param(call, 'resourceGroupName'), name);
      const vaultId = asVaultId(armId);
      const existing = await read(call.app.table, rows.vault(vaultId));
      const vault: Vault = {
        vaultId,
        armId: existing?.value.armId ?? armId,
        name: existing?.value.name ?? name,
        location: body.location,
        tags: body.tags ?? {},
        createdAt: existing?.value.createdAt ?? (await call.app.clock.now()).toString(),
      };
      // The index first: a vault that no sweep knows of must not exist, an index entry without a vault is skipped.
      await call.app.table.transact('vaults', [upsert(rows.vaultIndex(vaultId), { vaultId })]);
      const write = existing === undefined ? insert(rows.vault(vaultId), vault) : upsert(rows.vault(vaultId), vault);
      try {
        await call.app.table.transact(vaultPartition(vaultId), [write]);
      } catch (error) {
        // Two PUTs at once: the other one created it, with the same name by definition.
        if (!(error instanceof StateConflictError)) throw error;
      }
      return { status: existing === undefined ? 201 : 200, body: toWire(vault) };
    },
  ),
  operation(
    'vaults.delete',
    'DELETE',
    '~',
    { summary: 'Deletes a vault that no VMM server is registered with, with its policies, jobs and events' },
    deleteVault,
  ),
  vaultOperation(
    'vaultExtendedInfo.get',
    'GET',
    '~/extendedInformation/vaultExtendedInfo',
    { summary: 'What PowerShell asks of a vault before it works with it: Understudy keeps no keys there' },
    async (call) =>
      ok({
        id: call.armId('/extendedInformation/vaultExtendedInfo'),
        name: 'vaultExtendedInfo',
        type: `${apiProvider}/vaults/extendedInformation`,
        properties: { integrityKey: '', algorithm: 'None' },
      }),
  ),
];

/** Its own row and its place in the index go last: a deletion that breaks off is begun again. Absent is no error, as ARM has it. */
async function deleteVault(call: Call): Promise<ApiResponse> {
  const { table } = call.app;
  const armId = vaultArmId(
    param(call, 'subscriptionId'),
    param(call, 'resourceGroupName'),
    param(call, 'resourceName'),
  );
  const vaultId = asVaultId(armId);
  const vault = await read(table, rows.vault(vaultId));
  if (vault === undefined) return { status: 204 };
  const [fabrics, items] = await Promise.all([list(table, rows.fabrics(vaultId)), list(table, rows.items(vaultId))]);
  refuseUsed(
    'vault',
    vault.value.name,
    [
      ...fabrics.map(({ value }) => `fabric ${value.fabricName}`),
      ...items.map(({ value }) => `protected item ${value.itemName}`),
    ],
    'Disable replication of the items and remove the fabrics first.',
  );
  const partition = vaultPartition(vaultId);
  const rest = (await list(table, { partition, prefix: '' })).filter(({ ref }) => ref.rowKey !== vault.ref.rowKey);
  for (let from = 0; from < rest.length; from += transactionOperationsMax) {
    await table.transact(
      partition,
      rest.slice(from, from + transactionOperationsMax).map(({ ref }) => ({ kind: 'delete', rowKey: ref.rowKey })),
    );
  }
  await table.transact(partition, [{ kind: 'delete', rowKey: vault.ref.rowKey }]);
  await table.transact('vaults', [{ kind: 'delete', rowKey: rows.vaultIndex(vaultId).rowKey }]);
  return { status: 200 };
}
