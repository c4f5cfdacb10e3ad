import type {
  LogicalNetwork,
  ResolveHealthInputProperties,
  StorageClassification,
  SupportedOperatingSystems,
  VaultSetting,
  VaultSettingCreationInputProperties,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { jobKinds } from '../../core/domain/jobs/job.js';
import { read, upsert } from '../../core/records/access.js';
import { rows, type Fabric, type VaultSettings } from '../../core/records/rows.js';
import { fabricArmId, fabricOf } from './fabrics.js';
import {
  collection,
  notFound,
  ok,
  param,
  vaultOperation,
  vaultOperationWithBody,
  type VaultCall,
} from './operation.js';
import { protectedItemArmId } from './protectable-items.js';
import { itemOf, itemPath } from './protected-items.js';
import { changeRows } from './row-operation.js';
import type { ShapeOf, Wire } from './wire.js';

function logicalNetworksOf(call: VaultCall, fabric: Fabric): Wire<LogicalNetwork>[] {
  const names = new Map(
    fabric.inventory.networks.map(({ logicalNetworkId, logicalNetworkName }) => [logicalNetworkId, logicalNetworkName]),
  );
  return [...names].map(([logicalNetworkId, friendlyName]) => ({
    id: `${fabricArmId(call, fabric.fabricName)}/replicationLogicalNetworks/${logicalNetworkId}`,
    name: logicalNetworkId,
    type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationLogicalNetworks',
    properties: {
      friendlyName,
      networkVirtualizationStatus: 'Disabled',
      logicalNetworkUsage: 'VirtualMachine',
      logicalNetworkDefinitionsStatus: 'Isolated',
    },
  }));
}

const settingName = 'default';
const settingBody = z.object({
  properties: z.object({
    migrationSolutionId: z.string().nullish(),
    vmwareToAzureProviderType: z.string().nullish(),
  } satisfies ShapeOf<VaultSettingCreationInputProperties>),
});

const settingToWire = (call: VaultCall, settings: VaultSettings): Wire<VaultSetting> => ({
  id: call.armId(`/replicationVaultSettings/${settingName}`),
  name: settingName,
  type: 'Microsoft.RecoveryServices/vaults/replicationVaultSettings',
  properties: settings,
});

const settingsOf = async (call: VaultCall): Promise<VaultSettings> =>
  (await read(call.app.table, rows.vaultSettings(call.vaultId)))?.value ?? {};

function requireName(call: VaultCall): void {
  const name = param(call, 'vaultSettingName');
  if (name.toLowerCase() !== settingName) throw notFound('vault setting', name, `A vault has one: ${settingName}.`);
}

/** By the matrix of prerequisites: what Azure runs of what Hyper-V does. */
const operatingSystems: Wire<SupportedOperatingSystems>['properties'] = {
  supportedOsList: [
    {
      instanceType: 'HyperVReplicaAzure',
      supportedOs: [
        {
          osName: 'Windows',
          osType: 'Windows',
          osVersions: ['2012', '2012 R2', '2016', '2019', '2022'].map((version) => ({ version, servicePack: '' })),
        },
        { osName: 'Linux', osType: 'Linux', osVersions: [{ version: 'x64, generation 1', servicePack: '' }] },
      ],
    },
  ],
};

const healthBody = z.object({
  properties: z
    .object({
      healthErrors: z.array(z.object({ healthErrorId: z.string().nullish() })).nullish(),
    } satisfies ShapeOf<ResolveHealthInputProperties>)
    .nullish(),
});

/** What clients of the scenario ask now and then, and Hyper-V has little of. */
export const optionalOperations = [
  vaultOperation(
    'replicationLogicalNetworks.listByReplicationFabrics',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationLogicalNetworks',
    { summary: 'Logical networks of a VMM server', response: 'LogicalNetworkCollection' },
    async (call) => collection(logicalNetworksOf(call, await fabricOf(call))),
  ),
  vaultOperation(
    'replicationLogicalNetworks.get',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationLogicalNetworks/{logicalNetworkName}',
    { summary: 'One logical network', response: 'LogicalNetwork' },
    async (call) => {
      const name = param(call, 'logicalNetworkName');
      const found = logicalNetworksOf(call, await fabricOf(call)).find((each) => each.name === name.toLowerCase());
      if (found === undefined) throw notFound('logical network', name);
      return ok(found);
    },
  ),
  vaultOperation(
    'replicationStorageClassifications.listByReplicationFabrics',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationStorageClassifications',
    {
      summary: 'Storage classifications: none, since replicas lie in Azure',
      response: 'StorageClassificationCollection',
    },
    async (call) => {
      await fabricOf(call);
      return collection<Wire<StorageClassification>>([]);
    },
  ),
  vaultOperation(
    'replicationStorageClassifications.list',
    'GET',
    '~/replicationStorageClassifications',
    { summary: 'The same of the vault', response: 'StorageClassificationCollection' },
    async () => collection<Wire<StorageClassification>>([]),
  ),
  vaultOperation(
    'supportedOperatingSystemsOperations.get',
    'GET',
    '~/replicationSupportedOperatingSystems',
    { summary: 'Guests that can be protected', response: 'SupportedOperatingSystems', query: ['instanceType'] },
    async (call) =>
      ok({
        id: call.armId('/replicationSupportedOperatingSystems'),
        name: 'replicationSupportedOperatingSystems',
        type: 'Microsoft.RecoveryServices/vaults/replicationSupportedOperatingSystems',
        properties: operatingSystems,
      } satisfies Wire<SupportedOperatingSystems>),
  ),
  vaultOperation(
    'replicationVaultSetting.list',
    'GET',
    '~/replicationVaultSettings',
    { summary: 'The vault’s settings of other scenarios', response: 'VaultSettingCollection' },
    async (call) => collection([settingToWire(call, await settingsOf(call))]),
  ),
  vaultOperation(
    'replicationVaultSetting.get',
    'GET',
    '~/replicationVaultSettings/{vaultSettingName}',
    { summary: 'The same, by its name', response: 'VaultSetting' },
    async (call) => {
      requireName(call);
      return ok(settingToWire(call, await settingsOf(call)));
    },
  ),
  vaultOperationWithBody(
    'replicationVaultSetting.beginCreate',
    'PUT',
    '~/replicationVaultSettings/{vaultSettingName}',
    {
      summary: 'Keeps settings of other scenarios; nothing of Hyper-V goes by them',
      request: 'VaultSettingCreationInput',
      response: 'VaultSetting',
      longRunning: true,
      body: settingBody,
    },
    async (call, { properties }) => {
      requireName(call);
      const { migrationSolutionId, vmwareToAzureProviderType } = properties;
      const settings: VaultSettings = {
        ...(migrationSolutionId ? { migrationSolutionId } : {}),
        ...(vmwareToAzureProviderType ? { vmwareToAzureProviderType } : {}),
      };
      return changeRows(call, {
        kind: jobKinds.saveVaultSettings,
        targetResourceId: call.armId(`/replicationVaultSettings/${settingName}`),
        targetObjectName: settingName,
        decide: async () => [upsert(rows.vaultSettings(call.vaultId), settings)],
      });
    },
  ),
  vaultOperationWithBody(
    'replicationProtectedItems.beginResolveHealthErrors',
    'POST',
    `${itemPath}/resolveHealthErrors`,
    {
      summary: 'Takes the request: health follows from what is, and an error goes when what it tells of is over',
      request: 'ResolveHealthInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
      body: healthBody,
    },
    async (call) => {
      const { value: item } = await itemOf(call);
      return changeRows(call, {
        kind: jobKinds.resolveHealthErrors,
        targetResourceId: protectedItemArmId(call, item),
        targetObjectName: item.vmName,
        itemId: item.itemId,
        decide: async () => [],
      });
    },
  ),
];
