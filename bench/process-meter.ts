import { readdir, readFile, readlink } from 'node:fs/promises';
import type { UnderstudySystem } from '../test/support/system/understudy-system.js';

/** Linux counts a process's CPU time in hundredths of a second, whatever the kernel's own tick (proc(5)). */
const ticksPerSecond = 100;

export const processNames = ['devhost', 'relay', 'site', 'azurite'] as const;
export type ProcessName = (typeof processNames)[number];

export interface ProcessUse {
  cpuSeconds: number;
  rssMib: number;
  rssPeakMib: number;
  openFileCount: number;
  socketCount: number;
}

/** What each process of the system has used until now. Only Linux tells: it has /proc. */
export async function readUse({ environment }: UnderstudySystem): Promise<Record<ProcessName, ProcessUse>> {
  const { devhost, relay, site } = environment.processes;
  const [ofDevhost, ofRelay, ofSite, ofAzurite] = await Promise.all(
    [devhost.pid, relay.pid, site.pid, environment.azurite.pid].map(readProcess),
  );
  if (!ofDevhost || !ofRelay || !ofSite || !ofAzurite) throw new Error('a process of the system is not running');
  return { devhost: ofDevhost, relay: ofRelay, site: ofSite, azurite: ofAzurite };
}

async function readProcess(pid: number | undefined): Promise<ProcessUse | undefined> {
  if (pid === undefined) return undefined;
  if (process.platform !== 'linux') throw new Error('this bench reads /proc, which only Linux has');
  const folder = `/proc/${pid}`;
  const [stat, status, descriptors] = await Promise.all([
    readFile(`${folder}/stat`, 'utf8'),
    readFile(`${folder}/status`, 'utf8'),
    readdir(`${folder}/fd`),
  ]);
  // The name in parentheses may hold blanks; utime and stime are the 12th and 13th fields after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const targets = await Promise.all(descriptors.map((name) => readlink(`${folder}/fd/${name}`).catch(() => '')));
  const mib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
    rssMib: mib('VmRSS'),
    rssPeakMib: mib('VmHWM'),
    openFileCount: descriptors.length,
    socketCount: targets.filter((target) => target.startsWith('socket:')).length,
  };
}
