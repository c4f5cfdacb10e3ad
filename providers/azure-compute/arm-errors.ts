import { isRestError } from '@azure/core-rest-pipeline';
import { UnderstudyError, type RetryAdvice } from '../../core/domain/errors.js';

/** What Azure's management API said, of an error of any of its SDKs. */
interface ArmAnswer {
  /** Absent where a long-running operation failed, or nothing was answered. */
  statusCode: number | undefined;
  code: string | undefined;
  message: string;
  retryAfterSeconds: number | undefined;
}

/**
 * The error that leaves the provider; what is no answer of Azure leaves as it is. The SDK's error is not handed on, for it
 * carries the request with its headers.
 */
export function armFailure(tried: string, error: unknown): unknown {
  const answer = answerOf(error);
  if (!answer) return error;
  const { statusCode, code, message, retryAfterSeconds } = answer;
  const found = `${[statusCode, code].filter((part) => part !== undefined).join(' ') || 'nothing'}: ${message}`;
  const kind = kindOf(answer);
  return new UnderstudyError({
    ...kind,
    message: `${kind.code} ${tried}: Azure answered ${found}`,
    details: { statusCode, serviceCode: code, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) },
    cause: new Error(found),
  });
}

export const isNotFound = (error: unknown): boolean => answerOf(error)?.statusCode === 404;

/** Worth another look within the same call: Azure was busy, or another operation was under way on the resource. */
export const isPassing = (error: unknown): error is UnderstudyError =>
  error instanceof UnderstudyError && (error.code === 'US6060' || error.code === 'US6065');

export const unfinished = (tried: string, found: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US6065',
    retry: 'later',
    message: `US6065 ${tried}: ${found}`,
    possibleCauses: 'Azure takes longer than usual, for example for large disks.',
    recommendedAction: 'Nothing at once: it is looked at again. If it lasts, see the resource in the Azure portal.',
    httpStatus: 503,
  });

/** core-lro tells of a failed operation in words only. */
const failedOperation = /^The long-running operation has failed(?:\. (\w+)\. (.*))?$/s;
const credentialErrors = new Set([
  'CredentialUnavailableError',
  'AuthenticationError',
  'AggregateAuthenticationError',
  'AuthenticationRequiredError',
]);

function answerOf(error: unknown): ArmAnswer | undefined {
  if (!(error instanceof Error) || error instanceof UnderstudyError) return undefined;
  const message = (error.message.split('\n')[0] ?? '').trim();
  const nothingMore = { statusCode: undefined, retryAfterSeconds: undefined };
  if (credentialErrors.has(error.name)) {
    const status: unknown = Reflect.get(error, 'statusCode');
    const isOutage = typeof status === 'number' && (status === 429 || status >= 500);
    return { ...nothingMore, statusCode: isOutage ? status : 401, code: error.name, message };
  }
  const failed = failedOperation.exec(error.message);
  if (failed) {
    const [, code = 'OperationFailed', text = message] = failed;
    return { ...nothingMore, code, message: text };
  }
  if (error.message === 'Operation was canceled') return { ...nothingMore, code: 'OperationPreempted', message };
  if (!isRestError(error)) return undefined;
  const seconds = Number.parseInt(error.response?.headers.get('retry-after') ?? '', 10);
  return {
    statusCode: error.statusCode,
    code: error.code,
    message,
    retryAfterSeconds: Number.isNaN(seconds) ? undefined : seconds,
  };
}

/** Refusals that pass: the resource, or one that it hangs on, is busy, or was a moment ago. */
const busyCodes =
  /^(?:AnotherOperationInProgress|RetryableError|OperationPreempted|InternalServerError|InternalExecutionError|InternalOperationError|NetworkingInternalOperationError|AttachDiskWhileBeingDetached|NicInUse|NicReservedForAnotherVm|PublicIPAddressCannotBeDeleted|PublicIPAddressInUse|VMStartTimedOut|ECONN\w+|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|REQUEST_SEND_ERROR)$/;
