import { UnderstudyError } from '../../domain/errors.js';

const bringBack =
  'Check the disk on its host (Hyper-V: Test-VHD); restore it from a backup if it is damaged there, else copy it again.';

export function notVhdx(found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2010',
    message: `this is not a VHDX file: it starts with ${found} instead of "vhdxfile"`,
    possibleCauses: 'The path names another file, or the start of the file was overwritten.',
    recommendedAction: 'Name a .vhdx file. A .vhd disk is not supported as a source: convert it with Convert-VHD.',
    details: { offsetBytes: 0, found },
  });
}

export function damagedVhdx(structure: string, offsetBytes: number, found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2011',
    message: `the VHDX file is damaged: ${structure} at offset ${offsetBytes}: ${found}`,
    possibleCauses: 'A failed disk or transfer, or a program that writes VHDX files wrongly.',
    recommendedAction: bringBack,
    details: { structure, offsetBytes, found },
  });
}

export function truncatedVhdx(structure: string, endBytes: number, lengthBytes: number): UnderstudyError {
  return new UnderstudyError({
    code: 'US2012',
    message: `the VHDX file is cut short: ${structure} ends at ${endBytes}, but the file has ${lengthBytes} bytes`,
    possibleCauses: 'The file was copied in part, or its volume ran full.',
    recommendedAction: bringBack,
    details: { structure, endBytes, lengthBytes },
  });
}

export function unsupportedVhdx(what: string, recommendedAction: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2013',
    message: `not supported yet: ${what}`,
    recommendedAction,
    details: { what },
  });
}

export function vhdxLogUnusable(found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2014',
    message: `the VHDX file was not closed properly, and its log cannot be replayed: ${found}`,
    possibleCauses: 'The host crashed while it wrote the disk, and the file was damaged or cut short since.',
    recommendedAction: `Let Hyper-V open the disk once (Mount-VHD, then Dismount-VHD), which repairs it where that is possible. ${bringBack}`,
    details: { found },
  });
}
