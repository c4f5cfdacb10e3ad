import { Temporal } from 'temporal-polyfill';

/**
 * When items that must be resynchronized are, by themselves. `window`: within the hours in which it disturbs nobody. `manual`:
 * never, an operator asks for each. `immediate`: at once.
 */
export const resyncModes = ['window', 'manual', 'immediate'] as const;

/** What an operator sets for a whole vault. */
export interface ReplicationSettings {
  resync: {
    mode: (typeof resyncModes)[number];
    /** Times of day, `HH:MM`; a window whose end is not after its start ends on the next day. */
    windowStart: string;
    windowEnd: string;
    /** IANA name. Absent: the time zone of each item's own site. */
    timeZone?: string;
    /** Resynchronizations of the vault that run at the same time; more are begun only by an operator's own request. */
    atOnceMax: number;
  };
  /** An item whose RPO is above this is reported. */
  rpoThresholdSeconds: number;
}

/**
 * The window is Hyper-V Replica's and Site Recovery's. Two at once: each reads whole disks at both sides, so that one more
 * takes from the guests and from the cycles of the healthy items what the second one, busy while the first waits, does not.
 */
export const defaultReplicationSettings: ReplicationSettings = {
  resync: { mode: 'window', windowStart: '18:30', windowEnd: '06:00', atOnceMax: 2 },
  rpoThresholdSeconds: 30 * 60,
};

/** More would only wait for one another: the relay compares few disks at a time. */
export const resyncsAtOnceMax = 32;

/** A name of the IANA database that this runtime knows; offsets such as +02:00 are none, since they know no summer time. */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+/-]*$/.test(name)) return false;
  try {
    Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(name);
    return true;
  } catch {
    return false; // RangeError: not in the database.
  }
}
