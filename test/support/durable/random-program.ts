import type { EntityContext, OrchestrationContext, Task } from 'durable-functions';
import { df } from './function-app.js';

/**
 * Random orchestrations whose outcome is known beforehand: a program is data, one orchestrator interprets it, and
 * `expectedOutput` says what it must give. Patterns that the real host's source breaks on are left out: a retry
 * or a timer of more than six days that still runs while an `all` fails (the library goes on at once, the host waits,
 * and their sequence ids part), and a loser of `any` that is waited for later.
 */
export type Leaf =
  | { kind: 'act'; n: number; delayMs: number }
  | { kind: 'fail'; n: number }
  | { kind: 'retry'; key: string; passAt: number; attempts: number }
  | { kind: 'timer'; ms: number }
  | { kind: 'sub'; program: Op[] };
export type Op =
  | Leaf
  | { kind: 'all'; leaves: Leaf[] }
  | { kind: 'any'; leaves: Leaf[]; cancelsTimers: boolean }
  | { kind: 'event'; name: string }
  | { kind: 'entity'; key: string }
  | { kind: 'signal'; key: string }
  | { kind: 'anew' };

export interface ProgramInput {
  program: Op[];
  at: number;
  results: unknown[];
}

export function randomProgram(random: (below: number) => number, name: string, depth = 0): Op[] {
  const usesFailingAll = random(2) === 0;
  const leaf = (path: string, options: { mayFail: boolean; mayRetry: boolean }): Leaf => {
    for (;;) {
      switch (random(6)) {
        case 0:
        case 1:
          return { kind: 'act', n: random(100), delayMs: random(4) };
        case 2:
          if (options.mayFail) return { kind: 'fail', n: random(100) };
          break;
        case 3: {
          if (!options.mayRetry) break;
          const attempts = 1 + random(3);
          const passAt = 1 + random(options.mayFail ? attempts + 1 : attempts);
          return { kind: 'retry', key: path, passAt, attempts };
        }
        case 4:
          return { kind: 'timer', ms: [10, 1000, 86_400_000, 9 * 86_400_000][random(usesFailingAll ? 3 : 4)] ?? 10 };
        default:
          if (depth < 2 && random(2) === 0) return { kind: 'sub', program: randomProgram(random, path, depth + 1) };
      }
    }
  };
  return Array.from({ length: 1 + random(depth === 0 ? 6 : 3) }, (_, index): Op => {
    const path = `${name}.${index}`;
    const leaves = (options: { mayFail: boolean; mayRetry: boolean }) =>
      Array.from({ length: 1 + random(4) }, (_unused, inner) => leaf(`${path}.${inner}`, options));
    switch (random(9)) {
      case 0:
        return { kind: 'all', leaves: leaves({ mayFail: usesFailingAll, mayRetry: !usesFailingAll }) };
      case 1:
        return {
          kind: 'any',
          leaves: leaves({ mayFail: true, mayRetry: !usesFailingAll }),
          cancelsTimers: random(2) === 0,
        };
      case 2:
        return depth === 0 ? { kind: 'event', name: path } : leaf(path, { mayFail: true, mayRetry: true });
      case 3:
        return { kind: 'entity', key: path };
      case 4:
        return { kind: 'signal', key: path };
      case 5:
        return index > 0 ? { kind: 'anew' } : leaf(path, { mayFail: true, mayRetry: true });
      default:
        return leaf(path, { mayFail: true, mayRetry: !usesFailingAll });
    }
  });
}

export function expectedOutput(program: readonly Op[]): unknown[] {
  return program.map((op) => expectedResult(op));
}

function expectedResult(op: Op): unknown {
  switch (op.kind) {
    case 'act':
      return op.n * 2;
    case 'fail':
      return 'failed';
    case 'retry':
      return op.passAt <= op.attempts ? op.passAt : 'failed';
    case 'timer':
      return 'waited';
    case 'sub':
      return expectedOutput(op.program);
    case 'all': {
      const results = op.leaves.map(expectedResult);
      return op.leaves.some((each, index) => each.kind !== 'sub' && results[index] === 'failed') ? 'failed' : results;
    }
    case 'any':
      return 'any';
    case 'event':
      return `data of ${op.name}`;
    case 'entity':
      return 7;
    case 'signal':
      return 'signalled';
    case 'anew':
      return 'anew';
  }
}

