import { UnderstudyError } from '../core/domain/errors.js';

/** Ends a script that failed: what an operator can mend in words, a fault of ours with its stack. */
export function tellFailure(error: unknown): void {
  const text =
    error instanceof UnderstudyError
      ? `${error.code} ${error.message}\n  ${error.recommendedAction}`
      : String(error instanceof Error ? error.stack : error);
  process.stderr.write(`${text}\n`);
  process.exitCode = 1;
}
