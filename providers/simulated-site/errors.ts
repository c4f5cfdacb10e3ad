import { UnderstudyError } from '../../core/domain/errors.js';

/** Failures of the simulated site; docs/errors.md, section "Site". */
export const siteUnreachable = (siteFolder: string, cause?: unknown): UnderstudyError =>
  new UnderstudyError({
    code: 'US5001',
    message: `The site ${siteFolder} does not answer: ${cause instanceof Error ? cause.message : 'no process serves it'}`,
    possibleCauses: 'The site process is not running, is just starting, or crashed.',
    recommendedAction: 'Start it with "npm run site -- serve". Replication goes on by itself when it answers.',
    retry: 'later',
    httpStatus: 503,
    cause,
  });

export const siteStopping = (vm: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5001',
    message: `The site is being stopped; what was asked for ${vm} goes on at its next start`,
    recommendedAction: 'Start it with "npm run site -- serve". Replication goes on by itself when it answers.',
    retry: 'later',
    httpStatus: 503,
  });

export const siteLocked = (siteFolder: string, pid: number): UnderstudyError =>
  new UnderstudyError({
    code: 'US5002',
    message: `The site ${siteFolder} is already served by process ${pid}`,
    recommendedAction: 'Use the running process, or stop it first.',
    httpStatus: 409,
    details: { pid },
  });

export const unreadableFile = (path: string, found: string, cause?: unknown): UnderstudyError =>
  new UnderstudyError({
    code: 'US5003',
    message: `${path} cannot be used: ${found}`,
    possibleCauses: 'The file was edited by hand, cut short, or written by another version.',
    recommendedAction: 'Bring the file back from a copy, or start with an empty site folder.',
    details: { path },
    cause,
  });

export const badRequest = (message: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5004',
    message,
    recommendedAction: 'Correct the request; "npm run site -- --help" lists what each verb takes.',
    httpStatus: 400,
  });

export const notFound = (what: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5005',
    message: `The site has no ${what}`,
    recommendedAction: 'List what is there with "npm run site -- list".',
    httpStatus: 404,
  });

export const writeRefused = (vm: string, why: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5006',
    message: `A write to ${vm} is refused: ${why}`,
    recommendedAction: 'Correct what the message names and write again.',
    httpStatus: 409,
  });

export const checkpointGone = (vm: string, checkpointId: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5007',
    message: `Checkpoint ${checkpointId} of ${vm} is not there any more`,
    possibleCauses: 'It was released, or replication started anew under a later epoch.',
    recommendedAction: 'Start initial replication or the resync under a new epoch.',
    httpStatus: 409,
  });

export const closedLogGone = (vm: string, cycle: number): UnderstudyError =>
  new UnderstudyError({
    code: 'US5008',
    message: `Cycle ${cycle} of ${vm} is not closed, or its logs were discarded`,
    possibleCauses: 'Its logs went when the VM came to need a resync, or another relay discarded them.',
    recommendedAction: 'Ask for the tracking status and the closed cycles, and go on with what they say.',
    // Asked anew, the status says what to do: a resync that came between the look and the read is no case for an operator.
    retry: 'later',
    httpStatus: 404,
    details: { cycle },
  });

export const otherProtection = (vm: string, found: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5010',
    message: `${vm} is replicated under another protection (${found})`,
    possibleCauses: 'The VM is protected by another item, or an earlier protection was not removed at the site.',
    recommendedAction: 'Disable the other protection first.',
    httpStatus: 409,
  });

export const cycleOutOfOrder = (vm: string, asked: number, lastClosed: number): UnderstudyError =>
  new UnderstudyError({
    code: 'US5011',
    message: `Cycle ${asked} of ${vm} cannot be closed: the last closed one is ${lastClosed}`,
    possibleCauses: 'Two relays drive the same VM, or the site folder was brought back from an older copy.',
    recommendedAction: 'Resynchronize the item.',
    retry: 'later',
    httpStatus: 409,
    details: { asked, lastClosed },
  });

export const notReplicated = (vm: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5012',
    message: `${vm} has no replication relationship, or initial replication was never started`,
    recommendedAction: 'Enable protection of the VM.',
    httpStatus: 409,
  });

export const staleEpoch = (vm: string, asked: number, found: number): UnderstudyError =>
  new UnderstudyError({
    code: 'US5013',
    message: `Replication of ${vm} cannot start under epoch ${asked}: epoch ${found} has begun already`,
    recommendedAction: 'Take a new epoch.',
    httpStatus: 409,
    details: { asked, found },
  });

