import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startAzurite } from '../../support/azurite.js';
import { crashRounds, expectedTotal } from '../../support/durable/crash-app.js';
import { seeded } from '../../support/durable/seeded.js';
import { killCount } from '../../support/kill-count.js';

const hostEntry = fileURLToPath(new URL('../../support/processes/durable-host.js', import.meta.url));
const base = 'runtime/webhooks/durabletask';

class Host {
  #child: ChildProcess | undefined;
  #epoch = 0;
  origin = '';
  activityCount = 0;
  readonly errors: string[] = [];

  constructor(
    readonly connectionString: string,
    readonly replayEachTurn: boolean,
  ) {}

  async start(killAfterTurns: number): Promise<void> {
    const { connectionString, replayEachTurn } = this;
    const options = { connectionString, hubName: 'Crash', writerEpoch: ++this.#epoch, killAfterTurns, replayEachTurn };
    const child = spawn(process.execPath, [hostEntry, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    this.origin = await new Promise<string>((resolve) => {
      let rest = '';
      child.stdout.on('data', (chunk: Buffer) => {
        const lines = (rest + chunk.toString()).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          if (line.startsWith('ready ')) resolve(line.slice(6));
          else if (line.startsWith('activity ')) this.activityCount++;
          else this.errors.push(line);
        }
      });
      // Killed before it was ready: nobody can be asked, which the requests find out.
      child.once('exit', () => resolve(''));
    });
  }

  get isAlive(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async kill(): Promise<void> {
    if (!this.isAlive) return;
    const gone = new Promise((resolve) => this.#child?.once('exit', resolve));
    this.#child?.kill('SIGKILL');
    await gone;
  }

  /** Undefined where the host died before it answered. */
  async request(method: string, path: string, body?: unknown): Promise<{ status: number; text: string } | undefined> {
    if (this.origin === '' || !this.isAlive) return undefined;
    try {
      const answer = await fetch(`${this.origin}/${base}/${path}`, {
        method,
        headers: { 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(5000),
      });
      return { status: answer.status, text: await answer.text() };
    } catch {
      return undefined;
    }
  }
}

async function crashRun(
  seed: number,
  orchestrationCount: number,
  kills: number,
  replayEachTurn: boolean,
): Promise<void> {
  const random = seeded(seed);
  const azurite = await startAzurite();
  const host = new Host(azurite.connectionString, replayEachTurn);
  const unstarted = new Set(Array.from({ length: orchestrationCount }, (_, n) => n));
  const outputs = new Map<number, unknown>();
  const acknowledged = new Set<string>();
  let isOver = false;
  let killsLeft = kills;
  try {
    const killer = async () => {
      while (!isOver) {
        const isOwnKill = random(2) === 0;
        await host.start(killsLeft > 0 && isOwnKill ? 5 + random(60) : 0);
        if (killsLeft > 0 && !isOwnKill) await sleep(20 + random(500));
        while (!isOver && host.isAlive && (killsLeft <= 0 || isOwnKill)) await sleep(10);
        if (!isOver) {
          await host.kill();
          killsLeft--;
        }
      }
    };
    const killing = killer();
    const deadline = Date.now() + 200_000;
    while (outputs.size < orchestrationCount) {
      assert.ok(Date.now() < deadline, `seed ${seed}: ${outputs.size} finished; ${host.errors.slice(-5).join('\n')}`);
      await Promise.all(
        [...unstarted].map(async (n) => {
          const answer = await host.request('POST', `orchestrators/crash/c${n}`, { n, round: 0, total: 0 });
          // A start whose answer was lost has happened all the same.
          if (answer?.status === 202 || answer?.status === 409) unstarted.delete(n);
        }),
      );
      const open = Array.from({ length: orchestrationCount }, (_, n) => n).filter(
        (n) => !unstarted.has(n) && !outputs.has(n),
      );
      await Promise.all(
        open.map(async (n) => {
          const answer = await host.request('GET', `instances/c${n}`);
          if (answer === undefined) return;
          assert.ok([200, 202].includes(answer.status), `seed ${seed}: c${n} ${answer.status} ${answer.text}`);
          const status = JSON.parse(answer.text) as { runtimeStatus: string; output: unknown; customStatus: unknown };
          if (answer.status === 200) outputs.set(n, [status.runtimeStatus, status.output]);
          const waitingFor = (status.customStatus as { waitingFor?: string } | null)?.waitingFor;
          // Sent once it has been taken: an acknowledged event must never need a second sending.
          if (waitingFor === undefined || acknowledged.has(`${n} ${waitingFor}`)) return;
          const raised = await host.request('POST', `instances/c${n}/raiseEvent/${waitingFor}`, 5);
          if (raised?.status === 202) acknowledged.add(`${n} ${waitingFor}`);
        }),
      );
      await sleep(20);
    }
    for (let n = 0; n < orchestrationCount; n++) {
      assert.deepEqual(outputs.get(n), ['Completed', expectedTotal(n)], `seed ${seed}, c${n}`);
    }
    killsLeft = 0;
    const rounds = orchestrationCount * crashRounds;
    const states = async () => {
      const answers = [];
      for (const key of ['signalled', 'called-0', 'called-1', 'called-2']) {
        answers.push(Number((await host.request('GET', `entities/tally/${key}`))?.text ?? NaN));
      }
      return answers;
    };
    while ((await states())[0] !== rounds && Date.now() < deadline) await sleep(20);
    assert.deepEqual(
      await states(),
      [rounds, rounds / 3, rounds / 3, rounds / 3],
      `seed ${seed}: operations exactly once`,
    );
    isOver = true;
    await killing;
    const distinct = rounds * 7;
    assert.ok(host.activityCount >= distinct, 'at least once');
    console.log(
      `seed ${seed}: ${orchestrationCount} orchestrations right after ${kills} kills; ` +
        `${host.activityCount} activity runs for ${distinct}`,
    );
  } finally {
    isOver = true;
    await host.kill();
    await azurite.stop();
  }
}

test('orchestrations end right however often the host is killed', { timeout: 240_000 }, () =>
  crashRun(20_261_122, 21, killCount({ short: 3, long: 8 }), false),
);

test('they do so without anything kept in memory between turns', { timeout: 240_000 }, () =>
  crashRun(4711, 6, killCount({ short: 2, long: 4 }), true),
);
