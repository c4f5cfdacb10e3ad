import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BusinessClock } from './clock/business-clock.js';
import { checkApp, type Finding } from './conformance/static-checks.js';
import type { DurableEngine, HostModes, RegisteredFunction } from './contract.js';
import { DevhostError, toError } from './errors.js';
import { createDurableEngine } from './engine/engine.js';
import { openTableStore } from './engine/table-store.js';
import { adminApi, answerClock, type FunctionListing } from './http/admin-api.js';
import { refuseStranger } from './http/own-machine.js';
import { RequestRouter } from './http/request-router.js';
import { buildRouteTable, type HttpRoute } from './http/route-table.js';
import { defaultBodyLimitBytes, HostServer, isLoopback, jsonAnswer, type TlsIdentity } from './http/server.js';
import { createLog, fromFunctionsLevel, type Log, type LogLevel } from './log.js';
import { applySettings, readLocalSettings, storageConnectionString } from './settings/app-settings.js';
import { readHostJson } from './settings/host-json.js';
import { BlobScheduleStatusStore } from './timers/schedule-status.js';
import { Timers } from './timers/timers.js';
import { AppWorker } from './worker/app-worker.js';
import { withDurableClient } from './worker/with-durable-client.js';
import { acquireWriterLease } from './writer/writer-lease.js';

export interface HostOptions {
  appFolder: string;
  dataFolder: string;
  /** 0 takes a free one. */
  port: number;
  host: string;
  /** A second socket that speaks TLS; port 0 takes a free one. */
  tls?: { certFile: string; keyFile: string; port: number };
  speed: number;
  modes: HostModes;
  json: boolean;
  logLevel: LogLevel | undefined;
  writeLine: (line: string) => void;
  /** The hub is another process's now: end at once, writing nothing more. */
  onFenced: (reason: string) => void;
}

export interface RunningHost {
  readonly origin: string;
  readonly secureOrigin: string | undefined;
  readonly functions: readonly FunctionListing[];
  readonly log: Log;
  /** Stops accepting, drains, leaves the rest to the next start. */
  stop(): Promise<void>;
}

const saveClockEveryMs = 10_000;
/** A dead owner on another machine keeps its lease for 15 s. */
const waitForWriterMs = 20_000;

