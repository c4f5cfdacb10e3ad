import { z } from 'zod';
import { speedMax, type BusinessClock } from '../clock/business-clock.js';
import { parseDurationMs } from '../clock/duration.js';
import { DevhostError } from '../errors.js';
import type { HttpAnswer } from './conversion.js';
import { jsonAnswer } from './server.js';

export interface FunctionListing {
  name: string;
  trigger: string;
  url?: string;
  methods?: string[];
  schedule?: string;
}

export interface AdminApiOptions {
  clock: BusinessClock;
  functions: readonly FunctionListing[];
  hostId: string;
  startedAtMs: number;
  /** Runs a timer function now; false when there is none of the name. */
  fireTimer: (functionName: string) => boolean;
}

export interface AdminApi {
  handle(method: string, url: URL, body: Buffer): HttpAnswer;
}

const clockOrder = z.union([
  z.strictObject({ advance: z.string() }),
  z.strictObject({ speed: z.number().positive().max(speedMax) }),
]);

/** The clock's two endpoints; undefined for anything else. They answer before the app is loaded: it may ask the time. */
export function answerClock(clock: BusinessClock, method: string, url: URL, body: Buffer): HttpAnswer | undefined {
  if (url.pathname.toLowerCase().replace(/\/$/, '') !== '/admin/devhost/clock') return undefined;
  if (method === 'POST') {
    try {
      const order = clockOrder.parse(JSON.parse(body.toString()));
      if ('advance' in order) clock.advance(parseDurationMs(order.advance));
      else clock.setSpeed(order.speed);
    } catch (error) {
      const why = error instanceof DevhostError ? error.message : 'send {"advance":"PT30M"} or {"speed":10} as JSON';
      return jsonAnswer(400, { error: why });
    }
  } else if (method !== 'GET') {
    return undefined;
  }
  return jsonAnswer(200, { now: new Date(clock.now()).toISOString(), speed: clock.speed });
}

/** `/admin/…`: the real host's few endpoints that are of use on one machine, and devhost's own. */
export function adminApi(options: AdminApiOptions): AdminApi {
  return {
    handle(method, url, body) {
      const clockAnswer = answerClock(options.clock, method, url, body);
      if (clockAnswer !== undefined) return clockAnswer;
      const path = url.pathname.toLowerCase().replace(/\/$/, '');
      switch (`${method} ${path}`) {
        case 'GET /admin/devhost/functions':
          return jsonAnswer(200, options.functions);
        case 'GET /admin/host/status':
          return jsonAnswer(200, {
            id: options.hostId,
            state: 'Running',
            version: 'devhost',
            processId: process.pid,
            processUptime: Date.now() - options.startedAtMs,
          });
      }
      const functionName = /^\/admin\/functions\/([^/]+)$/.exec(path)?.[1];
      if (method === 'POST' && functionName !== undefined) {
        return options.fireTimer(decodeURIComponent(functionName))
          ? { status: 202, headers: {}, body: Buffer.alloc(0) }
          : jsonAnswer(404, { error: `there is no timer function '${functionName}'` });
      }
      return jsonAnswer(404, { error: `devhost has no endpoint ${method} ${path}` });
    },
  };
}
