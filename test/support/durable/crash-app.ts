import type { EntityContext, OrchestrationContext } from 'durable-functions';
import { df } from './function-app.js';

/** Orchestrations for the crash tests: what they give depends on their input alone, however often the host dies. */
export const crashRounds = 3;

interface CrashInput {
  n: number;
  round: number;
  total: number;
}

export function registerCrashApp(onActivity: (name: string) => void): void {
  df.app.activity('square', {
    handler: async ({ n }: { n: number }) => {
      onActivity('square');
      await new Promise((resolve) => setTimeout(resolve, n % 7));
      return n * n;
    },
  });
  df.app.activity('sometimes', {
    handler: ({ n, attempt }: { n: number; attempt: number }) => {
      onActivity('sometimes');
      if (n % 2 === attempt % 2) throw new Error('not now');
      return 1;
    },
  });
  df.app.entity('tally', (context: EntityContext<number>) => {
    const value = context.df.getState(() => 0) ?? 0;
    const next = value + (context.df.getInput<number>() ?? 0);
    context.df.setState(next);
    context.df.return(next);
  });
  df.app.orchestration('childSum', function* (context: OrchestrationContext) {
    const n = context.df.getInput<number>() ?? 0;
    yield context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 20));
    const square = (yield context.df.callActivity('square', { n })) as number;
    return square + 1;
  });
  df.app.orchestration('crash', function* (context: OrchestrationContext) {
    const input = context.df.getInput<CrashInput>() ?? { n: 0, round: 0, total: 0 };
    const { n, round } = input;
    let { total } = input;
    total += (yield context.df.callActivity('square', { n })) as number;
    const squares = [n, n + 1, n + 2].map((each) => context.df.callActivity('square', { n: each }));
    for (const square of (yield context.df.Task.all(squares)) as number[]) total += square;
    context.df.signalEntity(new df.EntityId('tally', 'signalled'), 'add', 1);
    yield context.df.callEntity(new df.EntityId('tally', `called-${n % 3}`), 'add', 1);
    total += (yield context.df.callSubOrchestrator('childSum', n)) as number;
    const timeout = context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 3_600_000));
    const go = context.df.waitForExternalEvent(`go-${round}`);
    context.df.setCustomStatus({ waitingFor: `go-${round}` });
    const winner: unknown = yield context.df.Task.any([go, timeout]);
    if (winner === go) timeout.cancel();
    total += winner === go ? (go.result as number) : 0;
    for (const attempt of [0, 1]) {
      try {
        total += (yield context.df.callActivity('sometimes', { n, attempt })) as number;
      } catch {
        total += 1000;
      }
    }
    if (round + 1 < crashRounds) {
      context.df.continueAsNew({ n, round: round + 1, total });
      return undefined;
    }
    return total;
  });
}

export function expectedTotal(n: number): number {
  const each = n * n + n * n + (n + 1) ** 2 + (n + 2) ** 2 + (n * n + 1) + 5 + 1001;
  return crashRounds * each;
}
