import { asJobName, type JobName } from '../ids.js';

/**
 * A job name: a UUID of version 7, so that names sort by time. `guid` gives the random bits; both arguments come from the
 * caller, so that an orchestrator draws the same name at every replay.
 */
export function jobNameAt(epochMilliseconds: number, guid: string): JobName {
  const random = guid.toLowerCase().replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/.test(random)) throw new RangeError(`${guid} is not a GUID`);
  if (!Number.isSafeInteger(epochMilliseconds) || epochMilliseconds < 0 || epochMilliseconds >= 2 ** 48) {
    throw new RangeError(`${epochMilliseconds} is no time that a UUID can carry`);
  }
  const time = epochMilliseconds.toString(16).padStart(12, '0');
  const variant = (8 + (Number.parseInt(random.slice(16, 17), 16) % 4)).toString(16);
  return asJobName(
    `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(1, 4)}-${variant}${random.slice(17, 20)}-${random.slice(20)}`,
  );
}
