import type { RetryAdvice } from '../errors.js';

/** What kind of thing stands in the way of replication. */
export type FailureCause =
  | 'network'
  | 'relayUnreachable'
  | 'hostUnreachable'
  | 'lowMemory'
  | 'lowDiskSpace'
  | 'storageThrottling'
  /** Bytes that arrived otherwise than they were sent: they are sent or read again. */
  | 'damagedOnTheWay'
  /** Two sides had another view of the item: the next look at the assignment and the site settles it. */
  | 'outOfStep'
  | 'unforeseen'
  | 'brokenDiskChain'
  /** Changes are lost, or the replica is not what it should be: only a resynchronization or a new protection mends it. */
  | 'invalidReplicaState'
  /** The disks are not those that were protected. */
  | 'diskMismatch'
  | 'authentication'
  | 'authorization'
  | 'vmNotFound'
  | 'configuration'
  | 'versionMismatch'
  | 'defect';

/**
 * recoverable: tried again by the retry schedule. unrecoverable: Critical at once, and not tried again before an operator
 * acts. `owner` is the side that fails with it, and waits: `both` where either side may.
 */
export interface Classification {
  kind: 'recoverable' | 'unrecoverable';
  cause: FailureCause;
  owner: 'relay' | 'app' | 'both';
}

const recoverable = (cause: FailureCause, owner: Classification['owner']): Classification => ({
  kind: 'recoverable',
  cause,
  owner,
});
const unrecoverable = (cause: FailureCause, owner: Classification['owner']): Classification => ({
  kind: 'unrecoverable',
  cause,
  owner,
});

