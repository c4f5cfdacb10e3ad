import type { Operation } from './operation.js';

/** Number of single-character edits between two texts. */
function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i++) {
    const next = [i];
    for (let j = 1; j <= right.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}

/** Longer segments are compared by their beginnings only: a path is the caller's, its length is not ours to trust. */
const comparedCharsMax = 64;

/** The operation whose path differs least: a parameter fits anything, literals count by their edits, missing segments in full. */
export function closest(
  segments: readonly string[],
  candidates: readonly { operation: Operation; segments: readonly string[] }[],
): Operation | undefined {
  const cut = segments.slice(0, 32).map((segment) => segment.slice(0, comparedCharsMax).toLowerCase());
  let best: { operation: Operation; cost: number } | undefined;
  for (const candidate of candidates) {
    let cost = 0;
    for (let index = 0; index < Math.max(cut.length, candidate.segments.length); index++) {
      const wanted = candidate.segments[index]?.toLowerCase();
      const given = cut[index];
      if (wanted === undefined || given === undefined) cost += 10;
      else if (!wanted.startsWith('{')) cost += editDistance(given, wanted);
    }
    if (best === undefined || cost < best.cost) best = { operation: candidate.operation, cost };
  }
  return best?.operation;
}
