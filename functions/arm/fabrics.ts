import type {
  Fabric as SdkFabric,
  HealthError,
  RecoveryServicesProvider,
} from '@azure/arm-recoveryservices-siterecovery';
import { Temporal } from 'temporal-polyfill';
import type { RelayId } from '../../core/domain/ids.js';
import type { HealthReason } from '../../core/domain/health/health-reason.js';
import { relaySilent } from '../../core/domain/health/site-health.js';
import { list, read, type Stored } from '../../core/records/access.js';
import { rows, type Fabric } from '../../core/records/rows.js';
import { healthErrorToWire } from './health-error.js';
import { collection, notFound, ok, param, vaultOperation, type VaultCall } from './operation.js';
import type { Wire } from './wire.js';

/** A relay that was silent for this long counts as gone: six heartbeats. */
const heartbeatLostAfterSeconds = 180;

/** A site that no relay was registered into yet misses none. */
export const isConnected = (fabric: Fabric, now: Temporal.Instant): boolean =>
  fabric.relayId === undefined ||
  now.since(Temporal.Instant.from(fabric.lastHeartbeatAt)).total('seconds') <= heartbeatLostAfterSeconds;

export const fabricArmId = (call: Pick<VaultCall, 'armId'>, fabricName: string): string =>
  call.armId(`/replicationFabrics/${fabricName}`);

/** With a relay that speaks for it. */
type SpokenFor = Fabric & { relayId: RelayId };

export const isSpokenFor = (fabric: Fabric): fabric is SpokenFor => fabric.relayId !== undefined;

export const providerArmId = (call: VaultCall, fabric: SpokenFor): string =>
  `${fabricArmId(call, fabric.fabricName)}/replicationRecoveryServicesProviders/${fabric.relayId}`;

export const fabricOf = async (call: VaultCall): Promise<Fabric> =>
  (await storedFabric(call, param(call, 'fabricName'))).value;

export async function storedFabric(call: VaultCall, fabricName: string): Promise<Stored<Fabric>> {
  const found = await read(call.app.table, rows.fabric(call.vaultId, fabricName));
  if (found === undefined) {
    throw notFound(
      'fabric',
      fabricName,
      'VMM servers appear when their relay registers, and PUT creates Hyper-V sites; list fabrics to see which are there.',
    );
  }
  return found;
}

/** The fabric whose relay the path names. */
export async function providerOf(call: VaultCall): Promise<SpokenFor> {
  const fabric = await fabricOf(call);
  const name = param(call, 'providerName');
  if (!isSpokenFor(fabric) || fabric.relayId.toLowerCase() !== name.toLowerCase()) throw notFound('provider', name);
  return fabric;
}

export const fabricsOf = async (call: VaultCall): Promise<Fabric[]> =>
  (await list(call.app.table, rows.fabrics(call.vaultId))).map(({ value }) => value);

export const fabricTypeOf = ({ isSite }: Fabric): 'HyperVSite' | 'VMM' => (isSite ? 'HyperVSite' : 'VMM');

/** A site is called as it was created, a VMM server as it calls itself. */
export const friendlyNameOf = ({ isSite, fabricName, inventory }: Fabric): string =>
  isSite ? fabricName : inventory.vmmServerName;

/** What ails a site, and with it its relay and its clouds. */
export const siteReasons = (fabric: Fabric, now: Temporal.Instant): HealthReason[] =>
  isConnected(fabric, now) ? [] : [relaySilent({ ...fabric, name: friendlyNameOf(fabric) })];

export const siteErrors = (fabric: Fabric, now: Temporal.Instant): Wire<HealthError>[] =>
  siteReasons(fabric, now).map((reason) =>
    healthErrorToWire(reason, {
      entityId: fabric.fabricName,
      errorType: 'ServerHealth',
      errorCategory: 'FabricInfrastructure',
    }),
  );

