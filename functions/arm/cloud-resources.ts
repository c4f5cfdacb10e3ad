import type { CloudStorageAccount } from '../../core/ports/cloud-inventory.js';
import { UnderstudyError } from '../../core/domain/errors.js';
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

export async function storageAccountOf(call: VaultCall, armId: string, target: string): Promise<CloudStorageAccount> {
  try {
    return await call.app.cloudInventory.storageAccount(armId);
  } catch (error) {
    if (!(error instanceof UnderstudyError) || error.code !== 'US6010') throw error;
    throw badReference(target, 'storage account', armId, 'Name a storage account that Understudy may use.');
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
