import { UnderstudyError, type RetryAdvice } from '../../core/domain/errors.js';

/** What the service answered, of an error of either SDK; all undefined when the error is something else. */
export interface ServiceAnswer {
  statusCode: number | undefined;
  /** `BlobNotFound`, `ConditionNotMet`, … or a network code such as `ECONNREFUSED`. */
  code: string | undefined;
}

export function serviceAnswer(error: unknown): ServiceAnswer {
  if (typeof error !== 'object' || error === null) return { statusCode: undefined, code: undefined };
  const read = (name: string): unknown => Reflect.get(error, name);
  const statusCode = read('statusCode');
  const details = read('details');
  const detailCode: unknown =
    typeof details === 'object' && details !== null ? Reflect.get(details, 'errorCode') : undefined;
  const code = [read('code'), detailCode].find((value) => typeof value === 'string' && value !== '');
  return {
    statusCode: typeof statusCode === 'number' ? statusCode : undefined,
    code: typeof code === 'string' ? code : undefined,
  };
}

/** Worth another try: the service was busy, slow or not reachable, and the request itself was not refused. */
export function isTransient(error: unknown): boolean {
  const { statusCode, code } = serviceAnswer(error);
  if (code !== undefined && passingCodes.has(code)) return true;
  if (statusCode !== undefined) return statusCode === 408 || statusCode === 429 || statusCode >= 500;
  if (error instanceof UnderstudyError || !(error instanceof Error)) return false;
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return true;
  return code !== undefined && networkCodes.has(code);
}

/** Answers of class 4xx that are gone at the next try: bytes damaged on the way, and rates of snapshots and copies. */
const passingCodes = new Set([
  'Md5Mismatch',
  'Crc64Mismatch',
  'SnapshotOperationRateExceeded',
  // As the service spells it.
  'SnaphotOperationRateExceeded',
]);

const networkCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ERR_STREAM_PREMATURE_CLOSE',
  'REQUEST_SEND_ERROR',
  'PARSE_ERROR',
]);

/**
 * The error that leaves the provider. `tried` and `target` are for the operator; the SDK's error is not handed on as it
 * is, for it carries the request with its URL and headers.
 */
export function storageFailure(tried: string, target: string, error: unknown): Error {
  if (error instanceof UnderstudyError) return error;
  if (!(error instanceof Error)) return new Error(`${tried} ${target}: ${String(error)}`);
  const { statusCode, code } = serviceAnswer(error);
  if (statusCode === undefined && code === undefined && !isTransient(error)) return error;
  const found = `${statusCode ?? 'no answer'}${code === undefined ? '' : ` ${code}`}: ${firstLine(error.message)}`;
  const kind = kindOf(statusCode, error);
  return new UnderstudyError({
    ...kind,
    message: `${kind.code} ${tried} ${target}: the storage service answered ${found}`,
    details: { statusCode, serviceCode: code },
    cause: new Error(found),
  });
}

const firstLine = (text: string): string => (text.split('\n')[0] ?? '').trim();

function kindOf(
  statusCode: number | undefined,
  error: unknown,
): { code: string; retry: RetryAdvice; recommendedAction: string; possibleCauses: string; httpStatus: number } {
  if (isTransient(error)) {
    return {
      code: 'US6020',
      retry: 'later',
      possibleCauses: 'The storage account is throttled, overloaded or cannot be reached.',
      recommendedAction: 'Nothing at once: it is tried again. If it lasts, look at the account and the network to it.',
      httpStatus: 503,
    };
  }
  if (statusCode === 401 || statusCode === 403) {
    return {
      code: 'US6021',
      retry: 'never',
      possibleCauses:
        'The key was rotated, the identity lacks a role, a firewall shuts the caller out, or clocks differ.',
      recommendedAction:
        'Check the credential of the storage account, its firewall, and the clock of the machine that called.',
      httpStatus: 502,
    };
  }
  if (statusCode === 404) {
    return {
      code: 'US6022',
      retry: 'never',
      possibleCauses: 'It was deleted outside of Understudy, or was never made.',
      recommendedAction: 'Find out who deleted it; an item whose replica is gone must be protected anew.',
      httpStatus: 502,
    };
  }
  return {
    code: 'US6023',
    retry: 'never',
    possibleCauses: 'A defect, an account of the wrong kind, or a storage feature that is not there.',
    recommendedAction: 'Report this with the message; check the kind of the storage account.',
    httpStatus: 502,
  };
}
