import { jobKinds } from '../../core/domain/jobs/job.js';
import { list, remove } from '../../core/records/access.js';
import { rows, type Fabric } from '../../core/records/rows.js';
import type { ApiResponse } from '../http/exchange.js';
import { findInconsistencies } from '../jobs/consistency.js';
import { fabricArmId, fabricOf, providerArmId, providerOf, storedFabric } from './fabrics.js';
import { vaultOperation, type VaultCall } from './operation.js';
import { changeRows } from './row-operation.js';
import { refuseUsed } from './used.js';

/**
 * The VMM server and its relay go together: a relay without its server's row has nothing to do, and is told so at its next call.
 * Neither goes while items are replicated. `withMappings`: purge takes the clouds' mappings along.
 */
async function removeFabric(
  call: VaultCall,
  fabric: Fabric,
  targetResourceId: string,
  withMappings: boolean,
): Promise<ApiResponse> {
  const { fabricName, inventory } = fabric;
  return changeRows(call, {
    kind: jobKinds.removeFabric,
    targetResourceId,
    targetObjectName: inventory.vmmServerName,
    decide: async () => {
      const stored = await storedFabric(call, fabricName);
      const [items, mappings] = await Promise.all([
        list(call.app.table, rows.items(call.vaultId)),
        list(call.app.table, rows.mappings(call.vaultId)),
      ]);
      const own = mappings.filter(({ value }) => value.fabricName === fabricName);
      const users = items.filter(({ value }) => value.fabricName === fabricName);
      refuseUsed(
        'fabric',
        fabricName,
        [
          ...users.map(({ value }) => `protected item ${value.itemName}`),
          ...(withMappings ? [] : own.map(({ value }) => `container mapping ${value.mappingName}`)),
        ],
        'Disable replication of the items, and remove the mappings of the clouds, first; DELETE takes the mappings along.',
      );
      return [remove(stored), ...own.map(remove)];
    },
  });
}

const removeProvider = async (call: VaultCall, withMappings: boolean): Promise<ApiResponse> => {
  const fabric = await providerOf(call);
  return removeFabric(call, fabric, providerArmId(call, fabric), withMappings);
};

const fabricPath = '~/replicationFabrics/{fabricName}';
const providerPath = `${fabricPath}/replicationRecoveryServicesProviders/{providerName}`;

export const fabricActions = [
  vaultOperation(
    'replicationFabrics.beginDelete',
    'POST',
    `${fabricPath}/remove`,
    { summary: 'Removes a VMM server and its relay, once nothing of it is replicated or mapped', longRunning: true },
    async (call) => {
      const fabric = await fabricOf(call);
      return removeFabric(call, fabric, fabricArmId(call, fabric.fabricName), false);
    },
  ),
  vaultOperation(
    'replicationFabrics.beginPurge',
    'DELETE',
    fabricPath,
    { summary: 'Removes a VMM server and its relay with the mappings of its clouds', longRunning: true },
    async (call) => {
      const fabric = await fabricOf(call);
      return removeFabric(call, fabric, fabricArmId(call, fabric.fabricName), true);
    },
  ),
  vaultOperation(
    'replicationFabrics.beginCheckConsistency',
    'POST',
    `${fabricPath}/checkConsistency`,
    {
      summary: 'Holds the items against what the site and Azure have now; the job names what does not fit',
      response: 'Fabric',
      longRunning: true,
      role: 'operator',
    },
    async (call) => {
      const fabric = await fabricOf(call);
      const inconsistentVms = await findInconsistencies(call.app, call.vaultId, fabric);
      return changeRows(call, {
        kind: jobKinds.checkConsistency,
        targetResourceId: fabricArmId(call, fabric.fabricName),
        targetObjectName: fabric.inventory.vmmServerName,
        decide: async () => [],
        details: { inconsistentVms },
      });
    },
  ),
  vaultOperation(
    'replicationRecoveryServicesProviders.beginDelete',
    'POST',
    `${providerPath}/remove`,
    { summary: 'Removes a relay with its VMM server, once nothing of it is replicated or mapped', longRunning: true },
    (call) => removeProvider(call, false),
  ),
  vaultOperation(
    'replicationRecoveryServicesProviders.beginPurge',
    'DELETE',
    providerPath,
    { summary: 'Removes a relay with its VMM server and the mappings of its clouds', longRunning: true },
    (call) => removeProvider(call, true),
  ),
  vaultOperation(
    'replicationRecoveryServicesProviders.beginRefreshProvider',
    'POST',
    `${providerPath}/refreshProvider`,
    {
      summary: 'Answers with the relay as it is known: it reports its site by itself whenever that changes',
      response: 'RecoveryServicesProvider',
      longRunning: true,
      role: 'operator',
    },
    async (call) => {
      const fabric = await providerOf(call);
      return changeRows(call, {
        kind: jobKinds.refreshProvider,
        targetResourceId: providerArmId(call, fabric),
        targetObjectName: fabric.inventory.vmmServerName,
        decide: async () => [],
      });
    },
  ),
];
