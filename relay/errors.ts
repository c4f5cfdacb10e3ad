import { UnderstudyError } from '../core/domain/errors.js';
import { retryAdvice } from '../core/domain/retry/classification.js';

/** The relay’s failures: US51xx. Each code has a paragraph in docs/errors.md, section "Relay". */

export class RegistrationKeyUnreadableError extends UnderstudyError {
  constructor(file: string, found: string, cause?: unknown) {
    super({
      code: 'US5100',
      message: `The registration key in ${file} cannot be read: ${found}.`,
      possibleCauses: 'The key was cut or changed when it was copied, or the file holds something else.',
      recommendedAction: 'Create a new registration key for the vault and save it whole, as it was given, to the file.',
      cause,
    });
  }
}

export class RegistrationKeyExpiredError extends UnderstudyError {
  constructor(file: string, expiresAt: string) {
    super({
      code: 'US5101',
      message: `The registration key in ${file} expired at ${expiresAt}.`,
      possibleCauses: 'A registration key is valid for 5 days; or the clock of this machine is wrong.',
      recommendedAction: 'Create a new registration key for the vault and register with it.',
    });
  }
}

export class NotRegisteredError extends UnderstudyError {
  constructor(file: string) {
    super({
      code: 'US5102',
      message: `This relay is not registered: there is no complete identity in ${file}.`,
      recommendedAction: 'Run "relay register --key-file FILE" with a registration key of the vault first.',
    });
  }
}

export class IdentityDamagedError extends UnderstudyError {
  constructor(file: string, found: string, cause?: unknown) {
    super({
      code: 'US5103',
      message: `The relay's identity in ${file} is damaged: ${found}.`,
      recommendedAction: 'Restore the file from a backup, or move it away and register the relay with a new key.',
      cause,
    });
  }
}

export class DataFolderInUseError extends UnderstudyError {
  constructor(folder: string, pid: number) {
    super({
      code: 'US5104',
      message: `The data folder ${folder} is in use by the relay process ${pid}.`,
      recommendedAction: 'Stop that process first, or start this relay with another --data folder.',
    });
  }
}

export class SettingInvalidError extends UnderstudyError {
  constructor(name: string, value: string, expected: string) {
    super({
      code: 'US5105',
      message: `The setting ${name} is "${value}", which is not ${expected}.`,
      recommendedAction: `Set ${name} to ${expected}, or remove it.`,
    });
  }
}

export class AlreadyRegisteredError extends UnderstudyError {
  constructor(file: string, endpoint: string, vaultId: string) {
    super({
      code: 'US5106',
      message: `This relay is already registered at ${endpoint} with the vault ${vaultId} (${file}), by another key.`,
      recommendedAction:
        'Keep using it; or run "relay register --replace" to give up that identity and take a new one.',
    });
  }
}

export class AppUnreachableError extends UnderstudyError {
  constructor(what: string, endpoint: string, found: string, cause?: unknown) {
    super({
      code: 'US5110',
      message: `${what}: the app at ${endpoint} did not answer: ${found}.`,
      possibleCauses: 'The network is cut, the app is down or restarting, or a proxy stands between.',
      recommendedAction: 'Nothing: the relay tries again by itself. If it lasts, check the network from this machine.',
      retry: 'later',
      httpStatus: 503,
      cause,
    });
  }
}

export class RelayRefusedError extends UnderstudyError {
  constructor(what: string, endpoint: string, status: number, found: string) {
    super({
      code: 'US5111',
      message: `${what}: the app at ${endpoint} does not trust this relay (${status}): ${found}`,
      possibleCauses:
        'The relay was removed from the vault, its identity was copied, or the clock of this machine is wrong.',
      recommendedAction: 'Check the clock of this machine; then register the relay again with a new key.',
      httpStatus: status,
    });
  }
}

export class AppAnswerUnexpectedError extends UnderstudyError {
  constructor(what: string, endpoint: string, found: string, cause?: unknown) {
    super({
      code: 'US5112',
      message: `${what}: ${endpoint} answered with something that is not the relay protocol: ${found}.`,
      possibleCauses: 'The endpoint is another program or a proxy, or the app is of another version.',
      recommendedAction: 'Check the endpoint in the registration key, and that app and relay are of the same version.',
      retry: 'later',
      httpStatus: 502,
      cause,
    });
  }
}

/** The app, or what stands before it, could not answer now. */
export const isPassingStatus = (status: number): boolean => status >= 500 || status === 429 || status === 408;

