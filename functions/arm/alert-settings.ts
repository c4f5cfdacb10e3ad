import type { Alert, ConfigureAlertRequestProperties } from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { noAlerts, type AlertSettings } from '../../core/domain/alerts/alert-settings.js';
import type { VaultId } from '../../core/domain/ids.js';
import type { StateTable } from '../../core/ports/state-table.js';
import { decideAndCommit, insert, read, replace } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import {
  collection,
  notFound,
  ok,
  param,
  vaultOperation,
  vaultOperationWithBody,
  type VaultCall,
  whileVaultStands,
} from './operation.js';
import type { ShapeOf, Wire } from './wire.js';

/** ARM has one a vault, of this name. */
const settingName = 'defaultAlertSetting';
const addressesMax = 20;

const alertBody = z.object({
  properties: z.object({
    sendToOwners: z.enum(['Send', 'DoNotSend']).nullish(),
    customEmailAddresses: z.array(z.email()).max(addressesMax).nullish(),
    locale: z.string().max(35).nullish(),
  } satisfies ShapeOf<ConfigureAlertRequestProperties>),
});

export const alertSettingsOf = async (table: StateTable, vaultId: VaultId): Promise<AlertSettings> =>
  (await read(table, rows.alertSettings(vaultId)))?.value ?? noAlerts;

const toWire = (call: VaultCall, settings: AlertSettings): Wire<Alert> => ({
  id: call.armId(`/replicationAlertSettings/${settingName}`),
  name: settingName,
  type: 'Microsoft.RecoveryServices/vaults/replicationAlertSettings',
  properties: {
    sendToOwners: settings.sendToOwners,
    customEmailAddresses: settings.emailAddresses,
    locale: settings.locale,
  },
});

function requireName(call: VaultCall): void {
  const name = param(call, 'alertSettingName');
  if (name.toLowerCase() !== settingName.toLowerCase()) {
    throw notFound('alert setting', name, `A vault has one: ${settingName}.`);
  }
}

/** Changes some of the settings; the rest stays. */
export async function changeAlertSettings(
  table: StateTable,
  vaultId: VaultId,
  change: (settings: AlertSettings) => Partial<AlertSettings>,
): Promise<AlertSettings> {
  const ref = rows.alertSettings(vaultId);
  return decideAndCommit(table, ref.partition, async () => {
    const stored = await read(table, ref);
    const before = stored?.value ?? noAlerts;
    const settings = { ...before, ...change(before) };
    const operations = stored
      ? [replace(stored, settings)]
      : [insert(ref, settings), await whileVaultStands(table, vaultId)];
    return { operations, result: settings };
  });
}

/** Who is written to when an item is critical, a site is silent, or a failover fails. */
export const alertSettingOperations = [
  vaultOperation(
    'replicationAlertSettings.list',
    'GET',
    '~/replicationAlertSettings',
    { summary: 'The alert settings of the vault', response: 'AlertCollection' },
    async (call) => collection([toWire(call, await alertSettingsOf(call.app.table, call.vaultId))]),
  ),
  vaultOperation(
    'replicationAlertSettings.get',
    'GET',
    '~/replicationAlertSettings/{alertSettingName}',
    { summary: 'The alert settings', response: 'Alert' },
    async (call) => {
      requireName(call);
      return ok(toWire(call, await alertSettingsOf(call.app.table, call.vaultId)));
    },
  ),
  vaultOperationWithBody(
    'replicationAlertSettings.create',
    'PUT',
    '~/replicationAlertSettings/{alertSettingName}',
    {
      summary: 'Sets who is written to by e-mail',
      request: 'ConfigureAlertRequest',
      response: 'Alert',
      body: alertBody,
    },
    async (call, { properties }) => {
      requireName(call);
      const settings = await changeAlertSettings(call.app.table, call.vaultId, () => ({
        emailAddresses: properties.customEmailAddresses ?? [],
        sendToOwners: properties.sendToOwners ?? noAlerts.sendToOwners,
        locale: properties.locale ?? noAlerts.locale,
      }));
      return ok(toWire(call, settings));
    },
  ),
];
