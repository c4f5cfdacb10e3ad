import assert from 'node:assert/strict';
import { crc32 } from '@node-rs/crc32';
import { existsSync, readdirSync, readFileSync, openSync, readSync, closeSync, fstatSync } from 'node:fs';
import { join } from 'node:path';

/** Images are kept in pieces of this size, and images of neighbouring cycles share what did not change. */
export const pieceBytes = 64 * 1024;
const headerBytes = 32;
const recordMagic = 0x574a5255;

/** One disk at one instant. */
export type DiskImage = readonly Buffer[];

/**
 * What a VM's disks held at each log switch, rebuilt from the site's journal of acknowledged writes as it grows
 * (providers/simulated-site/journal.ts): the judges' reference, with no byte of it from a change log. Images outlive the
 * journal, which begins anew with each epoch.
 */
export class SourceImages {
  readonly #byCycle = new Map<string, readonly DiskImage[]>();
  #epoch = 0;
  #readBytes = 0;
  #disks: Buffer[][] = [];

  constructor(
    private readonly journalFolder: string,
    private readonly diskNames: readonly string[],
  ) {}

  /** Before a new epoch begins, and whenever images are asked for: takes in what was written since. */
  catchUp(): void {
    if (!existsSync(this.journalFolder)) return;
    const epoch = Math.max(0, ...readdirSync(this.journalFolder).map(Number).filter(Number.isInteger));
    if (epoch === 0) return;
    if (epoch !== this.#epoch) this.#begin(epoch);
    const file = openSync(join(this.journalFolder, String(epoch), 'writes.journal'), 'r');
    try {
      const endBytes = fstatSync(file).size;
      // A crash may have taken a torn record away again, never a whole one.
      const text = Buffer.alloc(Math.max(0, endBytes - this.#readBytes));
      readSync(file, text, 0, text.length, this.#readBytes);
      this.#take(text);
    } finally {
      closeSync(file);
    }
  }

  at(epoch: number, cycle: number): readonly DiskImage[] | undefined {
    return this.#byCycle.get(`${epoch}/${cycle}`);
  }

  /** Lets go of images that nobody asks for any more. */
  forgetUnless(isWanted: (epoch: number, cycle: number) => boolean): void {
    for (const key of this.#byCycle.keys()) {
      const [epoch = 0, cycle = 0] = key.split('/').map(Number);
      if (!isWanted(epoch, cycle)) this.#byCycle.delete(key);
    }
  }

  #begin(epoch: number): void {
    const folder = join(this.journalFolder, String(epoch));
    const bases = this.diskNames.map((name) => join(folder, `${name}.base.raw`));
    // The base is copied after the journal was made: until all of it is there nothing can be read.
    if (!bases.every((path) => existsSync(path))) return;
    this.#epoch = epoch;
    this.#readBytes = 0;
    this.#disks = bases.map((path) => inPieces(readFileSync(path)));
  }

  #take(text: Buffer): void {
    let at = 0;
    while (at + headerBytes <= text.length) {
      const lengthBytes = text.readUInt32LE(at + 24);
      const end = at + headerBytes + lengthBytes;
      if (text.readUInt32LE(at) !== recordMagic || end > text.length) break;
      if (crc32(text.subarray(at + 8, end)) !== text.readUInt32LE(at + 4)) break;
      const offset = Number(text.readBigUInt64LE(at + 16));
      if (text.readUInt8(at + 8) === 1) {
        this.#write(text.readUInt32LE(at + 12), offset, text.subarray(at + headerBytes, end));
      } else {
        // A mark that a dead log switch left is passed over: the last of a cycle counts.
        this.#byCycle.set(
          `${this.#epoch}/${offset}`,
          this.#disks.map((disk) => disk.slice()),
        );
      }
      at = end;
    }
    this.#readBytes += at;
  }

  #write(diskIndex: number, offsetBytes: number, data: Buffer): void {
    const disk = this.#disks[diskIndex];
    assert(disk, `the journal writes to disk ${diskIndex}`);
    for (let done = 0; done < data.length;) {
      const index = Math.floor((offsetBytes + done) / pieceBytes);
      const from = (offsetBytes + done) % pieceBytes;
      const length = Math.min(pieceBytes - from, data.length - done);
      const piece = Buffer.from(disk[index] ?? Buffer.alloc(0));
      data.copy(piece, from, done, done + length);
      disk[index] = piece;
      done += length;
    }
  }
}

function inPieces(disk: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < disk.length; at += pieceBytes) pieces.push(disk.subarray(at, at + pieceBytes));
  return pieces;
}
