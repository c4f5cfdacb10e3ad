import { UnderstudyError } from '../../domain/errors.js';

const sendAgain =
  'The relay sends the log again by itself. If it happens again, check the line and the storage account.';

export function notTransferLog(found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2040',
    message: `this is not a transfer log that this version reads: ${found}`,
    possibleCauses: 'The relay is newer or older than the app, or the blob holds something else.',
    recommendedAction: 'Bring relay and app to the same version.',
    details: { found },
  });
}

export function damagedFrame(index: number, offsetBytes: number, found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2041',
    message: `frame ${index} of the transfer log (disk offset ${offsetBytes}) arrived damaged: ${found}`,
    possibleCauses: 'The log was damaged on its way or in storage.',
    recommendedAction: sendAgain,
    retry: 'later',
    details: { index, offsetBytes, found },
  });
}

export function damagedTransferLog(structure: string, found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2042',
    message: `the transfer log is damaged: ${structure}: ${found}`,
    possibleCauses: 'The log was damaged on its way or in storage, or it is not the one that was announced.',
    recommendedAction: sendAgain,
    retry: 'later',
    details: { structure, found },
  });
}

export function truncatedTransferLog(expectedBytes: number, lengthBytes: number): UnderstudyError {
  return new UnderstudyError({
    code: 'US2043',
    message: `the transfer log has ${lengthBytes} bytes, but its parts need ${expectedBytes}`,
    possibleCauses: 'The upload was cut off, or the log has bytes that are not its own.',
    recommendedAction: sendAgain,
    retry: 'later',
    details: { expectedBytes, lengthBytes },
  });
}