function readIdentity({ certFile, keyFile }: { certFile: string; keyFile: string }): TlsIdentity {
  try {
    return { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
  } catch (error) {
    throw new DevhostError(
      'badArguments',
      `the files of --tls-cert and --tls-key cannot be read: ${toError(error).message}`,
    );
  }
}

export async function startHost(options: HostOptions): Promise<RunningHost> {
  const startedAtMs = Date.now();
  const settings = readHostJson(options.appFolder);
  applySettings(readLocalSettings(options.appFolder), process.env);
  const connectionString = storageConnectionString(process.env);
  const log = createLog({
    json: options.json,
    threshold: options.logLevel ?? fromFunctionsLevel(settings.defaultLogLevel),
    write: options.writeLine,
  });
  mkdirSync(options.dataFolder, { recursive: true });
  const closing: (() => Promise<void> | void)[] = [];
  const closeAll = async () => {
    for (const close of closing.reverse()) await close();
  };
  try {
    const lease = await acquireWriterLease({
      connectionString,
      hubName: settings.hubName,
      waitMs: waitForWriterMs,
      log,
      onLost: options.onFenced,
    });
    closing.push(() => lease.release());

    const clock = new BusinessClock({ file: join(options.dataFolder, 'clock.json'), speed: options.speed });
    const saving = setInterval(() => clock.save(), saveClockEveryMs);
    closing.push(() => {
      clearInterval(saving);
      clock.close();
    });

    const server = new HostServer({ log, bodyLimitBytes: bodyLimitBytes(process.env) });
    const port = await server.listen(options.host, options.port);
    closing.push(() => server.close());
    const { tls } = options;
    const secureOrigin = tls && (await server.listenSecurely(options.host, tls.port, readIdentity(tls)));
    const isBoundToLoopback = isLoopback(options.host);
    server.handle(
      async (request, url, body) =>
        refuseStranger(request, isBoundToLoopback) ??
        answerClock(clock, request.method ?? 'GET', url, body) ??
        jsonAnswer(503, { error: 'the host is starting' }),
    );
    setHostEnvironment(port, isBoundToLoopback, server.origin);

    const worker = await AppWorker.load({
      appFolder: options.appFolder,
      functionTimeoutMs: settings.functionTimeoutMs,
      log,
    });
    closing.push(() => worker.terminate());
    const routes = buildRouteTable(worker.functions.values(), settings.routePrefix);
    reportFindings(
      checkApp({
        appFolder: options.appFolder,
        settings,
        functions: [...worker.functions.values()],
        routes,
      }),
      log,
    );
    const functions = [...worker.functions.values()].map((registered) => describe(registered, routes, server.origin));

    const store = await openTableStore({ connectionString, hubName: settings.hubName, writerEpoch: lease.epoch });
    const engine: DurableEngine = createDurableEngine({
      worker: withDurableClient(worker, () => engine.clientBinding(server.origin)),
      clock,
      modes: options.modes,
      hubName: settings.hubName,
      store,
      log,
      ...(settings.maxConcurrentActivities === undefined
        ? {}
        : { maxConcurrentActivities: settings.maxConcurrentActivities }),
      ...(settings.maxConcurrentTurns === undefined ? {} : { maxConcurrentTurns: settings.maxConcurrentTurns }),
      onFenced: options.onFenced,
    });
    closing.push(() => engine.stop());
    const timers = new Timers({
      worker,
      engine,
      origin: server.origin,
      clock,
      statuses: new BlobScheduleStatusStore(connectionString, settings.hubName),
      environment: process.env,
      log,
    });
    const admin = adminApi({
      clock,
      functions,
      hostId: settings.hubName,
      startedAtMs,
      fireTimer: (name) => timers.fireNow(name),
    });
    const router = new RequestRouter({
      routes,
      worker,
      engine,
      admin,
      origin: server.origin,
      isBoundToLoopback,
      log,
    });
    server.handle((request, url, body) => router.handle(request, url, body));
    closing.push(() => router.drain());
    await engine.start();
    closing.push(() => timers.stop());
    await timers.start();
    return { origin: server.origin, secureOrigin, functions, log, stop: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** What the real host would stumble over stops us as well; what it does otherwise is said. */
function reportFindings(findings: readonly Finding[], log: Log): void {
  for (const { point, severity, message } of findings) {
    if (severity === 'warning') log.warn(`${point}: ${message}`);
  }
  const errors = findings.filter(({ severity }) => severity === 'error');
  if (errors.length === 0) return;
  const list = errors.map(({ point, message }) => `${point}: ${message}`).join('\n  ');
  throw new DevhostError('notConformant', `the app would not run on the real Functions host:\n  ${list}`);
}

function bodyLimitBytes(environment: NodeJS.ProcessEnv): number {
  const limit = Number(environment.FUNCTIONS_REQUEST_BODY_SIZE_LIMIT);
  return Number.isInteger(limit) && limit > 0 ? limit : defaultBodyLimitBytes;
}

/** What the platform tells an app by its environment. Set before the app is loaded: it may read it at any time. */
function setHostEnvironment(port: number, isBoundToLoopback: boolean, origin: string): void {
  process.env.WEBSITE_HOSTNAME = `localhost:${port}`;
  process.env.FUNCTIONS_WORKER_RUNTIME ??= 'node';
  process.env.AZURE_FUNCTIONS_ENVIRONMENT ??= 'Development';
  process.env.UNDERSTUDY_CLOCK_URL = `${origin}/admin/devhost/clock`;
  if (isBoundToLoopback) process.env.UNDERSTUDY_BOUND_TO = 'loopback';
  else delete process.env.UNDERSTUDY_BOUND_TO;
}

function describe(registered: RegisteredFunction, routes: readonly HttpRoute[], origin: string): FunctionListing {
  const listing = { name: registered.name, trigger: registered.trigger };
  const route = routes.find((candidate) => candidate.function === registered);
  if (route !== undefined) {
    return { ...listing, methods: route.methods, url: `${origin}/${route.template.text}` };
  }
  const { schedule } = registered.triggerBinding;
  return typeof schedule === 'string' ? { ...listing, schedule } : listing;
}
