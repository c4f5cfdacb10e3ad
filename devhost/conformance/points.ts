/**
 * What works on a naive local host and breaks or differs on the real one, and how devhost shows each before the real
 * host does. docs/devhost.md shows this table to people; a test holds both together.
 */
export interface ConformancePoint {
  point: string;
  shownBy: Shown[];
}

export type Shown =
  /** Checked at every start, by `checkApp` or while the app is loaded; an error keeps the host from starting. */
  | { kind: 'start' }
  /** The test of this name, in this file below test/. */
  | { kind: 'test'; file: string; name: string }
  /** A lint rule of eslint.config.mjs, for orchestrators/. */
  | { kind: 'lint'; contains: string }
  /** Only the real host can show it, because … */
  | { kind: 'realHost'; because: string };

const test = (file: string, name: string): Shown => ({ kind: 'test', file, name });
const start: Shown = { kind: 'start' };
const realHost = (because: string): Shown => ({ kind: 'realHost', because });

const points = 'unit/devhost/conformance-points.test.ts';
const checks = 'unit/devhost/static-checks.test.ts';
const orchestration = 'unit/devhost/engine/orchestration.test.ts';
const modes = 'unit/devhost/engine/modes.test.ts';
const control = 'unit/devhost/engine/control.test.ts';
const surface = 'unit/devhost/engine/http-surface.test.ts';
const host = 'integration/devhost/host.test.ts';
const timers = 'unit/devhost/function-timer.test.ts';

