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
 * (providers/simulated-site/journal.ts): the judges' reference, with no byte of it from a change log.
 */
export class SourceImages {
  readonly #byCycle = new Map<string, readonly DiskImage[]>();
  readonly #journals = new Map<number, { inode: number; readBytes: number; disks: Buffer[][] }>();

  constructor(
    private readonly journalFolder: string,
    private readonly diskNames: readonly string[],
  ) {}

  at(epoch: number, cycle: number): readonly DiskImage[] | undefined {
    this.#catchUp();
    return this.#byCycle.get(`${epoch}/${cycle}`);
  }

  /** Lets go of images that nobody asks for any more. */
  forgetUnless(isWanted: (epoch: number, cycle: number) => boolean): void {
    for (const key of this.#byCycle.keys()) {
      const [epoch = 0, cycle = 0] = key.split('/').map(Number);
      if (!isWanted(epoch, cycle)) this.#byCycle.delete(key);
    }
  }

  /** Takes in what was written since the last look. */
  #catchUp(): void {
    if (!existsSync(this.journalFolder)) return;
    for (const name of readdirSync(this.journalFolder)) {
      const epoch = Number(name);
      if (Number.isInteger(epoch)) this.#readEpoch(epoch, join(this.journalFolder, name));
    }
  }

  #readEpoch(epoch: number, folder: string): void {
    const bases = this.diskNames.map((name) => join(folder, `${name}.base.raw`));
    const path = join(folder, 'writes.journal');
    // The bases are copied after the journal was made: until all of them are there nothing can be read.
    if (![path, ...bases].every((each) => existsSync(each))) return;
    const file = openSync(path, 'r');
    try {
      const { size, ino } = fstatSync(file);
      let journal = this.#journals.get(epoch);
      // A start that died is made anew.
      if (journal?.inode !== ino) {
        journal = { inode: ino, readBytes: 0, disks: bases.map((base) => inPieces(readFileSync(base))) };
        this.#journals.set(epoch, journal);
      }
      // A crash may have taken a torn record away again, never a whole one.
      const text = Buffer.alloc(Math.max(0, size - journal.readBytes));
      readSync(file, text, 0, text.length, journal.readBytes);
      journal.readBytes += this.#take(epoch, journal.disks, text);
    } finally {
      closeSync(file);
    }
  }

  /** Plays the whole records; gives how many bytes they are. */
  #take(epoch: number, disks: Buffer[][], text: Buffer): number {
    let at = 0;
    while (at + headerBytes <= text.length) {
      const lengthBytes = text.readUInt32LE(at + 24);
      const end = at + headerBytes + lengthBytes;
      if (text.readUInt32LE(at) !== recordMagic || end > text.length) break;
      if (crc32(text.subarray(at + 8, end)) !== text.readUInt32LE(at + 4)) break;
      const offset = Number(text.readBigUInt64LE(at + 16));
      if (text.readUInt8(at + 8) === 1) {
        write(disks[text.readUInt32LE(at + 12)], offset, text.subarray(at + headerBytes, end));
      } else {
        // A mark that a dead log switch left is passed over: the last of a cycle counts.
        this.#byCycle.set(
          `${epoch}/${offset}`,
          disks.map((disk) => disk.slice()),
        );
      }
      at = end;
    }
    return at;
  }
}

function write(disk: Buffer[] | undefined, offsetBytes: number, data: Buffer): void {
  assert(disk, 'the journal names a disk that there is not');
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

function inPieces(disk: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < disk.length; at += pieceBytes) pieces.push(disk.subarray(at, at + pieceBytes));
  return pieces;
}
