import { z } from 'zod';
import { decideAndCommit, insert, list, read, replace, upsert } from '../../core/records/access.js';
import { rows, vaultPartition, type Vault } from '../../core/records/rows.js';
import { asVaultId, type VaultId } from '../../core/domain/ids.js';
import { vaultArmId } from './arm-id.js';
import {
  beingDeleted,
  collection,
  notFound,
  ok,
  operation,
  operationWithBody,
  param,
  vaultOperation,
  type Call,
} from './operation.js';
import { deleteVault } from './vault-deletion.js';

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
  properties: { provisioningState: vault.deleting ? 'Deleting' : 'Succeeded' },
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

async function saveVault(
  call: Call,
  armId: string,
  { location, tags = {} }: z.output<typeof vaultBody>,
): Promise<{ vault: Vault; isNew: boolean }> {
  const { table, clock } = call.app;
  const vaultId = asVaultId(armId);
  const name = param(call, 'resourceName');
  const createdAt = (await clock.now()).toString();
  const writeIndex = () => table.transact('vaults', [upsert(rows.vaultIndex(vaultId), { vaultId })]);
  // The index first: a vault that no sweep knows of must not exist, an index entry without a vault is skipped.
  await writeIndex();
  const saved = await decideAndCommit(table, vaultPartition(vaultId), async () => {
    const existing = await read(table, rows.vault(vaultId));
    if (existing === undefined) {
      const vault: Vault = { vaultId, armId, name, location, tags, createdAt };
      return { operations: [insert(rows.vault(vaultId), vault)], result: { vault, isNew: true } };
    }
    if (existing.value.deleting) throw beingDeleted(existing.value);
    const vault: Vault = { ...existing.value, location, tags };
    return { operations: [replace(existing, vault)], result: { vault, isNew: false } };
  });
  // A deletion that came to its end meanwhile may have taken the entry, not seeing the new vault yet.
  if (saved.isNew) await writeIndex();
  return saved;
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
      const { vault, isNew } = await saveVault(call, armId, body);
      return { status: isNew ? 201 : 200, body: toWire(vault) };
    },
  ),
  operation(
    'vaults.delete',
    'DELETE',
    '~',
    { summary: 'Deletes a vault that no VMM server is registered with, with its policies, jobs and events' },
    // Absent is no error, as ARM has it.
    async (call) => ({ status: (await deleteVault(call.app.table, vaultIdOf(call))) ? 200 : 204 }),
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

const vaultIdOf = (call: Call): VaultId =>
  asVaultId(vaultArmId(param(call, 'subscriptionId'), param(call, 'resourceGroupName'), param(call, 'resourceName')));
