import type {
  CreateNetworkMappingInputProperties,
  NetworkMapping as SdkNetworkMapping,
  UpdateNetworkMappingInputProperties,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import type { NetworkMapping } from '../../core/domain/failover/target-network.js';
import { jobKinds, type JobKind } from '../../core/domain/jobs/job.js';
import { replace } from '../../core/records/access.js';
import type { Fabric } from '../../core/records/rows.js';
import type { ApiResponse } from '../http/exchange.js';
import { lastSegment } from './arm-id.js';
import { networkOrBadReference } from './cloud-resources.js';
import { networkArmId, networkOf, type SiteNetwork } from './clouds.js';
import { azureContainer } from './container-mappings.js';
import { fabricsOf, storedFabric } from './fabrics.js';
import {
  collection,
  notFound,
  ok,
  param,
  vaultOperation,
  vaultOperationWithBody,
  type VaultCall,
} from './operation.js';
import { changeRows } from './row-operation.js';
import { refuseUsed } from './used.js';
import type { ShapeOf, Wire } from './wire.js';

const recoveryNetworkId = z.string().startsWith('/subscriptions/');
const createBody = z.object({
  properties: z.object({
    recoveryFabricName: z.string().nullish(),
    recoveryNetworkId,
    fabricSpecificDetails: z.looseObject({ instanceType: z.literal('VmmToAzure') }).nullish(),
  } satisfies ShapeOf<CreateNetworkMappingInputProperties>),
});
const updateBody = z.object({
  properties: z.object({
    recoveryFabricName: z.string().nullish(),
    recoveryNetworkId: recoveryNetworkId.optional(),
    fabricSpecificDetails: z.looseObject({ instanceType: z.literal('VmmToAzure') }).nullish(),
  } satisfies ShapeOf<UpdateNetworkMappingInputProperties>),
});

const mappingArmId = (call: VaultCall, fabricName: string, { networkName, mappingName }: MappingName): string =>
  `${networkArmId(call, fabricName, networkName)}/replicationNetworkMappings/${mappingName}`;
type MappingName = Pick<NetworkMapping, 'networkName' | 'mappingName'>;

function toWire(call: VaultCall, fabric: Fabric, mapping: NetworkMapping): Wire<SdkNetworkMapping> {
  const network = fabric.inventory.networks.find(({ networkId }) => networkId === mapping.networkName);
  return {
    id: mappingArmId(call, fabric.fabricName, mapping),
    name: mapping.mappingName,
    type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationNetworks/replicationNetworkMappings',
    properties: {
      state: 'Paired',
      primaryNetworkFriendlyName: network?.name,
      primaryNetworkId: networkArmId(call, fabric.fabricName, mapping.networkName),
      primaryFabricFriendlyName: fabric.inventory.vmmServerName,
      recoveryNetworkFriendlyName: lastSegment(mapping.recoveryNetworkId),
      recoveryNetworkId: mapping.recoveryNetworkId,
      recoveryFabricArmId: azureContainer,
      recoveryFabricFriendlyName: azureContainer,
      fabricSpecificSettings: { instanceType: 'VmmToAzure' },
    },
  };
}

/** That of the path, in any case of letters. */
function mappingIn(call: VaultCall, { networkMappings }: Fabric, network: SiteNetwork): NetworkMapping {
  const name = param(call, 'networkMappingName');
  const found = networkMappings.find((mapping) => isNamed(mapping, network, name));
  if (found === undefined) throw notFound('network mapping', name);
  return found;
}

const isNamed = ({ networkName, mappingName }: MappingName, { networkId }: SiteNetwork, name: string): boolean =>
  networkName === networkId && mappingName.toLowerCase() === name.toLowerCase();

/** The fabric's row with other mappings, as a job. */
const changeMappings = (
  call: VaultCall,
  kind: JobKind,
  named: { fabricName: string } & MappingName,
  change: (fabric: Fabric, now: string) => NetworkMapping[],
): Promise<ApiResponse> =>
  changeRows(call, {
    kind,
    targetResourceId: mappingArmId(call, named.fabricName, named),
    targetObjectName: named.mappingName,
    decide: async (now) => {
      const stored = await storedFabric(call, named.fabricName);
      return [replace(stored, { ...stored.value, networkMappings: change(stored.value, now) })];
    },
  });

/** A VM network has one mapping: two would leave it open where its machines come up. */
async function saveMapping(call: VaultCall, wanted: string | undefined, isNew: boolean): Promise<ApiResponse> {
  const { fabric, network } = await networkOf(call);
  const recoveryNetworkId = wanted ?? mappingIn(call, fabric, network).recoveryNetworkId;
  await networkOrBadReference(call, recoveryNetworkId, '$.properties.recoveryNetworkId');
  const name = param(call, 'networkMappingName');
  const { fabricName } = fabric;
  const named = { fabricName, networkName: network.networkId, mappingName: name };
  return changeMappings(call, jobKinds.saveNetworkMapping, named, (current, now) => {
    const existing = isNew
      ? current.networkMappings.find((mapping) => isNamed(mapping, network, name))
      : mappingIn(call, current, network);
    const rest = current.networkMappings.filter((mapping) => mapping !== existing);
    const others = rest.filter(({ networkName }) => networkName === network.networkId);
    refuseUsed(
      'VM network',
      network.name,
      others.map(({ mappingName }) => `network mapping ${mappingName}`),
      'Update or delete the mapping that is there: a VM network has one.',
    );
    const { mappingName = name, createdAt = now } = existing ?? {};
    return [...rest, { mappingName, networkName: network.networkId, recoveryNetworkId, createdAt }];
  });
}

const mappingsPath = '~/replicationFabrics/{fabricName}/replicationNetworks/{networkName}/replicationNetworkMappings';
const mappingPath = `${mappingsPath}/{networkMappingName}`;

/** VM networks of a site mapped to virtual networks in Azure. */
export const networkMappingOperations = [
  vaultOperation(
    'replicationNetworkMappings.listByReplicationNetworks',
    'GET',
    mappingsPath,
    { summary: 'The mapping of a VM network', response: 'NetworkMappingCollection' },
    async (call) => {
      const { fabric, network } = await networkOf(call);
      const own = fabric.networkMappings.filter(({ networkName }) => networkName === network.networkId);
      return collection(own.map((mapping) => toWire(call, fabric, mapping)));
    },
  ),
  vaultOperation(
    'replicationNetworkMappings.list',
    'GET',
    '~/replicationNetworkMappings',
    { summary: 'Network mappings of the vault', response: 'NetworkMappingCollection' },
    async (call) =>
      collection(
        (await fabricsOf(call)).flatMap((fabric) =>
          fabric.networkMappings.map((mapping) => toWire(call, fabric, mapping)),
        ),
      ),
  ),
  vaultOperation(
    'replicationNetworkMappings.get',
    'GET',
    mappingPath,
    { summary: 'One network mapping', response: 'NetworkMapping' },
    async (call) => {
      const { fabric, network } = await networkOf(call);
      return ok(toWire(call, fabric, mappingIn(call, fabric, network)));
    },
  ),
  vaultOperationWithBody(
    'replicationNetworkMappings.beginCreate',
    'PUT',
    mappingPath,
    {
      summary: 'Maps a VM network to a virtual network: where the next failovers of its machines are connected',
      request: 'CreateNetworkMappingInput',
      response: 'NetworkMapping',
      longRunning: true,
      body: createBody,
    },
    (call, { properties }) => saveMapping(call, properties.recoveryNetworkId, true),
  ),
  vaultOperationWithBody(
    'replicationNetworkMappings.beginUpdate',
    'PATCH',
    mappingPath,
    {
      summary: 'Maps a VM network to another virtual network; it holds for items that replicate already',
      request: 'UpdateNetworkMappingInput',
      response: 'NetworkMapping',
      longRunning: true,
      body: updateBody,
    },
    (call, { properties }) => saveMapping(call, properties.recoveryNetworkId, false),
  ),
  vaultOperation(
    'replicationNetworkMappings.beginDelete',
    'DELETE',
    mappingPath,
    { summary: 'Removes a mapping: the next failovers are connected to no network', longRunning: true },
    async (call) => {
      const { fabric, network } = await networkOf(call);
      const mapping = mappingIn(call, fabric, network);
      const named = { ...mapping, fabricName: fabric.fabricName };
      return changeMappings(call, jobKinds.deleteNetworkMapping, named, (current) => {
        const found = mappingIn(call, current, network);
        return current.networkMappings.filter((each) => each !== found);
      });
    },
  ),
];
