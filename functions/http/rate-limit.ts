import { ApiError } from './api-error.js';

interface Bucket {
  tokens: number;
  filledAtMs: number;
}

/** What a caller may spend at once, and how much of it comes back each second. */
export interface Rate {
  burst: number;
  perSecond: number;
}

export interface RateLimits {
  operators: RateLimiter;
  /** By relay, once its signature was checked. */
  relays: RateLimiter;
  /** By address: a relay that registers has no name yet. */
  registrations: RateLimiter;
}

const callersMax = 10_000;

/**
 * Token buckets by caller, in one process: an app on several workers lets each caller have as much from each. It keeps one caller
 * that runs wild from the others, and is no protection against many.
 */
export class RateLimiter {
  private readonly buckets = new Map<string, Bucket>();

  constructor(private readonly rates: { reads: Rate; writes: Rate }) {}

  /** Refuses with 429 and when to come again. `nowMs`: system time. */
  admit(callerName: string, method: string, nowMs: number): void {
    const kind = method === 'GET' ? 'reads' : 'writes';
    const { burst, perSecond } = this.rates[kind];
    const key = `${kind} ${callerName}`;
    const known = this.buckets.get(key);
    const refilled = known === undefined ? burst : known.tokens + ((nowMs - known.filledAtMs) / 1000) * perSecond;
    const tokens = Math.min(burst, refilled);
    const isAdmitted = tokens >= 1;
    // The least recently seen go first: their buckets are full by then.
    this.buckets.delete(key);
    // A refusal costs nothing: who asks faster than the rate is taken at the rate, and not shut out for ever.
    this.buckets.set(key, { tokens: isAdmitted ? tokens - 1 : tokens, filledAtMs: nowMs });
    const [oldest] = this.buckets.keys();
    if (this.buckets.size > callersMax && oldest !== undefined) this.buckets.delete(oldest);
    if (!isAdmitted) throw tooMany(callerName, kind, Math.max(1, Math.ceil((1 - tokens) / perSecond)));
  }
}

const tooMany = (callerName: string, kind: string, retryAfterSeconds: number): ApiError =>
  new ApiError({
    code: 'US1034',
    armCode: 'TooManyRequests',
    httpStatus: 429,
    retry: 'later',
    message: `${callerName} sends more ${kind} than this app takes; come again in ${retryAfterSeconds} s`,
    possibleCauses: 'A script asks in a loop without heeding Retry-After.',
    recommendedAction: 'Wait as long as Retry-After says; poll operations as seldom as their answers ask for.',
    details: { retryAfterSeconds },
  });
