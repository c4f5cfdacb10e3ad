import type { Network, ProtectionContainer } from '@azure/arm-recoveryservices-siterecovery';
import { list } from '../../core/records/access.js';
import { rows, type Fabric } from '../../core/records/rows.js';
import { fabricArmId, fabricOf, fabricsOf, fabricTypeOf, friendlyNameOf } from './fabrics.js';
import { collection, notFound, ok, param, vaultOperation, type VaultCall } from './operation.js';
import type { Wire } from './wire.js';

type Cloud = Fabric['inventory']['clouds'][number];
export type SiteNetwork = Fabric['inventory']['networks'][number];

export const containerArmId = (call: Pick<VaultCall, 'armId'>, fabricName: string, containerName: string): string =>
  `${fabricArmId(call, fabricName)}/replicationProtectionContainers/${containerName}`;

/** The VMM cloud that the path names, with its fabric. */
export async function cloudOf(call: VaultCall): Promise<{ fabric: Fabric; cloud: Cloud }> {
  const fabric = await fabricOf(call);
  const name = param(call, 'protectionContainerName');
  const cloud = fabric.inventory.clouds.find(({ cloudId }) => cloudId.toLowerCase() === name.toLowerCase());
  if (cloud === undefined) {
    throw notFound('protection container', name, 'Clouds come with the inventory; list the containers of the fabric.');
  }
  return { fabric, cloud };
}

/** What is counted per cloud, read once a call. */
async function countsOf(call: VaultCall): Promise<{ items: Map<string, number>; mapped: Set<string> }> {
  const key = (row: { fabricName: string; containerName: string }): string =>
    `${row.fabricName}/${row.containerName}`.toLowerCase();
  const items = new Map<string, number>();
  for (const { value } of await list(call.app.table, rows.items(call.vaultId))) {
    items.set(key(value), (items.get(key(value)) ?? 0) + 1);
  }
  const mappings = await list(call.app.table, rows.mappings(call.vaultId));
  return { items, mapped: new Set(mappings.map(({ value }) => key(value))) };
}

async function containersToWire(
  call: VaultCall,
  clouds: readonly { fabric: Fabric; cloud: Cloud }[],
): Promise<Wire<ProtectionContainer>[]> {
  const counts = await countsOf(call);
  return clouds.map(({ fabric, cloud }) => {
    const key = `${fabric.fabricName}/${cloud.cloudId}`.toLowerCase();
    return {
      id: containerArmId(call, fabric.fabricName, cloud.cloudId),
      name: cloud.cloudId,
      type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers',
      properties: {
        fabricFriendlyName: friendlyNameOf(fabric),
        friendlyName: cloud.name,
        fabricType: fabricTypeOf(fabric),
        protectedItemCount: counts.items.get(key) ?? 0,
        pairingStatus: counts.mapped.has(key) ? 'Paired' : 'NotPaired',
        role: counts.mapped.has(key) ? 'Primary' : '',
        fabricSpecificDetails: { instanceType: fabricTypeOf(fabric) },
      },
    };
  });
}

export const networkArmId = (call: VaultCall, fabricName: string, networkName: string): string =>
  `${fabricArmId(call, fabricName)}/replicationNetworks/${networkName}`;

/** The VM network that the path names, with its fabric. */
export async function networkOf(call: VaultCall): Promise<{ fabric: Fabric; network: SiteNetwork }> {
  const fabric = await fabricOf(call);
  const name = param(call, 'networkName');
  const network = fabric.inventory.networks.find(({ networkId }) => networkId === name.toLowerCase());
  if (network === undefined) throw notFound('network', name);
  return { fabric, network };
}

const networkToWire = (call: VaultCall, fabric: Fabric, network: SiteNetwork): Wire<Network> => ({
  id: networkArmId(call, fabric.fabricName, network.networkId),
  name: network.networkId,
  type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationNetworks',
  properties: {
    fabricType: fabricTypeOf(fabric),
    friendlyName: network.name,
    networkType: 'VmNetwork',
    subnets: network.subnets.map((subnet) => ({
      name: subnet.name,
      friendlyName: subnet.name,
      addressList: [subnet.addressPrefix],
    })),
  },
});

const networksOf = (call: VaultCall, fabric: Fabric): Wire<Network>[] =>
  fabric.inventory.networks.map((network) => networkToWire(call, fabric, network));

/** VMM clouds and VM networks, as the relay's inventory tells them. */
export const cloudOperations = [
  vaultOperation(
    'replicationProtectionContainers.listByReplicationFabrics',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationProtectionContainers',
    { summary: 'Clouds of a VMM server', response: 'ProtectionContainerCollection' },
    async (call) => {
      const fabric = await fabricOf(call);
      return collection(
        await containersToWire(
          call,
          fabric.inventory.clouds.map((cloud) => ({ fabric, cloud })),
        ),
      );
    },
  ),
  vaultOperation(
    'replicationProtectionContainers.list',
    'GET',
    '~/replicationProtectionContainers',
    { summary: 'Clouds of the vault', response: 'ProtectionContainerCollection' },
    async (call) => {
      const fabrics = await fabricsOf(call);
      const clouds = fabrics.flatMap((fabric) => fabric.inventory.clouds.map((cloud) => ({ fabric, cloud })));
      return collection(await containersToWire(call, clouds));
    },
  ),
  vaultOperation(
    'replicationProtectionContainers.get',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationProtectionContainers/{protectionContainerName}',
    { summary: 'One cloud', response: 'ProtectionContainer' },
    async (call) => ok((await containersToWire(call, [await cloudOf(call)]))[0]),
  ),
  vaultOperation(
    'replicationNetworks.listByReplicationFabrics',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationNetworks',
    { summary: 'VM networks of a VMM server', response: 'NetworkCollection' },
    async (call) => collection(networksOf(call, await fabricOf(call))),
  ),
  vaultOperation(
    'replicationNetworks.list',
    'GET',
    '~/replicationNetworks',
    { summary: 'VM networks of the vault', response: 'NetworkCollection' },
    async (call) => collection((await fabricsOf(call)).flatMap((fabric) => networksOf(call, fabric))),
  ),
  vaultOperation(
    'replicationNetworks.get',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationNetworks/{networkName}',
    { summary: 'One VM network', response: 'Network' },
    async (call) => {
      const { fabric, network } = await networkOf(call);
      return ok(networkToWire(call, fabric, network));
    },
  ),
];