function fabricToWire(call: VaultCall, fabric: Fabric, now: Temporal.Instant): Wire<SdkFabric> {
  return {
    id: fabricArmId(call, fabric.fabricName),
    name: fabric.fabricName,
    type: 'Microsoft.RecoveryServices/vaults/replicationFabrics',
    properties: {
      friendlyName: friendlyNameOf(fabric),
      internalIdentifier: fabric.inventory.vmmServerId,
      bcdrState: 'Valid',
      encryptionDetails: { kekState: 'None' },
      rolloverEncryptionDetails: { kekState: 'None' },
      customDetails: fabric.isSite
        ? {
            instanceType: 'HyperVSite',
            hyperVHosts: fabric.inventory.hosts.map(({ hostId: id, name }) => ({ id, name })),
          }
        : { instanceType: 'VMM' },
      health: isConnected(fabric, now) ? 'Normal' : 'Critical',
      healthErrorDetails: siteErrors(fabric, now),
    },
  };
}

async function providerToWire(
  call: VaultCall,
  fabric: SpokenFor,
  now: Temporal.Instant,
): Promise<Wire<RecoveryServicesProvider>> {
  const items = await list(call.app.table, rows.items(call.vaultId));
  const relay = await read(call.app.table, rows.relay(fabric.relayId));
  const identity = { tenantId: '', applicationId: '', objectId: '', audience: '', aadAuthority: '' };
  return {
    id: providerArmId(call, fabric),
    name: fabric.relayId,
    type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationRecoveryServicesProviders',
    properties: {
      fabricType: fabricTypeOf(fabric),
      friendlyName: fabric.inventory.vmmServerName,
      providerVersion: fabric.relayVersion,
      serverVersion: '',
      providerVersionState: 'Latest',
      providerVersionDetails: { version: fabric.relayVersion, status: 'Supported' },
      fabricFriendlyName: friendlyNameOf(fabric),
      lastHeartBeat: fabric.lastHeartbeatAt,
      connectionStatus: isConnected(fabric, now) ? 'Connected' : 'Disconnected',
      protectedItemCount: items.filter(({ value }) => value.fabricName === fabric.fabricName).length,
      allowedScenarios: ['HyperVReplicaAzure'],
      healthErrorDetails: siteErrors(fabric, now),
      draIdentifier: fabric.relayId,
      machineName: relay?.value.machineName ?? '',
      authenticationIdentityDetails: identity,
      resourceAccessIdentityDetails: identity,
    },
  };
}

async function providersToWire(call: VaultCall, fabrics: readonly Fabric[]): Promise<Wire<RecoveryServicesProvider>[]> {
  const now = await call.app.clock.now();
  return Promise.all(fabrics.filter(isSpokenFor).map((fabric) => providerToWire(call, fabric, now)));
}

const listOf = { response: 'FabricCollection' };

/** VMM servers and Hyper-V sites, and the relays that speak for them: a relay's registration brings itself and its VMM server. */
export const fabricOperations = [
  vaultOperation(
    'replicationFabrics.list',
    'GET',
    '~/replicationFabrics',
    { summary: 'VMM servers and Hyper-V sites of the vault', ...listOf },
    async (call) => {
      const now = await call.app.clock.now();
      return collection((await fabricsOf(call)).map((fabric) => fabricToWire(call, fabric, now)));
    },
  ),
  vaultOperation(
    'replicationFabrics.get',
    'GET',
    '~/replicationFabrics/{fabricName}',
    { summary: 'One VMM server or Hyper-V site', response: 'Fabric', query: ['$filter'] },
    async (call) => ok(fabricToWire(call, await fabricOf(call), await call.app.clock.now())),
  ),
  vaultOperation(
    'replicationRecoveryServicesProviders.listByReplicationFabrics',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationRecoveryServicesProviders',
    { summary: 'The relay of a VMM server or Hyper-V site', response: 'RecoveryServicesProviderCollection' },
    async (call) => collection(await providersToWire(call, [await fabricOf(call)])),
  ),
  vaultOperation(
    'replicationRecoveryServicesProviders.list',
    'GET',
    '~/replicationRecoveryServicesProviders',
    { summary: 'Relays of the vault', response: 'RecoveryServicesProviderCollection' },
    async (call) => collection(await providersToWire(call, await fabricsOf(call))),
  ),
  vaultOperation(
    'replicationRecoveryServicesProviders.get',
    'GET',
    '~/replicationFabrics/{fabricName}/replicationRecoveryServicesProviders/{providerName}',
    { summary: 'One relay', response: 'RecoveryServicesProvider' },
    async (call) => {
      return ok(await providerToWire(call, await providerOf(call), await call.app.clock.now()));
    },
  ),
];
