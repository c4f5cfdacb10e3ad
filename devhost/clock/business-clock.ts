import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import type { HostClock } from '../contract.js';

/** At `wallMs` of system time it was `businessMs`; from there business time runs `speed` times as fast. */
const anchorSchema = z.object({ wallMs: z.number(), businessMs: z.number(), speed: z.number().positive() });
type Anchor = z.infer<typeof anchorSchema>;

/** Faster, and the timers of a day would come within a millisecond. */
export const speedMax = 100_000;

interface Scheduled {
  atMs: number;
  callback: () => void;
}

/** Node's timers overflow at 2^31 - 1 ms (24.8 days) and drift with the system's sleep: wake and look again daily. */
const longestSleepMs = 24 * 3_600_000;

export interface BusinessClockOptions {
  /** Where the anchor is kept, so that business time never goes backwards over restarts. */
  file: string;
  speed: number;
  wallNow?: () => number;
}

/** Business time: system time times a speed, plus whatever it was advanced by. It never goes backwards. */
export class BusinessClock implements HostClock {
  readonly #file: string;
  readonly #wallNow: () => number;
  readonly #scheduled = new Set<Scheduled>();
  #anchor: Anchor;
  #latestMs: number;
  #timer: NodeJS.Timeout | undefined;
  #wakeAtMs = Infinity;
  #isClosed = false;

  constructor(options: BusinessClockOptions) {
    this.#file = options.file;
    this.#wallNow = options.wallNow ?? Date.now;
    const wallMs = this.#wallNow();
    const saved = readAnchor(options.file);
    // With a saved anchor time went on at its speed while the host was down; a wall clock set back counts as no time.
    const businessMs =
      saved === undefined ? wallMs : saved.businessMs + Math.max(0, wallMs - saved.wallMs) * saved.speed;
    this.#anchor = { wallMs, businessMs, speed: options.speed };
    this.#latestMs = businessMs;
    this.save();
  }

  get speed(): number {
    return this.#anchor.speed;
  }

  now(): number {
    const { wallMs, businessMs, speed } = this.#anchor;
    this.#latestMs = Math.max(this.#latestMs, businessMs + (this.#wallNow() - wallMs) * speed);
    return Math.floor(this.#latestMs);
  }

  advance(byMs: number): void {
    const businessMs = this.now() + byMs;
    this.#anchor = { ...this.#anchor, wallMs: this.#wallNow(), businessMs };
    this.save();
    this.#arm();
  }

  /** From now on business time runs at another speed. */
  setSpeed(speed: number): void {
    this.#anchor = { wallMs: this.#wallNow(), businessMs: this.now(), speed };
    this.save();
    this.#arm();
  }

  schedule(atMs: number, callback: () => void): () => void {
    const entry = { atMs, callback };
    this.#scheduled.add(entry);
    if (atMs < this.#wakeAtMs) this.#arm();
    // A wake for a cancelled entry finds nothing due and sleeps on.
    return () => void this.#scheduled.delete(entry);
  }

  /** Writes the anchor; call it now and then, so that a wall clock set back during a restart takes little with it. */
  save(): void {
    const anchor: Anchor = { wallMs: this.#wallNow(), businessMs: this.now(), speed: this.#anchor.speed };
    const temporary = `${this.#file}.new`;
    writeFileSync(temporary, JSON.stringify(anchor));
    renameSync(temporary, this.#file);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#scheduled.clear();
    this.save();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    this.#wakeAtMs = Infinity;
    if (this.#isClosed) return;
    for (const { atMs } of this.#scheduled) this.#wakeAtMs = Math.min(this.#wakeAtMs, atMs);
    if (this.#wakeAtMs === Infinity) return;
    const sleepMs = Math.ceil((this.#wakeAtMs - this.now()) / this.#anchor.speed);
    this.#timer = setTimeout(() => this.#fire(), Math.min(Math.max(sleepMs, 0), longestSleepMs));
  }

  #fire(): void {
    const now = this.now();
    const due = [...this.#scheduled].filter(({ atMs }) => atMs <= now).sort((a, b) => a.atMs - b.atMs);
    for (const entry of due) this.#scheduled.delete(entry);
    this.#arm();
    for (const { callback } of due) callback();
  }
}

function readAnchor(file: string): Anchor | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  const parsed = anchorSchema.safeParse(JSON.parse(text));
  if (!parsed.success) throw new Error(`${file} does not hold a clock: ${parsed.error.message}`);
  return parsed.data;
}