/** Of status 409 or 403, and an operator's to mend. */
const refusedForGood = /^(?:ScopeLocked|PropertyChangeNotAllowed|RequestDisallowedByPolicy)$/;
const addressCodes = /^PrivateIPAddress(?:InUse|IsAllocated|NotInSubnet|NotInAnySubnet|InReservedRange)$/;
const quotaCodes = /Quota|CountLimit|LimitReached|LimitExceeded/i;
const capacityCodes =
  /^(?:SkuNotAvailable|AllocationFailed|ZonalAllocationFailed|OverconstrainedAllocationRequest|OverconstrainedZonalAllocationRequest)$/;

const isBusy = ({ statusCode, code }: ArmAnswer): boolean =>
  busyCodes.test(code ?? '') ||
  (statusCode !== undefined && (statusCode === 408 || statusCode === 409 || statusCode === 429 || statusCode >= 500)) ||
  (statusCode === undefined && code === undefined);

function kindOf(answer: ArmAnswer): {
  code: string;
  retry: RetryAdvice;
  possibleCauses: string;
  recommendedAction: string;
  httpStatus: number;
} {
  const code = answer.code ?? '';
  if (code === 'SubnetIsFull') {
    return {
      code: 'US6050',
      retry: 'never',
      possibleCauses: 'All addresses of the subnet are taken.',
      recommendedAction: 'Clean up test failovers, or choose a larger subnet.',
      httpStatus: 409,
    };
  }
  if (addressCodes.test(code)) {
    return {
      code: 'US6055',
      retry: 'never',
      possibleCauses: 'Another machine has it, or it lies outside of the subnet, or is one of those that Azure keeps.',
      recommendedAction: 'Free the address, or choose another one or none for the item’s network interface.',
      httpStatus: 409,
    };
  }
  // Azure says "OperationNotAllowed" of an exceeded quota as well as of a busy resource.
  if (quotaCodes.test(code) || (code === 'OperationNotAllowed' && /quota/i.test(answer.message))) {
    return {
      code: 'US6062',
      retry: 'never',
      possibleCauses: 'A quota of the subscription is used up in this region.',
      recommendedAction: 'Ask for more quota in the Azure portal, or delete what is not needed; then fail over again.',
      httpStatus: 409,
    };
  }
  if (capacityCodes.test(code)) {
    return {
      code: 'US6063',
      retry: 'later',
      possibleCauses:
        'The region, or the zone, has no room for a virtual machine of this size now, or not for this subscription.',
      recommendedAction: 'Try again later, or choose another size for the item.',
      httpStatus: 503,
    };
  }
  if (refusedForGood.test(code)) return refused;
  if (answer.statusCode === 401 || answer.statusCode === 403) {
    return {
      code: 'US6061',
      retry: 'never',
      possibleCauses:
        'The app’s identity is missing, or lacks a role on the resource group, network or storage account.',
      recommendedAction:
        'Give the app’s managed identity the roles Virtual Machine Contributor, Network Contributor and Disk Snapshot Contributor where the message says; then fail over again.',
      httpStatus: 502,
    };
  }
  if (isBusy(answer)) {
    return {
      code: 'US6060',
      retry: 'later',
      possibleCauses: 'Azure is throttling or failing, cannot be reached, or another operation runs on the resource.',
      recommendedAction: 'Nothing at once: it is tried again. If it lasts, look at Azure’s status and at the network.',
      httpStatus: 503,
    };
  }
  return refused;
}

const refused = {
  code: 'US6064',
  retry: 'never',
  possibleCauses:
    'The resource group or another resource is missing or locked, a policy forbids it, or the size or region does not offer what the machine needs.',
  recommendedAction: 'Mend what Azure’s message names, then fail over again.',
  httpStatus: 502,
} as const;
