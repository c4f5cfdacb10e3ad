import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RedirectFile } from '../../../../providers/simulated-site/redirect-file.js';
import { MemoryFile } from '../../../support/memory-file.js';

const diskBytes = 5 * 1024 * 1024 + 512;
const path = 'test.redirect';

interface Write {
  sector: number;
  sectors: number;
  fill: number;
}
const writes = fc.array(
  fc.record({
    sector: fc.nat(diskBytes / 512 - 1),
    sectors: fc.integer({ min: 1, max: 200 }),
    fill: fc.integer({ min: 1, max: 255 }),
  }),
  { minLength: 1, maxLength: 12 },
);

const dataOf = ({ sector, sectors, fill }: Write): { offsetBytes: number; data: Buffer } => {
  const offsetBytes = sector * 512;
  return { offsetBytes, data: Buffer.alloc(Math.min(sectors * 512, diskBytes - offsetBytes), fill) };
};

/** Every base byte tells where it stands, so that a misplaced read shows. */
const baseImage = Buffer.from(Array.from({ length: diskBytes }, (_, at) => (at * 31 + (at >> 9)) & 255));

async function filled(list: readonly Write[]) {
  const file = new MemoryFile();
  const base = new MemoryFile(baseImage);
  const model = Buffer.from(baseImage);
  const ends = [file.lengthBytes];
  const models = [Buffer.from(model)];
  const side = await RedirectFile.create(file, diskBytes);
  ends[0] = file.lengthBytes;
  for (const write of list) {
    const { offsetBytes, data } = dataOf(write);
    await side.write(base, offsetBytes, data);
    data.copy(model, offsetBytes);
    ends.push(file.lengthBytes);
    models.push(Buffer.from(model));
  }
  return { file, base, side, model, ends, models };
}

test('reads see the writes over the base, and the base stays untouched', async () => {
  await fc.assert(
    fc.asyncProperty(writes, fc.nat(diskBytes - 1), async (list, at) => {
      const { base, side, model } = await filled(list);
      assert.ok((await side.read(base, 0, diskBytes)).equals(model));
      const length = Math.min(70_000, diskBytes - at);
      assert.ok((await side.read(base, at, length)).equals(model.subarray(at, at + length)));
      assert.ok(base.bytes.equals(baseImage));
    }),
    { numRuns: 25 },
  );
});

test('a file cut at any byte holds a prefix of the writes', async () => {
  await fc.assert(
    fc.asyncProperty(writes, fc.double({ min: 0, max: 1, noNaN: true }), async (list, fraction) => {
      const { file, base, ends, models } = await filled(list);
      const cut = 4096 + Math.floor((file.lengthBytes - 4096) * fraction);
      const torn = new MemoryFile(file.bytes.subarray(0, cut));
      const side = await RedirectFile.open(torn, path, diskBytes);
      const whole = ends.filter((end) => end <= cut).length - 1;
      assert.ok((await side.read(base, 0, diskBytes)).equals(models[whole] ?? Buffer.alloc(0)));
      assert.equal(torn.lengthBytes, ends[whole], 'the torn tail was not cut off');
    }),
    { numRuns: 25 },
  );
});

test('a damaged record ends the file before it', async () => {
  const { file, base, ends, models } = await filled([
    { sector: 0, sectors: 8, fill: 1 },
    { sector: 8, sectors: 8, fill: 2 },
    { sector: 16, sectors: 8, fill: 3 },
  ]);
  const damaged = Buffer.from(file.bytes);
  damaged[(ends[1] ?? 0) + 100] = 0xee;
  const side = await RedirectFile.open(new MemoryFile(damaged), path, diskBytes);
  assert.ok((await side.read(base, 0, diskBytes)).equals(models[1] ?? Buffer.alloc(0)));
});

test('a merge broken off at any step and begun again gives the disk that the guest saw, writes in between included', async () => {
  await fc.assert(
    fc.asyncProperty(writes, writes, fc.nat(6), async (before, during, stopAfter) => {
      const { file, base, side, model } = await filled(before);
      const [early, late] = [during.slice(0, during.length / 2), during.slice(during.length / 2)];
      let step = 0;
      const guestWrites = async (redirect: RedirectFile, list: readonly Write[]) => {
        for (const write of list) {
          const { offsetBytes, data } = dataOf(write);
          await redirect.write(base, offsetBytes, data);
          data.copy(model, offsetBytes);
        }
      };
      while (step < stopAfter && (await side.mergeStep(base, 1)) > 0) step += 1;
      await guestWrites(side, early);
      if (step > 0) await side.mergeStep(base, 1);
      // The process dies here: what was merged stays in the base, the side file is read anew.
      const again = await RedirectFile.open(new MemoryFile(file.bytes), path, diskBytes);
      assert.ok((await again.read(base, 0, diskBytes)).equals(model));
      await again.mergeStep(base, 1);
      await guestWrites(again, late);
      while (!again.isMerged) await again.mergeStep(base, 100_000);
      assert.ok(base.bytes.equals(model));
    }),
    { numRuns: 25 },
  );
});

test('a side file of another disk or version is refused', async () => {
  const { file } = await filled([{ sector: 0, sectors: 1, fill: 1 }]);
  const code = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'US5018';
  const changed = Buffer.from(file.bytes);
  changed[30] = 1;
  await assert.rejects(RedirectFile.open(new MemoryFile(changed), path, diskBytes), code);
  await assert.rejects(RedirectFile.open(new MemoryFile(file.bytes), path, diskBytes + 512), code);
  await assert.rejects(RedirectFile.open(new MemoryFile(Buffer.alloc(100)), path, diskBytes), code);
});
