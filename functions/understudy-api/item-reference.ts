import { z } from 'zod';
import type { VaultId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { read, type Stored } from '../../core/records/access.js';
import { itemIdOf, rows } from '../../core/records/rows.js';
import { nameIn, vaultIdWithin } from '../arm/arm-id.js';
import { notFound, type Call } from '../arm/operation.js';
import { ApiError } from '../http/api-error.js';

/** How the calls beside ARM's own name a vault or an item: by its ARM id, in the body or in the query. */
const itemCollections = ['replicationFabrics', 'replicationProtectionContainers', 'replicationProtectedItems'];

/** The ARM id of an item, or of something below it. */
export const armIdWithinItem = (what: string, ...collections: string[]) =>
  z.string().refine((text) => isWithinItem(text, collections), { error: `the ARM id of ${what}` });

const isWithinItem = (text: string, collections: readonly string[]): boolean =>
  vaultIdWithin(text) !== undefined &&
  [...itemCollections, ...collections].every((name) => nameIn(text, name) !== undefined);

/** The item that an ARM id lies in; the id was checked to be one. */
export async function itemWithin(
  call: Call,
  armId: string,
): Promise<{ vaultId: VaultId; stored: Stored<ProtectedItem> }> {
  const vaultId = vaultIdWithin(armId);
  if (vaultId === undefined) throw notFound('vault', armId);
  const [fabricName = '', containerName = '', itemName = ''] = itemCollections.map((name) => nameIn(armId, name));
  const stored = await read(call.app.table, rows.item(vaultId, itemIdOf(vaultId, fabricName, containerName, itemName)));
  if (stored === undefined) throw notFound('replication protected item', itemName);
  return { vaultId, stored };
}

function badQuery(name: string, what: string, example: string): ApiError {
  return new ApiError({
    code: 'US1005',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target: name,
    message: `the query parameter ${name} is not the ARM id of ${what}`,
    recommendedAction: `Add ?${name}=${example}.`,
  });
}

export async function itemOfQuery(call: Call): ReturnType<typeof itemWithin> {
  const armId = call.query.get('itemId') ?? '';
  if (!isWithinItem(armId, [])) {
    throw badQuery('itemId', 'a replication protected item', '/subscriptions/…/replicationProtectedItems/{name}');
  }
  return itemWithin(call, armId);
}

export function vaultIdOfQuery(call: Call): VaultId {
  const vaultId = vaultIdWithin(call.query.get('vaultId') ?? '');
  if (vaultId === undefined) throw badQuery('vaultId', 'a vault', '/subscriptions/…/vaults/{name}');
  return vaultId;
}
