import { DevhostError } from '../errors.js';

const pattern = /^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/;
const unitsMs = [7 * 24 * 3_600_000, 24 * 3_600_000, 3_600_000, 60_000, 1000];

/** An ISO 8601 duration of exact units (weeks to seconds; years and months have no fixed length), in milliseconds. */
export function parseDurationMs(text: string): number {
  const match = pattern.exec(text);
  const counts = match?.slice(1) ?? [];
  if (match === null || counts.every((count) => count === undefined) || text.endsWith('T')) {
    throw new DevhostError('badDuration', `'${text}' is not an ISO 8601 duration such as PT30M, P1D or PT1H30M`);
  }
  return Math.round(counts.reduce((sum, count, index) => sum + Number(count ?? 0) * (unitsMs[index] ?? 0), 0));
}
