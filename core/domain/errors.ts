/** When the caller may try again: at once, after a wait (the domain's retry schedule), or never without an operator. */
export type RetryAdvice = 'now' | 'later' | 'never';

/**
 * A failure with a stable code. Every code has a paragraph in docs/errors.md.
 *
 * The message says what was tried, on what, what was found; `recommendedAction` says what to do next.
 * Messages never hold secrets (SAS tokens, keys, connection strings).
 */
export class UnderstudyError extends Error {
  readonly code: string;
  readonly retry: RetryAdvice;
  /** HTTP status that a door answers with when this error reaches it. */
  readonly httpStatus: number;
  readonly recommendedAction: string;
  readonly possibleCauses: string;
  /** Typed evidence for the operator and the API's error body. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(options: {
    code: string;
    message: string;
    recommendedAction: string;
    possibleCauses?: string;
    retry?: RetryAdvice;
    httpStatus?: number;
    details?: Readonly<Record<string, unknown>>;
    cause?: unknown;
  }) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'UnderstudyError';
    this.code = options.code;
    this.retry = options.retry ?? 'never';
    this.httpStatus = options.httpStatus ?? 500;
    this.recommendedAction = options.recommendedAction;
    this.possibleCauses = options.possibleCauses ?? '';
    this.details = options.details ?? {};
  }
}
