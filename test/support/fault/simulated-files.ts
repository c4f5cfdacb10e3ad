import fs from 'node:fs';
import promises from 'node:fs/promises';
import type { Life } from './life.js';

/**
 * The disks of simulated processes. Paths of the form `<root>/<folder>~<life>/…` lead to `<root>/<folder>/…` as that life
 * sees it: a dead life's operations have no effect and never end, and a full disk refuses writes. Files lie in a real
 * folder (in memory where the system has one) and are touched synchronously, so that a run's order is its seed's alone.
 * Flushes do nothing: processes die here, machines do not lose power.
 */
export interface SimulatedDisk {
  readonly root: string;
  life(id: number): Life | undefined;
  /** Called before a write: throws what the disk says. */
  refuseWrite(life: Life, path: string): void;
}

let current: SimulatedDisk | undefined;

export function followDisk(disk: SimulatedDisk | undefined): void {
  current = disk;
}

interface Place {
  disk: SimulatedDisk;
  life: Life;
  path: string;
}

function placeOf(path: unknown): Place | undefined {
  if (current === undefined || typeof path !== 'string' || !path.startsWith(current.root)) return undefined;
  const found = /~(\d+)(?=\/|$)/.exec(path);
  const life = found && current.life(Number(found[1]));
  if (!found || !life) return undefined;
  return { disk: current, life, path: path.replace(found[0], '') };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** One operation of a life on its disk. */
async function operate<T>({ disk, life, path }: Place, writes: boolean, effect: () => T): Promise<T> {
  await turn();
  return life.step(() => {
    if (writes) disk.refuseWrite(life, path);
    return effect();
  });
}

class SimulatedHandle {
  #isOpen = true;

  constructor(
    private readonly place: Place,
    readonly fd: number,
  ) {
    place.life.onDeath(() => this.#close());
  }

  #close(): void {
    if (this.#isOpen) fs.closeSync(this.fd);
    this.#isOpen = false;
  }

  #run<T>(writes: boolean, effect: () => T): Promise<T> {
    return operate(this.place, writes, () => {
      if (!this.#isOpen) throw Object.assign(new Error('EBADF: bad file descriptor'), { code: 'EBADF' });
      return effect();
    });
  }

  read(buffer: Buffer, offset: number, length: number, position: number) {
    return this.#run(false, () => ({ bytesRead: fs.readSync(this.fd, buffer, offset, length, position), buffer }));
  }
  write(buffer: Buffer, offset: number, length: number, position: number) {
    return this.#run(true, () => ({ bytesWritten: fs.writeSync(this.fd, buffer, offset, length, position), buffer }));
  }
  writeFile(text: string) {
    return this.#run(true, () => fs.writeFileSync(this.fd, text));
  }
  truncate(length: number) {
    return this.#run(true, () => fs.ftruncateSync(this.fd, length));
  }
  stat() {
    return this.#run(false, () => fs.fstatSync(this.fd));
  }
  chmod(mode: number) {
    return this.#run(false, () => fs.fchmodSync(this.fd, mode));
  }
  sync() {
    return this.#run(false, () => undefined);
  }
  datasync() {
    return this.#run(false, () => undefined);
  }
  close() {
    return this.#run(false, () => this.#close());
  }
}

type AnyFunction = (...args: unknown[]) => unknown;

/** Puts the process's asynchronous file functions under the rule of `followDisk`. Once a process. */
export function takeOverFiles(): void {
  const one = (name: string, writes: boolean, effect: (path: string, ...rest: never[]) => unknown) => {
    const original = Reflect.get(promises, name) as AnyFunction;
    Reflect.set(promises, name, (path: unknown, ...rest: unknown[]) => {
      const place = placeOf(path);
      if (place === undefined) return original(path, ...rest);
      return operate(place, writes, () => Reflect.apply(effect, undefined, [place.path, ...rest]) as unknown);
    });
  };
  const two = (name: string, effect: (from: string, to: string) => unknown) => {
    const original = Reflect.get(promises, name) as AnyFunction;
    Reflect.set(promises, name, (from: unknown, to: unknown, ...rest: unknown[]) => {
      const [source, target] = [placeOf(from), placeOf(to)];
      if (source === undefined || target === undefined) return original(from, to, ...rest);
      return operate(source, true, () => effect(source.path, target.path));
    });
  };
  const open = promises.open;
  Reflect.set(promises, 'open', (path: unknown, flags: string | undefined, mode?: number) => {
    const place = placeOf(path);
    if (place === undefined) return open(path as string, flags, mode);
    const writes = flags !== undefined && flags !== 'r';
    return operate(place, writes, () => new SimulatedHandle(place, fs.openSync(place.path, flags ?? 'r', mode)));
  });
  one('readFile', false, fs.readFileSync);
  one('writeFile', true, fs.writeFileSync);
  one('rm', false, fs.rmSync);
  one('mkdir', true, fs.mkdirSync);
  one('readdir', false, fs.readdirSync);
  one('access', false, fs.accessSync);
  one('stat', false, fs.statSync);
  one('statfs', false, fs.statfsSync);
  two('rename', fs.renameSync);
  two('copyFile', fs.copyFileSync);
}
