import { UnderstudyError } from '../../../core/domain/errors.js';

/** For assert.rejects. */
export const errorWithCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof UnderstudyError && error.code === code && error.message.startsWith(code);
