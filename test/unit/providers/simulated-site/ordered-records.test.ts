import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkOrderedHistory,
  frozenMarker,
  nextSequence,
  orderedRecord,
  orderedRegion,
  slotBytes,
  type OrderedLayout,
  type ReadDisk,
} from '../../../../providers/simulated-site/guests/ordered-records.js';

const layout: OrderedLayout = { diskSizes: [4 * 1024 * 1024, 6 * 1024 * 1024], tag: 0x1234 };
const { slotCount, startBytes } = orderedRegion(layout);

function emptyDisks(): Buffer[] {
  return layout.diskSizes.map((size) => Buffer.alloc(size, 0x5a));
}
const readers = (disks: readonly Buffer[]): ReadDisk[] =>
  disks.map((disk) => async (offset, length) => disk.subarray(offset, offset + length));

function write(disks: readonly Buffer[], sequence: number): void {
  const { diskIndex, offsetBytes, data } = orderedRecord(layout, sequence);
  const disk = disks[diskIndex];
  assert.ok(disk);
  data.copy(disk, offsetBytes);
}

test('after every record, over several rounds of overwriting, the disks are a prefix of the history', async () => {
  const disks = emptyDisks();
  assert.deepEqual(await checkOrderedHistory(layout, readers(disks)), {
    kind: 'prefix',
    lastSequence: 0,
    frozenAt: undefined,
  });
  for (let sequence = 1; sequence <= slotCount * 2 * 2 + 3; sequence += 1) {
    write(disks, sequence);
    const history = await checkOrderedHistory(layout, readers(disks));
    assert.ok(history.kind === 'prefix' && history.lastSequence === sequence);
  }
});

test('records are 4 to 64 KiB, whole sectors, and stay in their slot', () => {
  for (let sequence = 1; sequence < 500; sequence += 1) {
    const { data, offsetBytes } = orderedRecord(layout, sequence);
    assert.ok(data.length >= 4096 && data.length <= slotBytes && data.length % 512 === 0);
    assert.equal((offsetBytes - startBytes) % slotBytes, 0);
  }
});

test('a disk that is behind or ahead of the other is told', async () => {
  const disks = emptyDisks();
  for (let sequence = 1; sequence <= 9; sequence += 1) write(disks, sequence);
  const older = Buffer.from(disks[1] ?? Buffer.alloc(0));
  for (let sequence = 10; sequence <= 13; sequence += 1) write(disks, sequence);
  const history = await checkOrderedHistory(layout, readers([disks[0] ?? Buffer.alloc(0), older]));
  assert.ok(history.kind === 'broken');
  assert.equal(history.diskIndex, 1);
  assert.equal(history.expectedSequence, 10);
  assert.equal(history.found, 'nothing');
});

test('a missing, damaged or torn record is told', async () => {
  for (const harm of [
    (record: Buffer) => record.fill(0x5a),
    (record: Buffer) => (record[2000] = (record[2000] ?? 0) ^ 1),
    (record: Buffer) => record.fill(0, 1024),
  ]) {
    const disks = emptyDisks();
    for (let sequence = 1; sequence <= 20; sequence += 1) write(disks, sequence);
    const { diskIndex, offsetBytes, data } = orderedRecord(layout, 11);
    harm((disks[diskIndex] ?? Buffer.alloc(0)).subarray(offsetBytes, offsetBytes + data.length));
    assert.equal((await checkOrderedHistory(layout, readers(disks))).kind, 'broken');
  }
});

test('the guest goes on after its last whole record, and overwrites a torn one', async () => {
  const disks = emptyDisks();
  assert.equal(await nextSequence(layout, readers(disks)), 1);
  for (let sequence = 1; sequence <= 20; sequence += 1) write(disks, sequence);
  assert.equal(await nextSequence(layout, readers(disks)), 21);
  const { diskIndex, offsetBytes, data } = orderedRecord(layout, 21);
  data.copy(disks[diskIndex] ?? Buffer.alloc(0), offsetBytes, 0, 2048);
  assert.equal(await nextSequence(layout, readers(disks)), 21);
});

test('the frozen marker tells up to which record the guest was frozen', async () => {
  const disks = emptyDisks();
  for (let sequence = 1; sequence <= 5; sequence += 1) write(disks, sequence);
  const { offsetBytes, data } = frozenMarker(layout, 5);
  data.copy(disks[0] ?? Buffer.alloc(0), offsetBytes);
  const frozen = await checkOrderedHistory(layout, readers(disks));
  assert.ok(frozen.kind === 'prefix' && frozen.frozenAt === 5 && frozen.lastSequence === 5);
  write(disks, 6);
  const later = await checkOrderedHistory(layout, readers(disks));
  assert.ok(later.kind === 'prefix' && later.frozenAt === 5 && later.lastSequence === 6);
});
