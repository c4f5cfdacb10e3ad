import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { identify, type ProcessIdentity } from './process-identity.js';

export interface ManagedProcessOptions {
  name: string;
  command: string;
  /** Asked for at every start. */
  args: () => string[];
  env: NodeJS.ProcessEnv;
  /** A line of standard output that says the process is up; absent: it is up once it runs. */
  readyLine?: RegExp;
  logFile: string;
  restartAfterCrash: boolean;
  /** How long to wait before it is started again, where that must not grow from crash to crash. */
  restartWaitMs?: number;
  /** Called for what the operator should know: crashes and restarts. */
  tell: (message: string) => void;
  /** Called for every line that the process prints. */
  onLine?: (line: string) => void;
}

/** A start that takes longer than this has failed. */
const readyTimeoutMs = 60_000;
/** After SIGTERM; then SIGKILL. */
const stopTimeoutMs = 15_000;
/** Waits between restarts of a process that keeps crashing. */
const restartWaitsMs = [200, 500, 1_000, 2_000, 5_000];
/** A process that ran this long before it crashed is taken for healthy: the waits begin anew. */
const healthyAfterMs = 3_000;
const tailLineCount = 12;

/** One child in its own process group, restarted after a crash. */
export class ManagedProcess {
  #child: ChildProcess | undefined;
  #stopping = false;
  #crashes = 0;
  #restarts = 0;
  #exit: Promise<void> = Promise.resolve();
  #tail: string[] = [];

  constructor(private readonly options: ManagedProcessOptions) {}

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get identity(): ProcessIdentity | undefined {
    return this.pid === undefined ? undefined : identify(this.pid);
  }

  /** How often it was restarted after a crash. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Resolves when the process is up; rejects when it ends before that or is not up in time. */
  async start(): Promise<void> {
    const { name, command, args, env, readyLine, logFile, onLine } = this.options;
    const startedAt = Date.now();
    const child = spawn(command, args(), { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#tail = [];
    const log = createWriteStream(logFile, { flags: 'a' });
    let wasUp = false;
    let ready!: () => void;
    let failed!: (error: Error) => void;
    const up = new Promise<void>((resolve, reject) => {
      ready = () => {
        wasUp = true;
        resolve();
      };
      failed = reject;
    });
    const take = (line: string): void => {
      this.#keep(line, log);
      onLine?.(line);
      if (readyLine?.test(line)) ready();
    };
    createInterface({ input: child.stdout }).on('line', take);
    createInterface({ input: child.stderr }).on('line', (line) => this.#keep(line, log));
    this.#exit = new Promise((resolve) => {
      child.once('error', (error) => {
        failed(new Error(`${name} could not be started: ${error.message}`, { cause: error }));
        resolve();
      });
      // After 'exit' its last lines may still be on their way.
      child.once('close', () => log.end());
      child.once('exit', (code, signal) => {
        this.#child = undefined;
        failed(
          new Error(`${name} ended before it was up (${signal ?? `exit code ${code}`}):\n${this.#tail.join('\n')}`),
        );
        resolve();
        // A first start that fails is the caller's to hear; a restart that fails is tried again.
        if (!this.#stopping && this.options.restartAfterCrash && (wasUp || this.#restarts > 0))
          void this.#restart(startedAt, signal ?? `exit code ${code}`);
      });
    });
    if (readyLine === undefined) ready();
    const timer = setTimeout(() => {
      failed(new Error(`${name} was not up after ${readyTimeoutMs / 1000} s; see ${logFile}`));
    }, readyTimeoutMs);
    try {
      await up;
    } finally {
      clearTimeout(timer);
    }
  }

  async #restart(startedAt: number, reason: string): Promise<void> {
    this.#crashes = Date.now() - startedAt > healthyAfterMs ? 1 : this.#crashes + 1;
    const waitMs =
      this.options.restartWaitMs ?? restartWaitsMs[Math.min(this.#crashes, restartWaitsMs.length) - 1] ?? 0;
    this.options.tell(`${this.options.name} stopped (${reason}); it is started again in ${waitMs / 1000} s`);
    await delay(waitMs);
    if (this.#stopping) return;
    this.#restarts++;
    try {
      await this.start();
      this.options.tell(`${this.options.name} runs again`);
    } catch (error) {
      // The exit handler has scheduled the next try; a process that hangs is ended so that it comes to that.
      this.options.tell(error instanceof Error ? error.message : String(error));
      this.signal('SIGKILL');
    }
  }

  #keep(line: string, log: WriteStream): void {
    this.#tail.push(line);
    if (this.#tail.length > tailLineCount) this.#tail.shift();
    if (!log.writableEnded) log.write(`${line}\n`);
  }

  /** Sends a signal to the process's group; false when it does not run. */
  signal(signal: NodeJS.Signals): boolean {
    const pid = this.#child?.pid;
    if (pid === undefined) return false;
    try {
      process.kill(process.platform === 'win32' ? pid : -pid, signal);
      return true;
    } catch {
      return false; // It ended meanwhile.
    }
  }

  /** Resolves when the process that runs now has ended. */
  async ended(): Promise<void> {
    await this.#exit;
  }

  /** SIGTERM, then after a wait SIGKILL. Resolves when it has ended; it is not restarted. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (!this.signal('SIGTERM')) return;
    const timer = setTimeout(() => this.signal('SIGKILL'), stopTimeoutMs);
    await this.#exit;
    clearTimeout(timer);
  }
}