export const conformancePoints: Readonly<Record<string, ConformancePoint>> = {
  C1: {
    point: 'function names are legal, not "host", and unique without regard to case',
    shownBy: [start, test(checks, 'illegal and reserved function names are errors')],
  },
  C2: {
    point: 'host.json has version 2.0 and the extension bundle that holds the durable extension',
    shownBy: [
      start,
      test(checks, 'a wrong version or bundle in host.json is an error'),
      realHost('which durable extension a bundle version brings is known to Azure alone'),
    ],
  },
  C3: {
    point: 'package.json names the built files; an entry file that throws blocks every function',
    shownBy: [start, test(host, 'an app that cannot be loaded keeps the host from starting, and says why')],
  },
  C4: {
    point: 'the production dependencies are installed, with one copy of @azure/functions',
    shownBy: [start, test(checks, 'a missing dependency and a second copy of @azure/functions are errors')],
  },
  C5: {
    point: 'routes do not collide, nor lie under the host’s prefixes; the route prefix is host.json’s',
    shownBy: [
      start,
      test(checks, 'colliding and reserved routes are errors, and keys are warned of'),
      realHost('function keys are made and asked for by Azure'),
    ],
  },
  C6: {
    point: 'the hub name is 3 to 45 letters and digits',
    shownBy: [start, test(checks, 'an illegal hub name is an error')],
  },
  C7: {
    point: 'functions are registered during startup only',
    shownBy: [start, test(host, 'requests reach functions as the real worker hands them over')],
  },
  C8: {
    point: 'an orchestrator is a synchronous generator that does the same in every replay',
    shownBy: [
      { kind: 'lint', contains: 'Date is not replay-safe' },
      { kind: 'lint', contains: 'never await' },
      test('unit/devhost/determinism.test.ts', 'an orchestrator that asks the clock or the dice is caught'),
      test(control, 'a changed orchestrator is caught by its history'),
    ],
  },
  C9: {
    point: 'a losing timer that is not cancelled keeps its orchestration running',
    shownBy: [
      test(orchestration, 'a losing timer that is not cancelled keeps its orchestration running until it fires'),
      test(orchestration, 'a cancelled losing timer lets its orchestration end at once'),
    ],
  },
  C10: {
    point: 'a retried task that lost Task.any must not be yielded later',
    shownBy: [test(points, 'C10, C22: orchestrators leave retries to timers, not to the engine')],
  },
  C11: {
    point: 'Task.all throws at the first failure, yet the instance waits for the others',
    shownBy: [test(points, 'C11: a failed Task.all ends only when its other tasks have ended')],
  },
  C12: {
    point: 'event names match by case',
    shownBy: [test(points, 'C12: an event of another case is not the one waited for')],
  },
  C13: {
    point: 'inputs change on their way: no input becomes "", true becomes "True", continueAsNew quotes a string',
    shownBy: [
      test(modes, 'with strict types an activity gets its input as the real host converts it'),
      test(surface, 'a start without input gives an empty text, as the real client and host do'),
      test(points, 'C13: a string given to continueAsNew arrives quoted'),
    ],
  },
  C14: {
    point: 'a property named Timestamp in an orchestration’s input becomes a Date',
    shownBy: [test(points, 'C14: a property named Timestamp in the input becomes a Date')],
  },
  C15: {
    point: 'results that JSON cannot carry change; an activity’s error arrives as text alone',
    shownBy: [
      test(modes, 'results of all kinds come back as JSON'),
      test(points, 'C15: a missing result is null, and an error arrives as text'),
      test('unit/devhost/conversion.test.ts', 'C15: numbers that are none become null'),
    ],
  },
  C16: {
    point: 'an entity’s error reaches its caller without its message',
    shownBy: [test(points, 'C16: the error of an entity loses its message')],
  },
  C17: {
    point: 'a custom status has at most 16 KB, and a falsy one is not sent',
    shownBy: [
      test(control, 'a custom status of more than 16 KB fails the orchestration'),
      test(points, 'C17: a falsy custom status is not sent'),
    ],
  },
  C18: {
    point: 'large payloads are slow and bounded',
    shownBy: [test(modes, 'payloads over 45 KB are warned of, over 1 MB refused')],
  },
  C19: {
    point: 'a history of a thousand events slows every turn',
    shownBy: [test(points, 'C19: a long history is warned of')],
  },
  C20: {
    point: 'an event is raised with data, null at least',
    shownBy: [test(surface, 'bad requests are refused, each with a reason')],
  },
  C21: {
    point: 'activities run at least once, now and then twice',
    shownBy: [
      test(modes, 'activities run twice keep the first outcome, and a difference is logged'),
      test('integration/devhost/crash.test.ts', 'orchestrations end right however often the host is killed'),
    ],
  },
  C22: {
    point: 'the engine’s retry timeouts and longest intervals differ between library and extension',
    shownBy: [test(points, 'C10, C22: orchestrators leave retries to timers, not to the engine')],
  },
  C23: {
    point: 'a response within 230 s, an invocation within functionTimeout',
    shownBy: [
      test(host, 'an invocation that exceeds functionTimeout fails, and the host goes on'),
      realHost('the 230 s are the limit of Azure’s load balancer'),
    ],
  },
  C24: {
    point: 'a request body of at most 100 MB by default',
    shownBy: [test(host, 'a body over the limit is refused with 413')],
  },
  C25: {
    point: 'headers, cookies and bodies of responses are the library’s',
    shownBy: [
      test(host, 'requests reach functions as the real worker hands them over'),
      test('unit/devhost/conversion.test.ts', 'responses carry status, headers, cookies and bytes'),
    ],
  },
  C26: {
    point: 'timers: six-field NCRONTAB in UTC or WEBSITE_TIME_ZONE, one catch-up, never two runs at once',
    shownBy: [
      start,
      test('unit/devhost/schedule.test.ts', 'what NCRONTAB does not know is refused, though cron-parser knows it'),
      test(timers, 'runs missed while the host was down are made up for once, as past due'),
      test(timers, 'a run is never overlapped by the next, nor by one started by hand'),
      realHost('which plans know WEBSITE_TIME_ZONE, and how timers of several instances exclude each other'),
    ],
  },
  C27: {
    point: 'what a process remembers is lost, and not shared between instances',
    shownBy: [
      test('integration/devhost/crash.test.ts', 'orchestrations end right however often the host is killed'),
      realHost('several instances at once: devhost is one process'),
    ],
  },
  C28: {
    point: 'an ESM app finds its core module',
    shownBy: [
      test(host, 'requests reach functions as the real worker hands them over'),
      realHost('how newer versions of Node.js load the app is the real worker’s'),
    ],
  },
  C29: {
    point: 'WEBSITE_HOSTNAME names the host; URLs are not built by hand',
    shownBy: [test(host, 'the app is told where it runs')],
  },
  C30: {
    point: 'createdTime and lastUpdatedTime have whole seconds',
    shownBy: [test(surface, 'the status has the shape and codes of the real host')],
  },
};
