import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DevhostError, toError } from '../errors.js';
import { parseTimeSpanMs } from './time-span.js';

const hostJsonSchema = z.looseObject({
  version: z.string(),
  functionTimeout: z.string().optional(),
  extensionBundle: z.looseObject({ id: z.string(), version: z.string() }).optional(),
  extensions: z
    .looseObject({
      http: z.looseObject({ routePrefix: z.string().optional() }).optional(),
      durableTask: z
        .looseObject({
          hubName: z.string().optional(),
          maxConcurrentActivityFunctions: z.int().positive().optional(),
          maxConcurrentOrchestratorFunctions: z.int().positive().optional(),
        })
        .optional(),
    })
    .optional(),
  logging: z.looseObject({ logLevel: z.looseObject({ default: z.string().optional() }).optional() }).optional(),
});

export interface HostSettings {
  version: string;
  extensionBundle: { id: string; version: string } | undefined;
  routePrefix: string;
  hubName: string;
  functionTimeoutMs: number;
  maxConcurrentActivities: number | undefined;
  maxConcurrentTurns: number | undefined;
  defaultLogLevel: string;
}

/** The Consumption plan's default where host.json sets none. */
const defaultFunctionTimeout = '00:05:00';

export function readHostJson(appFolder: string): HostSettings {
  const file = join(appFolder, 'host.json');
  let parsed: z.infer<typeof hostJsonSchema>;
  try {
    parsed = hostJsonSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    throw new DevhostError('badHostJson', `${file} cannot be used: ${toError(error).message}`, { cause: error });
  }
  const { http, durableTask } = parsed.extensions ?? {};
  return {
    version: parsed.version,
    extensionBundle: parsed.extensionBundle,
    routePrefix: (http?.routePrefix ?? 'api').replace(/^\/|\/$/g, ''),
    hubName: durableTask?.hubName ?? 'TestHubName',
    functionTimeoutMs: functionTimeoutMs(parsed.functionTimeout ?? defaultFunctionTimeout, file),
    maxConcurrentActivities: durableTask?.maxConcurrentActivityFunctions,
    maxConcurrentTurns: durableTask?.maxConcurrentOrchestratorFunctions,
    defaultLogLevel: parsed.logging?.logLevel?.default ?? 'Information',
  };
}

/** "-1" is without a bound; Node's timers end at 24.8 days. */
const unboundedMs = 2 ** 31 - 1;

function functionTimeoutMs(text: string, file: string): number {
  if (text === '-1') return unboundedMs;
  const timeoutMs = parseTimeSpanMs(text);
  if (timeoutMs === undefined || timeoutMs <= 0) {
    throw new DevhostError('badHostJson', `${file}: functionTimeout '${text}' is not a time span such as 00:10:00`);
  }
  return Math.min(timeoutMs, unboundedMs);
}
