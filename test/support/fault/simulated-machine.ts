/**
 * Import this first, before any module of the product: it takes over the process's timers, clocks, random numbers, files,
 * compression and network, so that a world can run many "processes" in one, each killed at will, in the order that its seed
 * gives. Outside of a running world everything is as it was.
 */
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import zlib from 'node:zlib';
import { SeededRandom } from './random.js';
import { followDisk, takeOverFiles, type SimulatedDisk } from './simulated-files.js';
import { followTime, takeOverTimers, type VirtualTime } from './virtual-time.js';

type Fetch = (url: URL, init: RequestInit) => Promise<unknown>;

let random: SeededRandom | undefined;
let network: Fetch | undefined;

/** From here on the process is the machine of this world, until `leaveMachine`. */
export function enterMachine(world: { seed: number; time: VirtualTime; disk: SimulatedDisk; fetch: Fetch }): void {
  random = new SeededRandom(world.seed, 'machine');
  network = world.fetch;
  followTime(world.time);
  followDisk(world.disk);
}

export function leaveMachine(): void {
  random = undefined;
  network = undefined;
  followTime(undefined);
  followDisk(undefined);
}

function takeOverRandom(): void {
  const { randomBytes, randomUUID } = crypto;
  Reflect.set(crypto, 'randomBytes', (size: number, ...rest: []) => random?.bytes(size) ?? randomBytes(size, ...rest));
  Reflect.set(crypto, 'randomUUID', () => {
    if (random === undefined) return randomUUID();
    const hex = random.bytes(16).toString('hex');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
  });
  const mathRandom = Math.random.bind(Math);
  Math.random = () => random?.next() ?? mathRandom();
}

/** In the simulated machine nothing runs on other threads: their order is nobody's seed. */
function takeOverCompression(): void {
  const inTurn = (name: 'brotliCompress' | 'brotliDecompress', run: (data: Buffer, options: object) => Buffer) => {
    const original = zlib[name];
    Reflect.set(zlib, name, (data: Buffer, options: object, callback: (error: unknown, result?: Buffer) => void) => {
      if (random === undefined) {
        original(data, options, callback);
        return;
      }
      setImmediate(() => {
        let result: Buffer;
        try {
          result = run(data, options);
        } catch (error) {
          callback(error);
          return;
        }
        callback(null, result);
      });
    });
  };
  inTurn('brotliCompress', zlib.brotliCompressSync);
  inTurn('brotliDecompress', zlib.brotliDecompressSync);
}

function takeOverNetwork(): void {
  const original = globalThis.fetch;
  const fetchInWorld = (input: string | URL | Request, init: RequestInit = {}): unknown =>
    network && !(input instanceof Request) ? network(new URL(input), init) : original(input, init);
  Reflect.set(globalThis, 'fetch', fetchInWorld);
}

takeOverTimers();
takeOverFiles();
takeOverRandom();
takeOverCompression();
takeOverNetwork();
syncBuiltinESMExports();
