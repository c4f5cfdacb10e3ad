import { setTimeout as sleep } from 'node:timers/promises';
import type { RequestPolicyFactory } from '@azure/storage-blob';
import { isTransient } from './storage-errors.js';

/** Short: what lasts longer than these is the business of the caller's retry schedule. */
const triesPerCall = 4;
const firstPauseMilliseconds = 100;

/** Full jitter, so that many blocks that failed together do not come back in step. */
export const pauseMilliseconds = (triesSoFar: number, random: number): number =>
  random * firstPauseMilliseconds * 2 ** (triesSoFar - 1);

/**
 * The tries of one blob call. The SDK's own have no jitter, so its pipeline must be told to try once. Errors leave as the SDK
 * throws them.
 */
export const shortRetries = (
  pause: (milliseconds: number, signal: AbortSignal) => Promise<unknown> = (milliseconds, signal) =>
    sleep(milliseconds, undefined, { signal }),
): RequestPolicyFactory => ({
  create: (nextPolicy) => ({
    async sendRequest(request) {
      const signal = request.abortSignal instanceof AbortSignal ? request.abortSignal : new AbortController().signal;
      for (let triesSoFar = 1; ; triesSoFar++) {
        try {
          return await nextPolicy.sendRequest(request);
        } catch (error) {
          if (triesSoFar === triesPerCall || signal.aborted || !isTransient(error)) throw error;
          await pause(pauseMilliseconds(triesSoFar, Math.random()), signal).catch(() => {
            throw error;
          });
        }
      }
    },
  }),
});
