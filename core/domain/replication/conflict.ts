import { UnderstudyError } from '../errors.js';
import { retryAdvice } from '../retry/classification.js';

/**
 * Why something that a relay announced is refused, with the evidence. A conflict is an expected outcome: nothing was
 * changed, and the relay reads its assignment again before it goes on.
 */
export type ReplicationConflict =
  | { kind: 'gap'; expected: number; announced: number }
  | { kind: 'digestConflict'; what: string }
  /** Another life of the item, or an epoch that was closed by a failover or resync. */
  | { kind: 'superseded'; currentEpoch: number; announcedEpoch: number; stopReason: string | undefined }
  | { kind: 'resyncRequired'; reason: string }
  | { kind: 'notReplicating'; phase: string; stopReason: string | undefined }
  | { kind: 'stale'; receivedCycle: number; announced: number }
  | { kind: 'diskMismatch'; missing: string[]; unexpected: string[] }
  | { kind: 'baseIncomplete'; diskId: string; receivedThroughBytes: number; sizeBytes: number }
  | { kind: 'baseAlreadyClosed'; byCycle: number }
  | { kind: 'badRange'; diskId: string; fromBytes: number; toBytes: number; sizeBytes: number }
  | { kind: 'baseRestarted'; startedAt: string; announcedAt: string }
  | { kind: 'segmentWithoutLog'; diskId: string; fromBytes: number }
  | { kind: 'badScope'; diskId: string; groupBytes: number; lengthBytes: number; expected: number }
  | { kind: 'afterFinal'; finalCycle: number; announced: number }
  | { kind: 'notDigested'; diskId: string; fromBytes: number; digestedThroughBytes: number };

const readAssignment = 'Read the assignment again and go on from what it says.';

/** The conflict as the error that a door answers with: always 409, with the evidence in `details`. */
export function conflictError(conflict: ReplicationConflict): UnderstudyError {
  const { code, message, recommendedAction, possibleCauses } = describe(conflict);
  return new UnderstudyError({
    code,
    message,
    recommendedAction,
    possibleCauses,
    retry: retryAdvice(code),
    httpStatus: 409,
    details: { conflict },
  });
}

interface Description {
  code: string;
  message: string;
  possibleCauses: string;
  recommendedAction: string;
}

function describe(conflict: ReplicationConflict): Description {
  switch (conflict.kind) {
    case 'gap':
      return {
        code: 'US3001',
        message: `${conflict.announced} was announced where ${conflict.expected} must come next`,
        possibleCauses: 'A log was lost or announced out of order.',
        recommendedAction: readAssignment,
      };
    case 'afterFinal':
      return {
        code: 'US3024',
        message: `cycle ${conflict.announced} was announced after ${conflict.finalCycle}, the final one of a planned failover`,
        possibleCauses: 'The source was written to after it was shut down for the failover.',
        recommendedAction: readAssignment,
      };
    case 'digestConflict':
      return {
        code: 'US3002',
        message: `${conflict.what} was received before with other content`,
        possibleCauses: 'Two relays send for the same virtual machine, or the relay state was restored from a backup.',
        recommendedAction: 'Stop the second relay; resynchronize the virtual machine if the relay was restored.',
      };
    case 'superseded':
      return {
        code: 'US3003',
        message:
          `epoch ${conflict.announcedEpoch} is over, the item is at epoch ${conflict.currentEpoch}` +
          (conflict.stopReason === undefined ? '' : ` (${conflict.stopReason})`),
        possibleCauses: 'The item failed over, was resynchronized or was protected anew.',
        recommendedAction: 'Keep the logs, send nothing more under this epoch, and read the assignment again.',
      };
    case 'resyncRequired':
      return {
        code: 'US3004',
        message: `the item waits for resynchronization (${conflict.reason}): it takes no changes until then`,
        possibleCauses: conflict.reason,
        recommendedAction: 'Resynchronize the virtual machine.',
      };
    case 'notReplicating':
      return {
        code: 'US3005',
        message:
          `the item does not take this now: its phase is ${conflict.phase}` +
          (conflict.stopReason === undefined ? '' : ` (${conflict.stopReason})`),
        possibleCauses: 'Replication has not started yet, or has stopped.',
        recommendedAction: readAssignment,
      };
    case 'stale':
      return {
        code: 'US3006',
        message: `cycle ${conflict.announced} is behind: cycle ${conflict.receivedCycle} is received already`,
        possibleCauses: 'A delayed request, or a relay that forgot what it had sent.',
        recommendedAction: readAssignment,
      };
    case 'diskMismatch':
      return {
        code: 'US3007',
        message:
          'the announcement does not name exactly the replicated disks' +
          (conflict.missing.length > 0 ? `; missing: ${conflict.missing.join(', ')}` : '') +
          (conflict.unexpected.length > 0 ? `; not replicated: ${conflict.unexpected.join(', ')}` : ''),
        possibleCauses: 'A disk was added to, removed from or replaced in the virtual machine.',
        recommendedAction: 'Disable replication of the virtual machine and enable it again with its present disks.',
      };
    case 'baseIncomplete':
      return {
        code: 'US3008',
        message: `disk ${conflict.diskId} is received up to byte ${conflict.receivedThroughBytes} of ${conflict.sizeBytes} only, so no cycle can close initial replication`,
        possibleCauses: 'Segments are still to be announced.',
        recommendedAction: 'Announce the missing segments first.',
      };
    case 'baseAlreadyClosed':
      return {
        code: 'US3008',
        message: `cycle ${conflict.byCycle} closed initial replication already`,
        possibleCauses: 'The relay flagged a second cycle as the closing one.',
        recommendedAction: readAssignment,
      };
    case 'badRange':
      return {
        code: 'US3009',
        message: `bytes ${conflict.fromBytes} to ${conflict.toBytes} are no piece of disk ${conflict.diskId} of ${conflict.sizeBytes} bytes`,
        possibleCauses: 'The disk was resized, or the relay is mistaken about it.',
        recommendedAction: 'Disable replication of the virtual machine and enable it again if its disk was resized.',
      };
    case 'segmentWithoutLog':
      return {
        code: 'US3016',
        message: `initial replication of disk ${conflict.diskId} announced its piece from byte ${conflict.fromBytes} without a log`,
        possibleCauses: 'The relay believes that this is a resynchronization.',
        recommendedAction: readAssignment,
      };
    case 'badScope':
      return {
        code: 'US3017',
        message: `the record of changed chunks of disk ${conflict.diskId} has ${conflict.lengthBytes} bytes for groups of ${conflict.groupBytes}, ${conflict.expected} were expected`,
        possibleCauses: 'The disk has another size at the site than the replica has.',
        recommendedAction: 'Announce the start without scopes, so that every chunk is compared.',
      };
    case 'notDigested':
      return {
        code: 'US3018',
        message: `there are no checksums of disk ${conflict.diskId} from byte ${conflict.fromBytes} on: they reach to byte ${conflict.digestedThroughBytes}`,
        possibleCauses: 'The app has not come so far yet, or the byte is no region’s first.',
        recommendedAction: readAssignment,
      };
    case 'baseRestarted':
      return {
        code: 'US3015',
        message: `the base of this epoch started at ${conflict.startedAt} and cannot start again at ${conflict.announcedAt}`,
        possibleCauses: 'The checkpoint was lost.',
        recommendedAction: 'Report that the item must be resynchronized.',
      };
  }
}
