import type {
  CreateProtectionContainerMappingInputProperties,
  ProtectionContainerMapping,
  RemoveProtectionContainerMappingInputProperties,
  UpdateProtectionContainerMappingInputProperties,
} from '@azure/arm-recoveryservices-siterecovery';
import type { Temporal } from 'temporal-polyfill';
import { z } from 'zod';
import { jobKinds } from '../../core/domain/jobs/job.js';
import { list, put, read, remove, replace, type Stored } from '../../core/records/access.js';
import { rows, type ContainerMapping, type Fabric, type StoredPolicy } from '../../core/records/rows.js';
import type { ApiResponse } from '../http/exchange.js';
import { armIdOf, nameIn } from './arm-id.js';
import { badReference } from './cloud-resources.js';
import { cloudOf, containerArmId } from './clouds.js';
import { fabricsOf, siteErrors } from './fabrics.js';
import {
  collection,
  notFound,
  ok,
  param,
  vaultOperation,
  vaultOperationWithBody,
  type VaultCall,
} from './operation.js';
import { policyArmId } from './policies.js';
import { changeRows } from './row-operation.js';
import { refuseUsed } from './used.js';
import type { ShapeOf, Wire } from './wire.js';

/** The recovery side of every mapping: the literal that clients send and expect. */
export const azureContainer = 'Microsoft Azure';

const mappingBody = z.object({
  properties: z.object({
    policyId: armIdOf('replicationPolicies'),
    targetProtectionContainerId: z.literal(azureContainer).optional(),
    providerSpecificInput: z.looseObject({}).nullish(),
  } satisfies ShapeOf<CreateProtectionContainerMappingInputProperties>),
});

const mappingUpdateBody = z.object({
  properties: z
    .object({
      providerSpecificInput: z.looseObject({}).nullish(),
    } satisfies ShapeOf<UpdateProtectionContainerMappingInputProperties>)
    .nullish(),
});
const mappingRemoveBody = z.object({
  properties: z
    .object({
      providerSpecificInput: z.looseObject({}).nullish(),
    } satisfies ShapeOf<RemoveProtectionContainerMappingInputProperties>)
    .nullish(),
});

const mappingArmId = (call: VaultCall, mapping: ContainerMapping): string =>
  `${containerArmId(call, mapping.fabricName, mapping.containerName)}/replicationProtectionContainerMappings/${mapping.mappingName}`;

function mappingToWire(
  call: VaultCall,
  mapping: ContainerMapping,
  fabric: Fabric | undefined,
  now: Temporal.Instant,
): Wire<ProtectionContainerMapping> {
  // Its policy cannot be deleted while it stands: it is as well as its site.
  const healthErrorDetails = fabric === undefined ? [] : siteErrors(fabric, now);
  const cloud = fabric?.inventory.clouds.find(({ cloudId }) => cloudId === mapping.containerName);
  return {
    id: mappingArmId(call, mapping),
    name: mapping.mappingName,
    type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationProtectionContainerMappings',
    properties: {
      targetProtectionContainerId: azureContainer,
      targetProtectionContainerFriendlyName: azureContainer,
      targetFabricFriendlyName: azureContainer,
      health: healthErrorDetails.length === 0 ? 'Normal' : 'Critical',
      healthErrorDetails,
      policyId: policyArmId(call, mapping.policyName),
      policyFriendlyName: mapping.policyName,
      state: 'Paired',
      sourceProtectionContainerFriendlyName: cloud?.name,
      sourceFabricFriendlyName: fabric?.inventory.vmmServerName,
    },
  };
}

async function mappingsToWire(call: VaultCall, keep: (mapping: ContainerMapping) => boolean) {
  const now = await call.app.clock.now();
  const fabrics = await fabricsOf(call);
  const mappings = await list(call.app.table, rows.mappings(call.vaultId));
  return mappings
    .filter(({ value }) => keep(value))
    .map(({ value }) => {
      const fabric = fabrics.find(({ fabricName }) => fabricName === value.fabricName);
      return mappingToWire(call, value, fabric, now);
    });
}

async function putMapping(call: VaultCall, body: z.output<typeof mappingBody>): Promise<ApiResponse> {
  const { fabric, cloud } = await cloudOf(call);
  const mappingName = param(call, 'mappingName');
  const policyName = nameIn(body.properties.policyId, 'replicationPolicies') ?? '';
  const policyOf = async (): Promise<Stored<StoredPolicy>> => {
    const policy = await read(call.app.table, rows.policy(call.vaultId, policyName));
    if (policy !== undefined) return policy;
    throw badReference('$.properties.policyId', 'policy', body.properties.policyId, 'Create the policy first.');
  };
  await policyOf();
  const names = { fabricName: fabric.fabricName, containerName: cloud.cloudId };
  const row = rows.mapping(call.vaultId, names.fabricName, names.containerName, mappingName);
  return changeRows(call, {
    kind: jobKinds.createMapping,
    targetResourceId: mappingArmId(call, { ...names, mappingName, policyName, createdAt: '' }),
    targetObjectName: mappingName,
    decide: async (now) => {
      const [existing, policy] = await Promise.all([read(call.app.table, row), policyOf()]);
      const mapping: ContainerMapping = {
        ...names,
        mappingName: existing?.value.mappingName ?? mappingName,
        policyName: policy.value.name,
        createdAt: existing?.value.createdAt ?? now,
      };
      // With the policy's row, though it stays as it is: it is not deleted meanwhile.
      return [put(row, existing, mapping), replace(policy, policy.value)];
    },
  });
}