export const resyncNeeded = (vm: string, message: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5014',
    message: `The change logs of ${vm} cannot be closed: ${message}`,
    recommendedAction: 'Resynchronize the item.',
    retry: 'later',
    httpStatus: 409,
  });

export const lowMemory = (vm: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5015',
    message: `The host of ${vm} has not enough memory to close or start its change logs`,
    recommendedAction: 'Free memory on the host. Replication goes on by itself.',
    retry: 'later',
    httpStatus: 503,
  });

export const switchFailed = (vm: string, cause: unknown): UnderstudyError =>
  new UnderstudyError({
    code: 'US5016',
    message: `The log switch of ${vm} was undone: ${cause instanceof Error ? cause.message : String(cause)}`,
    possibleCauses: 'The disk that holds the change logs is full or failing.',
    recommendedAction: 'Check the disk that holds the logs. Replication tries again by itself.',
    retry: 'later',
    httpStatus: 503,
    cause,
  });

export const journalOff = (what: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5017',
    message: `The judges' journal has no ${what}`,
    possibleCauses: 'The site was started without --journal, or the cycle was never closed.',
    recommendedAction: 'Start the site with --journal before initial replication, and name a closed cycle.',
    httpStatus: 404,
  });

export const brokenSideFile = (path: string, found: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5018',
    message: `${path} is not a usable side file: ${found}`,
    possibleCauses: 'The file was changed or replaced by another program.',
    recommendedAction: 'Bring the VM back from a replica or a backup; the disk lacks the writes since its checkpoint.',
    details: { path },
  });

export const operationFailed = (operation: string, cause: unknown): UnderstudyError =>
  new UnderstudyError({
    code: 'US5019',
    message: `The site could not carry out ${operation}: ${cause instanceof Error ? cause.message : String(cause)}`,
    recommendedAction: 'Look at the output of the site process.',
    retry: 'later',
    cause,
  });

export const vmLocked = (vm: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5022',
    message: `${vm} is locked against start by a failover or a failback`,
    possibleCauses: 'The virtual machine is being failed over or back, or runs in Azure after its planned failover.',
    recommendedAction:
      'Wait for the job: if it fails, what it locked is unlocked by itself. Fail back to run the VM here.',
    httpStatus: 409,
  });

export const sourceRuns = (vm: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5023',
    message: `${vm} runs at the site: it cannot be failed back to while it does`,
    possibleCauses: 'It was started here after the failover; what it wrote since is not in Azure.',
    recommendedAction:
      'Save what it wrote since the failover if that is wanted, shut it down, and run the failback again: its disks are replaced.',
    httpStatus: 409,
  });

export const noRoomForFailback = (vm: string, neededBytes: number, freeBytes: number): UnderstudyError =>
  new UnderstudyError({
    code: 'US5024',
    message: `A failback of ${vm} needs ${neededBytes} bytes beside its disks, and ${freeBytes} are free`,
    possibleCauses: 'The volume that holds the disks is nearly full.',
    recommendedAction: 'Free room on the volume, then run the failback again. The VM’s disks were not touched.',
    httpStatus: 507,
    details: { neededBytes, freeBytes },
  });

export const sourceChanged = (vm: string, disk: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5025',
    message: `Disk ${disk} of ${vm} was written to while it was being failed back`,
    possibleCauses: 'Somebody mounted the disk, or another program wrote to it.',
    recommendedAction:
      'The disk was left as it is. Save what was written if that is wanted, then run the failback again.',
    httpStatus: 409,
    details: { disk },
  });

export const vmNameTaken = (vm: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5027',
    message: `The site has another VM with the name ${vm}`,
    possibleCauses: 'A VM of that name was made after the one that failed over was lost.',
    recommendedAction: 'Rename or remove that VM, then run the failback again.',
    httpStatus: 409,
  });

export const noSuchFailback = (vm: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5026',
    message: `${vm} has no such failback under way`,
    possibleCauses: 'It was given up, another one took its place, or its side images were deleted.',
    recommendedAction: 'Run the failback again.',
    httpStatus: 409,
  });

export const diskResized = (vm: string, disk: string, replicated: number, now: number | undefined): UnderstudyError =>
  new UnderstudyError({
    code: 'US5021',
    message: `Disk ${disk} of ${vm} is replicated with ${replicated} bytes, but has ${now ?? 'no'} bytes now`,
    possibleCauses: 'The disk was resized or removed while it was replicated.',
    recommendedAction:
      'Disable replication of the VM and enable it again with its present disks: a replica cannot be resized.',
    httpStatus: 409,
    details: { disk, replicated, now },
  });
