import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** A process, told apart from a later one that got the same id, on this start of this machine. */
export interface ProcessIdentity {
  machine: string;
  pid: number;
  startTime: string;
}

export function ownIdentity(): ProcessIdentity {
  return { machine: machineIdentity(), pid: process.pid, startTime: processStartTime(process.pid) ?? '' };
}

/** True only when it is certain: on another machine, or where the system does not tell, a process counts as alive. */
export function isCertainlyGone(identity: ProcessIdentity): boolean {
  if (identity.machine !== machineIdentity()) return false;
  if (!isAlive(identity.pid)) return true;
  const startTime = processStartTime(identity.pid);
  return startTime !== undefined && identity.startTime !== '' && startTime !== identity.startTime;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Of two containers with one host name, or of two starts of a machine, process ids say nothing to each other. */
function machineIdentity(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${hostname()} ${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

/** As the system gives it: clock ticks since boot on Linux (proc(5), field 22), a date elsewhere. */
export function processStartTime(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // A process that has ended, but whose parent has not looked yet, still has its entry.
      const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return state === 'Z' || state === 'X' ? 'ended' : fields[18];
    }
    if (process.platform === 'darwin') {
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    }
    return undefined;
  } catch {
    return undefined;
  }
}
