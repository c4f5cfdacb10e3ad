import { UnderstudyError } from '../errors.js';
import type { ProtectionId } from '../ids.js';
import type { RecoveryPointChoice } from '../workflows/workflows.js';
import type { RecoveryPoint } from './recovery-point.js';

/** The point that a failover goes to, or the error that says why there is none. Only whole points of this life count. */
export function choosePoint(
  points: readonly RecoveryPoint[],
  protectionId: ProtectionId,
  choice: RecoveryPointChoice,
): RecoveryPoint {
  const newestFirst = points
    .filter((point) => point.state === 'ready' && point.protectionId === protectionId)
    .sort((a, b) => b.cycle - a.cycle);
  const found = pick(newestFirst, choice);
  if (found) return found;
  throw new UnderstudyError({
    code: 'US4003',
    message: `${describe(choice)}: there is no such recovery point among the ${newestFirst.length} of the item`,
    possibleCauses: 'The point was dropped by retention, belongs to another item, or none of this kind was made yet.',
    recommendedAction: 'List the recovery points of the item and choose one of them, or LatestProcessed.',
    httpStatus: 404,
  });
}

function pick(newestFirst: readonly RecoveryPoint[], choice: RecoveryPointChoice): RecoveryPoint | undefined {
  switch (choice.kind) {
    case 'latest':
    case 'latestProcessed':
      return newestFirst[0];
    case 'latestApplicationConsistent':
      return newestFirst.find(({ consistency }) => consistency === 'applicationConsistent');
    case 'point':
      return newestFirst.find(({ recoveryPointId }) => recoveryPointId === choice.recoveryPointId);
    case 'cycle':
      return newestFirst.find(({ cycle }) => cycle === choice.cycle);
  }
}

function describe(choice: RecoveryPointChoice): string {
  switch (choice.kind) {
    case 'latest':
      return 'Latest';
    case 'latestProcessed':
      return 'LatestProcessed';
    case 'latestApplicationConsistent':
      return 'LatestApplicationConsistent';
    case 'point':
      return `recovery point ${choice.recoveryPointId}`;
    case 'cycle':
      return `the recovery point of cycle ${choice.cycle}`;
  }
}
