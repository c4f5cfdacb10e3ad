import type { CloudNetwork, CloudStorageAccount } from '../../core/ports/cloud-inventory.js';
import { UnderstudyError } from '../../core/domain/errors.js';
import { limits } from '../../core/domain/prerequisites/limits.js';
import { list } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { ApiError } from '../http/api-error.js';
import type { VaultCall } from './operation.js';

/** What a body refers to and what is not there: 400, with the place in the body. */
export const badReference = (target: string, what: string, id: string, action: string): ApiError =>
  new ApiError({
    code: 'US1016',
    armCode: 'InvalidReference',
    httpStatus: 400,
    target,
    message: `${target}: there is no ${what} '${id}'`,
    possibleCauses: 'A misspelt id, or something that was removed meanwhile.',
    recommendedAction: action,
  });

/** Undefined where there is no such account; other errors pass. */
async function findStorageAccount(call: VaultCall, armId: string): Promise<CloudStorageAccount | undefined> {
  try {
    return await call.app.cloudInventory.storageAccount(armId);
  } catch (error) {
    if (!(error instanceof UnderstudyError) || error.code !== 'US6010') throw error;
    return undefined;
  }
}

export async function storageAccountOf(call: VaultCall, armId: string, target: string): Promise<CloudStorageAccount> {
  const account = await findStorageAccount(call, armId);
  if (account !== undefined) return account;
  throw badReference(target, 'storage account', armId, 'Name a storage account that Understudy may use.');
}

export async function networkOrBadReference(call: VaultCall, armId: string, target: string): Promise<CloudNetwork> {
  try {
    return await call.app.cloudInventory.network(armId);
  } catch (error) {
    if (!(error instanceof UnderstudyError) || error.code !== 'US6011') throw error;
    throw badReference(target, 'virtual network', armId, 'Name a virtual network that Understudy knows.');
  }
}

/** A premium page blob takes 100 snapshots: at 30 s they would be used up within the hour. */
export function checkIntervalFitsStorage(intervalSeconds: number, account: CloudStorageAccount, target: string): void {
  if (intervalSeconds > 30 || account.kind !== 'premium') return;
  throw new ApiError({
    code: 'US1015',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target,
    message: `${target}: ${account.name} is a premium account, which a replication interval of ${intervalSeconds} s does not fit`,
    possibleCauses: 'A premium page blob holds at most 100 snapshots.',
    recommendedAction: 'Use an interval of 300 or 900 s, or a standard account.',
  });
}

/** The same for the items that replicate by the policy already: their accounts were checked against its interval of then. */
export async function checkIntervalFitsItems(
  call: VaultCall,
  policyName: string,
  intervalSeconds: number,
  target: string,
): Promise<void> {
  if (intervalSeconds >= limits.premiumReplicationIntervalMinSeconds) return;
  const items = (await list(call.app.table, rows.items(call.vaultId)))
    .map(({ value }) => value)
    // Where enabling failed nothing is replicated, and enabling again checks anew.
    .filter((item) => item.policyName.toLowerCase() === policyName.toLowerCase() && item.state !== 'EnablingFailed');
  const byAccount = new Map(items.map((item) => [item.target.storageAccountId.toLowerCase(), item]));
  for (const item of byAccount.values()) {
    const account = await findStorageAccount(call, item.target.storageAccountId);
    if (account?.kind !== 'premium') continue;
    throw new ApiError({
      code: 'US3115',
      armCode: 'InvalidParameter',
      httpStatus: 400,
      target,
      message:
        `${target}: account ${account.name} is premium and holds the replica of ${item.itemName}, ` +
        `which policy ${policyName} would replicate every ${intervalSeconds} s`,
      possibleCauses: 'A premium page blob takes 100 snapshots only.',
      recommendedAction:
        'Keep this policy at 300 or 900 s, and make another one for virtual machines on standard accounts.',
    });
  }
}
