/** The `Date` that a durable timer wants, from one that the history gave: no clock is read. */
export const secondsAfter = (start: Date, seconds: number): Date => new Date(start.getTime() + seconds * 1000);
