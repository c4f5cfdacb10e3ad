import type { RecoveryPoint as SdkRecoveryPoint } from '@azure/arm-recoveryservices-siterecovery';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../../core/domain/recovery-point/recovery-point.js';
import { list, type Stored } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { collection, notFound, ok, param, vaultOperation, type VaultCall } from './operation.js';
import { itemOf, itemPath } from './protected-items.js';
import { protectedItemArmId } from './protectable-items.js';
import type { Wire } from './wire.js';

const consistencyWords: Record<RecoveryPoint['consistency'], string> = {
  crashConsistent: 'CrashConsistent',
  applicationConsistent: 'ApplicationConsistent',
};

/** Whole points of the item's present life, newest first. */
export async function readyPoints(call: VaultCall, item: ProtectedItem): Promise<Stored<RecoveryPoint>[]> {
  const points = await list(call.app.table, rows.points(call.vaultId, item.itemId));
  return points.filter(({ value }) => value.state === 'ready' && value.protectionId === item.protectionId);
}

const toWire = (call: VaultCall, item: ProtectedItem, point: RecoveryPoint): Wire<SdkRecoveryPoint> => ({
  id: `${protectedItemArmId(call, item)}/recoveryPoints/${point.recoveryPointId}`,
  name: point.recoveryPointId,
  type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationProtectedItems/recoveryPoints',
  properties: {
    recoveryPointTime: point.takenAt,
    recoveryPointType: consistencyWords[point.consistency],
  },
});

export const recoveryPointOperations = [
  vaultOperation(
    'recoveryPoints.listByReplicationProtectedItems',
    'GET',
    `${itemPath}/recoveryPoints`,
    { summary: 'Recovery points, newest first', response: 'RecoveryPointCollection' },
    async (call) => {
      const item = (await itemOf(call)).value;
      return collection((await readyPoints(call, item)).map(({ value }) => toWire(call, item, value)));
    },
  ),
  vaultOperation(
    'recoveryPoints.get',
    'GET',
    `${itemPath}/recoveryPoints/{recoveryPointName}`,
    { summary: 'One recovery point', response: 'RecoveryPoint' },
    async (call) => {
      const item = (await itemOf(call)).value;
      const name = param(call, 'recoveryPointName');
      const point = (await readyPoints(call, item)).find(
        ({ value }) => value.recoveryPointId.toLowerCase() === name.toLowerCase(),
      );
      if (point === undefined) throw notFound('recovery point', name);
      return ok(toWire(call, item, point.value));
    },
  ),
];