/** The app understood and said no. `code` is the app's own, US5113 where it gave none. */
export class AppRefusedError extends UnderstudyError {
  constructor(
    what: string,
    status: number,
    body: { code?: string; message: string; recommendedAction?: string; details?: Record<string, unknown> },
  ) {
    super({
      code: body.code ?? 'US5113',
      message: `${what}: refused by the app (${status}): ${body.message}`,
      recommendedAction: body.recommendedAction ?? 'See the job and the events of the item in the vault.',
      retry: isPassingStatus(status) ? 'later' : retryAdvice(body.code ?? 'US5113'),
      httpStatus: status,
      details: body.details ?? {},
    });
  }
}

/** The site closed or lost logs in a way that the app's sequence cannot follow. */
export class RelationshipMissingError extends UnderstudyError {
  constructor(vmName: string) {
    super({
      code: 'US5120',
      message: `The site has no replication relationship for ${vmName}, although the app expects its changes.`,
      possibleCauses: 'The relationship was removed at the host, or the site was restored from an older copy.',
      recommendedAction: 'Disable replication of the virtual machine and enable it again.',
    });
  }
}

export class DiskMismatchError extends UnderstudyError {
  constructor(vmName: string, diskId: string, found: string) {
    super({
      code: 'US5121',
      message: `Disk ${diskId} of ${vmName} is not as it was when protection was enabled: ${found}.`,
      possibleCauses: 'The disk was resized, removed or replaced at the host.',
      recommendedAction: 'Disable replication of the virtual machine and enable it again with its present disks.',
    });
  }
}

/** A disk of the checkpoint cannot be read: names what and where, the cause's own words inside. */
export class SourceDiskUnreadableError extends UnderstudyError {
  constructor(vmName: string, diskId: string, fromBytes: number, cause: UnderstudyError) {
    super({
      code: 'US5122',
      message: `Disk ${diskId} of ${vmName} cannot be read from byte ${fromBytes} on: ${cause.message} (${cause.code})`,
      possibleCauses: cause.possibleCauses,
      recommendedAction: cause.recommendedAction,
      cause,
    });
  }
}

export class SourceStillRunsError extends UnderstudyError {
  constructor(vmName: string) {
    super({
      code: 'US5123',
      message: `${vmName} is running on-premises although it has failed over.`,
      possibleCauses: 'The site came back after a failover, and its host started the virtual machine by itself.',
      recommendedAction:
        'Shut the on-premises virtual machine down, so that the two copies do not serve at the same time.',
    });
  }
}

/** What a resynchronization may leave out is no longer known; the app has checksums of the rest only. */
export class ChangeRecordLostError extends UnderstudyError {
  constructor(vmName: string) {
    super({
      code: 'US5124',
      message: `The site no longer has the record of changed chunks of ${vmName} with which this resynchronization began.`,
      possibleCauses: 'A file at the host was damaged or deleted.',
      recommendedAction: 'Resynchronize the virtual machine again: everything is compared then.',
    });
  }
}

/** Its place went to others; the next attempt sends it again. */
export class UploadStalledError extends UnderstudyError {
  constructor(vmName: string, diskId: string, seconds: number) {
    super({
      code: 'US5125',
      message: `Sending of disk ${diskId} of ${vmName} made no progress for ${seconds} seconds and was broken off.`,
      possibleCauses: 'The line is cut or very slow, or the volume of the disk or of its logs does not answer.',
      recommendedAction:
        'Nothing: the relay tries again by itself. If it lasts, check the line and the host’s storage.',
      retry: 'later',
      httpStatus: 504,
    });
  }
}

/** The order is older, or newer, than the assignment that the relay has. */
export class LockNotWantedError extends UnderstudyError {
  constructor(vmName: string) {
    super({
      code: 'US5126',
      message: `${vmName} was not shut down: by its assignment no such planned failover is under way.`,
      possibleCauses: 'The failover was given up meanwhile, or the relay has not read its assignments yet.',
      recommendedAction: 'See the failover’s job; run the planned failover again if it failed.',
      retry: 'later',
      httpStatus: 409,
    });
  }
}

/** Never written: what was fetched is not what the disk in Azure holds there. */
export class FetchedChunkDamagedError extends UnderstudyError {
  constructor(diskId: string, offsetBytes: number) {
    super({
      code: 'US5127',
      message: `Disk ${diskId} arrived damaged at byte ${offsetBytes}: it has not the checksum that the app made of it.`,
      possibleCauses: 'The data was damaged on its way or in storage.',
      recommendedAction: 'Nothing was written; it is fetched again by itself. If it lasts, run the failback anew.',
      retry: 'later',
    });
  }
}

/** A bug or a failure that nobody foresaw; tried again, since most of what nobody foresees passes. */
export class UnexpectedRelayError extends UnderstudyError {
  constructor(cause: unknown) {
    super({
      code: 'US5190',
      message: `The relay failed unexpectedly: ${cause instanceof Error ? cause.message : String(cause)}`,
      recommendedAction: 'The relay tries again by itself. If it lasts, look at relay.log in the data folder.',
      retry: 'later',
      cause,
    });
  }
}