/** Keys of the entities that a program signals, each exactly once. */
export function signalledKeys(program: readonly Op[]): string[] {
  return program.flatMap((op) => {
    if (op.kind === 'signal') return [op.key];
    if (op.kind === 'sub') return signalledKeys(op.program);
    // The losers of an `any` are done in the end too.
    return op.kind === 'all' || op.kind === 'any' ? signalledKeys(op.leaves) : [];
  });
}

/** `attempts` counts the runs of retried activities by key; a run that is repeated after a crash counts once. */
export function registerInterpreter(): void {
  df.app.activity('fuzzAct', {
    handler: async ({ n, delayMs, fails }: { n: number; delayMs: number; fails: boolean }) => {
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      if (fails) throw new Error('as asked');
      return n * 2;
    },
  });
  df.app.activity('fuzzRetry', {
    handler: ({ key, passAt }: { key: string; passAt: number }) => {
      const run = (attemptsByKey.get(key) ?? 0) + 1;
      attemptsByKey.set(key, run);
      if (run < passAt) throw new Error(`run ${run}`);
      return passAt;
    },
  });
  df.app.entity('fuzzSum', (context: EntityContext<number>) => {
    const next = (context.df.getState(() => 0) ?? 0) + (context.df.getInput<number>() ?? 0);
    context.df.setState(next);
    context.df.return(next);
  });
  df.app.orchestration('interpret', function* (context: OrchestrationContext) {
    const { program, at, results } = context.df.getInput<ProgramInput>() ?? { program: [], at: 0, results: [] };
    for (let index = at; index < program.length; index++) {
      const op = program[index];
      if (op === undefined) break;
      if (op.kind === 'anew') {
        context.df.continueAsNew({ program, at: index + 1, results: [...results, 'anew'] });
        return undefined;
      }
      results.push(yield* runOp(context, op));
    }
    return results;
  });
}

export const attemptsByKey = new Map<string, number>();

function* runOp(context: OrchestrationContext, op: Op): Generator<Task, unknown, unknown> {
  const { df: durable } = context;
  switch (op.kind) {
    case 'all':
      try {
        const all = (yield durable.Task.all(op.leaves.map((leaf) => task(context, leaf)))) as unknown[];
        // What a timer gives is not for use: nothing, or, from one of many days, a list of nothings.
        return all.map((result, index) => (op.leaves[index]?.kind === 'timer' ? 'waited' : result));
      } catch {
        return 'failed';
      }
    case 'any': {
      const timers = op.leaves.map((leaf) => (leaf.kind === 'timer' ? timer(context, leaf.ms) : undefined));
      yield durable.Task.any(op.leaves.map((leaf, index) => timers[index] ?? task(context, leaf)));
      if (op.cancelsTimers) for (const each of timers) if (each !== undefined && !each.isCompleted) each.cancel();
      return 'any';
    }
    case 'event':
      durable.setCustomStatus({ waitingFor: op.name });
      return yield durable.waitForExternalEvent(op.name);
    case 'entity':
      return yield durable.callEntity(new df.EntityId('fuzzSum', `called ${op.key}`), 'add', 7);
    case 'signal':
      durable.signalEntity(new df.EntityId('fuzzSum', `signalled ${op.key}`), 'add', 1);
      return 'signalled';
    case 'anew':
      return 'anew';
    default:
      try {
        const result = yield task(context, op);
        return op.kind === 'timer' ? 'waited' : result;
      } catch {
        return 'failed';
      }
  }
}

function timer(context: OrchestrationContext, ms: number) {
  return context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + ms));
}

function task(context: OrchestrationContext, leaf: Leaf): Task {
  const { df: durable } = context;
  switch (leaf.kind) {
    case 'act':
      return durable.callActivity('fuzzAct', { n: leaf.n, delayMs: leaf.delayMs, fails: false });
    case 'fail':
      return durable.callActivity('fuzzAct', { n: leaf.n, delayMs: 0, fails: true });
    case 'retry': {
      const options = new df.RetryOptions(500, leaf.attempts);
      return durable.callActivityWithRetry('fuzzRetry', options, { key: leaf.key, passAt: leaf.passAt });
    }
    case 'timer':
      return timer(context, leaf.ms);
    case 'sub':
      return durable.callSubOrchestrator('interpret', { program: leaf.program, at: 0, results: [] });
  }
}
