import { UnderstudyError } from '../../core/domain/errors.js';
import type { ApiResponse } from './exchange.js';

/**
 * A refusal at the door. `code` is Understudy's stable code (docs/errors.md); `armCode` is the word that ARM clients know for it,
 * where ARM has one.
 */
export class ApiError extends UnderstudyError {
  readonly armCode: string | undefined;
  /** What in the request is wrong: a path segment, a parameter's name or a JSON path. */
  readonly target: string | undefined;

  constructor(options: ConstructorParameters<typeof UnderstudyError>[0] & { armCode?: string; target?: string }) {
    super(options);
    this.name = 'ApiError';
    this.armCode = options.armCode;
    this.target = options.target;
  }
}

/** A failure that no one foresaw: the caller learns that it happened and what to quote, never what was inside. */
function unexpected(activityId: string): ApiError {
  return new ApiError({
    code: 'US1017',
    armCode: 'InternalServerError',
    httpStatus: 500,
    retry: 'later',
    message: `the request failed in a way that Understudy did not foresee (activity ${activityId})`,
    possibleCauses: 'A storage outage, or a defect in Understudy.',
    recommendedAction: `Try again; if it fails again, look for activity ${activityId} in the app's log.`,
  });
}

/** The caller's error, or an unexpected one after `log` has seen the cause. */
export function asUnderstudyError(
  error: unknown,
  activityId: string,
  log: (message: string, error: unknown) => void,
): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  log(`US1017 unexpected failure, activity ${activityId}`, error);
  return unexpected(activityId);
}

const retryAfterSeconds = 10;

const headersOf = (error: UnderstudyError): Pick<ApiResponse, 'headers'> =>
  error.httpStatus === 401 ? { headers: { 'WWW-Authenticate': 'Bearer' } } : retryAfter(error);

/** When to come again, of a refusal that passes. */
export function retryAfter({ httpStatus, details }: UnderstudyError): Pick<ApiResponse, 'headers'> {
  switch (httpStatus) {
    case 429:
      return { headers: { 'Retry-After': String(Number(details.retryAfterSeconds ?? retryAfterSeconds)) } };
    case 503:
      return { headers: { 'Retry-After': String(retryAfterSeconds) } };
    default:
      return {};
  }
}

/** ARM's error body. */
export function armErrorResponse(error: UnderstudyError, activityId: string): ApiResponse {
  const arm = error instanceof ApiError ? error : undefined;
  return {
    status: error.httpStatus,
    body: {
      error: {
        code: arm?.armCode ?? error.code,
        message: error.message,
        target: arm?.target,
        details: [
          {
            code: error.code,
            message: error.message,
            target: arm?.target,
            evidence: Object.keys(error.details).length === 0 ? undefined : error.details,
          },
        ],
        possibleCauses: error.possibleCauses,
        recommendedAction: error.recommendedAction,
        activityId,
      },
    },
    ...headersOf(error),
  };
}
