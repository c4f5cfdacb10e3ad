import assert from 'node:assert/strict';

/**
 * Joins the pieces that the service lists: `end` is the last byte's offset, and neighbours may come apart. They must
 * come in ascending order; anything else stops the caller, for a missed range is a hole in a disk.
 */
export async function* mergedRanges(
  pieces: AsyncIterable<{ start: number; end: number }>,
): AsyncIterable<{ offsetBytes: number; lengthBytes: number }> {
  let from: number | undefined;
  let to = 0;
  for await (const { start, end } of pieces) {
    assert(
      end >= start && start % 512 === 0 && (end + 1) % 512 === 0,
      `page range ${start} … ${end} is not whole pages`,
    );
    if (from !== undefined) {
      assert(start >= to, `page range ${start} … ${end} comes after ${from} … ${to - 1}`);
      if (start > to) {
        yield { offsetBytes: from, lengthBytes: to - from };
        from = start;
      }
    } else {
      from = start;
    }
    to = end + 1;
  }
  if (from !== undefined) yield { offsetBytes: from, lengthBytes: to - from };
}
