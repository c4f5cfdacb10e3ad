import { UnderstudyError } from '../core/domain/errors.js';

/** Undefined where the account or network is not there; other errors pass. */
export async function findOrUndefined<T>(search: Promise<T>): Promise<T | undefined> {
  try {
    return await search;
  } catch (error) {
    if (error instanceof UnderstudyError && (error.code === 'US6010' || error.code === 'US6011')) return undefined;
    throw error;
  }
}