async function mappingOf(call: VaultCall): Promise<Stored<ContainerMapping>> {
  const [fabricName, containerName, name] = ['fabricName', 'protectionContainerName', 'mappingName'].map((each) =>
    param(call, each),
  ) as [string, string, string];
  const found = await read(call.app.table, rows.mapping(call.vaultId, fabricName, containerName, name));
  if (found === undefined) throw notFound('container mapping', name);
  return found;
}

/** Items keep replicating by their policy without it: a mapping is asked for when protection is enabled. `evenIfUsed`: purge. */
async function deleteMapping(call: VaultCall, evenIfUsed: boolean): Promise<ApiResponse> {
  const { value } = await mappingOf(call);
  return changeRows(call, {
    kind: jobKinds.deleteMapping,
    targetResourceId: mappingArmId(call, value),
    targetObjectName: value.mappingName,
    decide: async () => {
      const stored = await mappingOf(call);
      const { fabricName, containerName, policyName, mappingName } = stored.value;
      const items = (await list(call.app.table, rows.items(call.vaultId))).map(({ value: item }) => item);
      const place = `${fabricName}/${containerName}/${policyName}`.toLowerCase();
      const users = items.filter(
        (item) => `${item.fabricName}/${item.containerName}/${item.policyName}`.toLowerCase() === place,
      );
      if (!evenIfUsed) {
        refuseUsed(
          'container mapping',
          mappingName,
          users.map(({ itemName }) => `protected item ${itemName}`),
          'Disable replication of the items first, or purge the mapping with DELETE: they go on replicating.',
        );
      }
      return [remove(stored)];
    },
  });
}

const containerPath = '~/replicationFabrics/{fabricName}/replicationProtectionContainers/{protectionContainerName}';

/** Which policies a cloud's VMs may be protected by. */
export const containerMappingOperations = [
  vaultOperation(
    'replicationProtectionContainerMappings.listByReplicationProtectionContainers',
    'GET',
    `${containerPath}/replicationProtectionContainerMappings`,
    { summary: 'Mappings of a cloud', response: 'ProtectionContainerMappingCollection' },
    async (call) => {
      const { fabric, cloud } = await cloudOf(call);
      return collection(
        await mappingsToWire(
          call,
          (mapping) => mapping.fabricName === fabric.fabricName && mapping.containerName === cloud.cloudId,
        ),
      );
    },
  ),
  vaultOperation(
    'replicationProtectionContainerMappings.list',
    'GET',
    '~/replicationProtectionContainerMappings',
    { summary: 'Mappings of the vault', response: 'ProtectionContainerMappingCollection' },
    async (call) => collection(await mappingsToWire(call, () => true)),
  ),
  vaultOperation(
    'replicationProtectionContainerMappings.get',
    'GET',
    `${containerPath}/replicationProtectionContainerMappings/{mappingName}`,
    { summary: 'One mapping', response: 'ProtectionContainerMapping' },
    async (call) => {
      const { fabric } = await cloudOf(call);
      return ok(mappingToWire(call, (await mappingOf(call)).value, fabric, await call.app.clock.now()));
    },
  ),
  vaultOperationWithBody(
    'replicationProtectionContainerMappings.beginCreate',
    'PUT',
    `${containerPath}/replicationProtectionContainerMappings/{mappingName}`,
    {
      summary: 'Maps a cloud to a policy',
      request: 'CreateProtectionContainerMappingInput',
      response: 'ProtectionContainerMapping',
      longRunning: true,
      body: mappingBody,
    },
    putMapping,
  ),
  vaultOperationWithBody(
    'replicationProtectionContainerMappings.beginUpdate',
    'PATCH',
    `${containerPath}/replicationProtectionContainerMappings/{mappingName}`,
    {
      summary: 'Takes settings of other scenarios; those of Hyper-V are in the policy',
      request: 'UpdateProtectionContainerMappingInput',
      response: 'ProtectionContainerMapping',
      longRunning: true,
      body: mappingUpdateBody,
    },
    async (call) => {
      const { value } = await mappingOf(call);
      return changeRows(call, {
        kind: jobKinds.updateMapping,
        targetResourceId: mappingArmId(call, value),
        targetObjectName: value.mappingName,
        decide: async () => {
          await mappingOf(call);
          return [];
        },
      });
    },
  ),
  vaultOperationWithBody(
    'replicationProtectionContainerMappings.beginDelete',
    'POST',
    `${containerPath}/replicationProtectionContainerMappings/{mappingName}/remove`,
    {
      summary: 'Removes a mapping that no item goes by',
      request: 'RemoveProtectionContainerMappingInput',
      longRunning: true,
      body: mappingRemoveBody,
    },
    (call) => deleteMapping(call, false),
  ),
  vaultOperation(
    'replicationProtectionContainerMappings.beginPurge',
    'DELETE',
    `${containerPath}/replicationProtectionContainerMappings/{mappingName}`,
    { summary: 'Deletes a mapping; items that went by it go on replicating', longRunning: true },
    (call) => deleteMapping(call, true),
  ),
];
