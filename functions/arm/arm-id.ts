import { z } from 'zod';
import { asVaultId, type VaultId } from '../../core/domain/ids.js';

/** The last segment of an ARM id, or the whole text when it is a bare name. */
export const lastSegment = (armId: string): string =>
  armId
    .split('/')
    .filter((part) => part !== '')
    .at(-1) ?? '';

/** Name that follows `/{collection}/` in an ARM id, whatever the case. */
export function nameIn(armId: string, collection: string): string | undefined {
  const parts = armId.split('/').filter((part) => part !== '');
  const index = parts.findIndex((part) => part.toLowerCase() === collection.toLowerCase());
  return index === -1 ? undefined : parts[index + 1];
}

/** `/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.RecoveryServices/vaults/{v}`. */
export const vaultArmId = (subscriptionId: string, resourceGroup: string, vaultName: string): string =>
  `/subscriptions/${subscriptionId}/resourceGroups/${resourceGroup}/providers/Microsoft.RecoveryServices/vaults/${vaultName}`;

const vaultIdPattern =
  /^\/subscriptions\/[^/]+\/resourcegroups\/[^/]+\/providers\/microsoft\.recoveryservices\/vaults\/[^/]+/i;

/** The vault that an ARM id lies in. */
export function vaultIdWithin(armId: string): VaultId | undefined {
  const match = vaultIdPattern.exec(armId);
  return match === null ? undefined : asVaultId(match[0]);
}

/** An ARM id that must lie under a collection, e.g. `replicationPolicies`. */
export const armIdOf = (collection: string) =>
  z.string().refine((text) => nameIn(text, collection) !== undefined, { error: `an ARM id of …/${collection}/{name}` });
