import { UnderstudyError } from '../../domain/errors.js';

const resynchronize =
  'Changes of this disk are lost: resynchronize the item. If it happens again, check the volume that holds the logs.';

export function notHrl(what: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2030',
    message: `this is not a replica log that can be read: ${what}`,
    possibleCauses: 'The path names another file, or a host of another version wrote the log.',
    recommendedAction: 'Name a .hrl file of log format version 2 (Windows Server 2012 R2 or newer).',
    details: { what },
  });
}

export function openHrl(uniqueId: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2031',
    message: `the replica log ${uniqueId} was not closed properly: its end of log is 0`,
    possibleCauses: 'The log is still being written, or the host crashed while it was.',
    recommendedAction: 'While the host writes it, wait for the next log switch. After a crash, resynchronize the item.',
    details: { uniqueId },
  });
}

export function damagedHrl(structure: string, offsetBytes: number, found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2032',
    message: `the replica log is damaged: ${structure} at offset ${offsetBytes}: ${found}`,
    possibleCauses: 'A failed disk or transfer, or another program changed the log.',
    recommendedAction: resynchronize,
    details: { structure, offsetBytes, found },
  });
}

export function otherHrl(expected: string, found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2034',
    message: `another replica log is in this one's place: log ${expected} is wanted, log ${found} was found`,
    possibleCauses: 'Somebody restored or copied an older log over it.',
    recommendedAction: resynchronize,
    details: { expected, found },
  });
}

export function truncatedHrl(endBytes: number, lengthBytes: number): UnderstudyError {
  return new UnderstudyError({
    code: 'US2033',
    message: `the replica log is cut short: it ends at ${endBytes} by its header, but the file has ${lengthBytes} bytes`,
    possibleCauses: 'The volume ran full, or the log was copied in part.',
    recommendedAction: resynchronize,
    details: { endBytes, lengthBytes },
  });
}