/** Every code that can stop replication, on either side (docs/errors.md has a paragraph on each). */
export const classificationByCode: Readonly<Record<string, Classification>> = {
  // What the relay reads of the source.
  US2001: unrecoverable('brokenDiskChain', 'relay'),
  US2010: unrecoverable('brokenDiskChain', 'relay'),
  US2011: unrecoverable('brokenDiskChain', 'relay'),
  US2012: unrecoverable('brokenDiskChain', 'relay'),
  US2013: unrecoverable('brokenDiskChain', 'relay'),
  US2014: unrecoverable('brokenDiskChain', 'relay'),
  US2030: unrecoverable('invalidReplicaState', 'relay'),
  US2031: unrecoverable('invalidReplicaState', 'relay'),
  US2032: unrecoverable('invalidReplicaState', 'relay'),
  US2033: unrecoverable('invalidReplicaState', 'relay'),
  US2034: unrecoverable('invalidReplicaState', 'relay'),
  US2044: unrecoverable('invalidReplicaState', 'relay'),
  US2050: unrecoverable('invalidReplicaState', 'relay'),
  // What the app reads of what the relay sent, and the relay of the replica's checksums.
  US2040: unrecoverable('versionMismatch', 'app'),
  US2041: recoverable('damagedOnTheWay', 'app'),
  US2042: recoverable('damagedOnTheWay', 'app'),
  US2043: recoverable('damagedOnTheWay', 'app'),
  US2060: recoverable('outOfStep', 'relay'),
  US2061: recoverable('damagedOnTheWay', 'relay'),

  US1017: recoverable('unforeseen', 'both'),
  US1034: recoverable('network', 'relay'),
  US1107: unrecoverable('authorization', 'relay'),
  US1108: recoverable('outOfStep', 'relay'),
  US1113: recoverable('damagedOnTheWay', 'relay'),

  US3000: recoverable('unforeseen', 'app'),
  US3001: recoverable('outOfStep', 'relay'),
  US3002: unrecoverable('invalidReplicaState', 'relay'),
  US3003: recoverable('outOfStep', 'relay'),
  US3004: unrecoverable('invalidReplicaState', 'relay'),
  US3005: recoverable('outOfStep', 'relay'),
  US3006: recoverable('outOfStep', 'relay'),
  US3007: unrecoverable('diskMismatch', 'relay'),
  US3008: recoverable('outOfStep', 'relay'),
  US3009: unrecoverable('diskMismatch', 'relay'),
  US3024: recoverable('outOfStep', 'relay'),
  US3010: recoverable('outOfStep', 'app'),
  US3011: unrecoverable('invalidReplicaState', 'app'),
  US3012: unrecoverable('invalidReplicaState', 'app'),
  US3013: unrecoverable('invalidReplicaState', 'relay'),
  US3014: unrecoverable('defect', 'relay'),
  US3015: unrecoverable('invalidReplicaState', 'relay'),
  US3016: recoverable('outOfStep', 'relay'),
  US3017: unrecoverable('diskMismatch', 'relay'),
  US3018: recoverable('outOfStep', 'relay'),
  US3021: unrecoverable('invalidReplicaState', 'app'),
  US3051: recoverable('relayUnreachable', 'app'),

  US5001: recoverable('hostUnreachable', 'relay'),
  US5003: unrecoverable('configuration', 'relay'),
  US5004: unrecoverable('defect', 'relay'),
  US5005: unrecoverable('vmNotFound', 'relay'),
  US5007: unrecoverable('invalidReplicaState', 'relay'),
  US5008: recoverable('outOfStep', 'relay'),
  US5010: unrecoverable('configuration', 'relay'),
  US5011: recoverable('outOfStep', 'relay'),
  US5012: unrecoverable('configuration', 'relay'),
  US5013: unrecoverable('invalidReplicaState', 'relay'),
  US5014: recoverable('outOfStep', 'relay'),
  US5015: recoverable('lowMemory', 'relay'),
  US5016: recoverable('lowDiskSpace', 'relay'),
  US5018: unrecoverable('brokenDiskChain', 'relay'),
  US5019: recoverable('unforeseen', 'relay'),
  US5020: recoverable('hostUnreachable', 'relay'),
  US5021: unrecoverable('diskMismatch', 'relay'),
  US5022: unrecoverable('configuration', 'relay'),
  US5023: unrecoverable('configuration', 'relay'),
  US5024: unrecoverable('lowDiskSpace', 'relay'),
  US5025: unrecoverable('diskMismatch', 'relay'),
  US5026: unrecoverable('invalidReplicaState', 'relay'),
  US5027: unrecoverable('configuration', 'relay'),

  US5110: recoverable('network', 'relay'),
  US5111: unrecoverable('authentication', 'relay'),
  US5112: recoverable('network', 'relay'),
  US5113: recoverable('unforeseen', 'relay'),
  US5120: unrecoverable('configuration', 'relay'),
  US5121: unrecoverable('diskMismatch', 'relay'),
  US5122: unrecoverable('brokenDiskChain', 'relay'),
  US5124: unrecoverable('invalidReplicaState', 'relay'),
  US5125: recoverable('network', 'relay'),
  US5126: recoverable('outOfStep', 'relay'),
  US5127: recoverable('damagedOnTheWay', 'relay'),
  US5128: unrecoverable('configuration', 'relay'),
  US5129: unrecoverable('configuration', 'relay'),
  US5190: recoverable('unforeseen', 'relay'),

  US6001: unrecoverable('defect', 'app'),
  US6002: unrecoverable('defect', 'app'),
  US6003: unrecoverable('versionMismatch', 'app'),
  US6010: unrecoverable('configuration', 'app'),
  US6012: unrecoverable('configuration', 'app'),
  US6020: recoverable('storageThrottling', 'both'),
  US6021: unrecoverable('authorization', 'both'),
  US6022: unrecoverable('invalidReplicaState', 'both'),
  US6023: unrecoverable('configuration', 'both'),
  US6024: unrecoverable('diskMismatch', 'app'),
  US6025: unrecoverable('defect', 'relay'),
  US6026: unrecoverable('defect', 'relay'),
  US6027: recoverable('unforeseen', 'app'),
  US6040: recoverable('network', 'both'),
  US6055: unrecoverable('configuration', 'app'),
  US6060: recoverable('network', 'app'),
  US6061: unrecoverable('authorization', 'app'),
  US6062: unrecoverable('configuration', 'app'),
  US6063: recoverable('unforeseen', 'app'),
  US6064: unrecoverable('configuration', 'app'),
  US6065: recoverable('unforeseen', 'app'),
  US6066: unrecoverable('configuration', 'app'),
  US6068: unrecoverable('configuration', 'app'),
  US6067: unrecoverable('configuration', 'app'),
  US6080: recoverable('network', 'app'),
};

/** What nobody foresaw may pass, and is tried again. */
const unknown = recoverable('unforeseen', 'both');

/** Of an error of either side, or of what is left of one that travelled: its code decides. */
export function classify(error: unknown): Classification {
  const code: unknown = typeof error === 'object' && error !== null ? Reflect.get(error, 'code') : undefined;
  return (typeof code === 'string' ? classificationByCode[code] : undefined) ?? unknown;
}

export const isUnrecoverable = (error: unknown): boolean => classify(error).kind === 'unrecoverable';

/** The advice that an error of this code carries. */
export const retryAdvice = (code: string): RetryAdvice => (isUnrecoverable({ code }) ? 'never' : 'later');
