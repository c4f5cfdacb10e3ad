import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { CloudCompute } from '../../core/ports/cloud-compute.js';
import type { ReplicaStore } from '../../core/ports/replica-store.js';
import { openQmp } from './qmp.js';

const emulator = 'qemu-system-x86_64';
const copiedAtOnceBytes = 4 * 1024 * 1024;
const consoleCharactersMax = 1024 * 1024;
const lookMilliseconds = 50;

export interface BootedDisk {
  path: string;
  format: 'vpc' | 'vhdx' | 'raw';
}

export interface BootOptions {
  memoryMegabytes?: number;
  /** System time until it is looked at and turned off. */
  seconds: number;
  /** It is looked at as soon as its serial console says this. */
  until?: RegExp;
}

export interface BootResult {
  /** What the guest wrote to its first serial port. */
  console: string;
  /** What its screen showed in the end: PNG. */
  screenshot: Buffer;
}

/**
 * Boots disks in QEMU, by software emulation and a BIOS, as a Generation 1 machine has it: IDE, in LUN order. Nothing that the
 * guest writes reaches the files. Rejects with US6054 where the emulator is not installed or does not come up.
 */
export async function bootDisks(disks: readonly BootedDisk[], options: BootOptions): Promise<BootResult> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-boot-'));
  const [monitor, screen] = [join(folder, 'monitor.sock'), join(folder, 'screen.png')];
  const drives = disks.flatMap(({ path, format }, index) => [
    '-drive',
    `file=${path.replaceAll(',', ',,')},format=${format},if=ide,index=${index},snapshot=on`,
  ]);
  const machine = [
    '-machine',
    'pc,accel=tcg',
    '-m',
    String(options.memoryMegabytes ?? 256),
    '-nodefaults',
    '-vga',
    'std',
  ];
  const ports = ['-display', 'none', '-serial', 'stdio', '-qmp', `unix:${monitor},server=on,wait=off`, '-no-reboot'];
  const child = spawn(emulator, [...machine, ...ports, ...drives], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [console, complaints] = ['', ''];
  let failed: Error | undefined;
  child.stdout.on(
    'data',
    (data: Buffer) => (console = `${console}${data.toString('latin1')}`.slice(-consoleCharactersMax)),
  );
  child.stderr.on('data', (data: Buffer) => (complaints = `${complaints}${data.toString()}`.slice(-2000)));
  child.once('error', (error) => (failed = error));
  const isOver = (): boolean => failed !== undefined || child.exitCode !== null;
  try {
    const deadline = performance.now() + options.seconds * 1000;
    while (performance.now() < deadline && !isOver() && options.until?.test(console) !== true)
      await sleep(lookMilliseconds);
    if (isOver()) throw notBooted(failed?.message ?? `it ended with code ${child.exitCode}: ${complaints}`);
    const qmp = await openQmp(monitor);
    try {
      await qmp.execute('screendump', { filename: screen, format: 'png' });
      return { console, screenshot: await readFile(screen) };
    } finally {
      qmp.close();
    }
  } finally {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
}

/** Boots copies of the disks of a VM of local compute, whatever its power state: to see what a failover would bring up. */
export async function bootVm(
  {
    compute,
    replicas,
  }: {
    compute: Pick<CloudCompute, 'getVm'>;
    replicas: Pick<ReplicaStore, 'properties' | 'allocatedRanges' | 'readPages'>;
  },
  vmArmId: string,
  options: BootOptions & { folder: string },
): Promise<BootResult> {
  const vm = await compute.getVm(vmArmId);
  if (vm === undefined) throw notBooted(`there is no VM ${vmArmId}`);
  await mkdir(options.folder, { recursive: true });
  const disks: BootedDisk[] = [];
  for (const { name, blob } of vm.disks) {
    const path = join(options.folder, `${name}.vhd`);
    const lengthBytes = (await replicas.properties(blob))?.lengthBytes ?? 0;
    const file = await open(path, 'w');
    try {
      await file.truncate(lengthBytes);
      for await (const range of replicas.allocatedRanges(blob)) {
        for (let at = range.offsetBytes; at < range.offsetBytes + range.lengthBytes; at += copiedAtOnceBytes) {
          const bytes = Math.min(copiedAtOnceBytes, range.offsetBytes + range.lengthBytes - at);
          await file.write(await replicas.readPages(blob, at, bytes), 0, bytes, at);
        }
      }
    } finally {
      await file.close();
    }
    disks.push({ path, format: 'vpc' });
  }
  return bootDisks(disks, options);
}

const notBooted = (found: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US6054',
    message: `US6054 the disks could not be booted in ${emulator}: ${found}`,
    possibleCauses: 'QEMU is not installed on this machine, or the disks are none that it can open.',
    recommendedAction: 'Install Debian’s qemu-system-x86, or its like, and try again.',
  });
