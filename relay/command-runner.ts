import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { UnderstudyError } from '../core/domain/errors.js';
import { asVmId } from '../core/domain/ids.js';
import type { CommandResult, RelayCommand } from '../core/domain/relay-protocol/wire.js';
import type { HypervisorHost } from '../core/ports/hypervisor-host.js';
import type { AppClient } from './app-client.js';
import { UnexpectedRelayError } from './errors.js';
import { runScript } from './script-runner.js';

/** A workflow waits for the answer: a host that is just restarting is given a few seconds, no more. */
const tries = 4;
const pauseMilliseconds = 2000;
/** Results kept to answer a repeated command; older ones are carried out again, which the host answers the same. */
const rememberedMax = 1000;

export interface CommandHooks {
  /** Stops what still works on the protection, before its logs go. */
  beforeRemoval(protectionId: string): Promise<void>;
  /** Sends what the VM wrote last; resolves with the last cycle that was closed by then, where there is one. */
  afterShutDown(vmId: string): Promise<number | undefined> | undefined;
  /** Locks the VM, shuts it down and sends what it wrote last. */
  prepareFinal(protectionId: string, lockId: string): Promise<void>;
}

/** Carries out the app's one-shot orders, each at least once; the host's methods may be called twice. */
export class CommandRunner {
  readonly #client: Pick<AppClient, 'postCommandResult'>;
  readonly #host: HypervisorHost;
  readonly #log: Logger;
  readonly #scriptsFolder: string;
  readonly #hooks: CommandHooks;
  readonly #results = new Map<string, Promise<CommandResult>>();
  readonly #posting = new Set<string>();
  readonly #running = new Set<Promise<void>>();

  constructor(
    context: {
      client: Pick<AppClient, 'postCommandResult'>;
      host: HypervisorHost;
      log: Logger;
      scriptsFolder: string;
    },
    hooks: CommandHooks,
  ) {
    this.#client = context.client;
    this.#host = context.host;
    this.#log = context.log;
    this.#scriptsFolder = context.scriptsFolder;
    this.#hooks = hooks;
  }

  /** Takes the commands of an answer: new ones are carried out; a known one's result is sent again. */
  take(commands: readonly RelayCommand[]): void {
    for (const command of commands) {
      if (this.#posting.has(command.commandId)) continue;
      this.#posting.add(command.commandId);
      const work = this.#answer(command).finally(() => {
        this.#posting.delete(command.commandId);
        this.#running.delete(work);
      });
      this.#running.add(work);
    }
  }

  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #answer(command: RelayCommand): Promise<void> {
    const log = this.#log.child({ command: command.commandId });
    let result = this.#results.get(command.commandId);
    if (result === undefined) {
      result = this.#carryOut(command, log);
      this.#results.set(command.commandId, result);
      const [oldest] = this.#results.keys();
      if (this.#results.size > rememberedMax && oldest !== undefined) this.#results.delete(oldest);
    }
    try {
      await this.#client.postCommandResult(command.commandId, await result);
    } catch (error) {
      // The app goes on listing the command, and the next answer brings it back here.
      log.warn({ err: error }, `the result of ${command.kind} could not be reported yet`);
    }
  }

  async #carryOut(command: RelayCommand, log: Logger): Promise<CommandResult> {
    log.info('vmId' in command ? { vmId: command.vmId } : {}, `command ${command.kind}`);
    for (let attempt = 1; ; attempt++) {
      try {
        const lastClosedCycle = await this.#execute(command);
        log.info(`${command.kind} done`);
        return { kind: 'succeeded', ...(lastClosedCycle !== undefined && { lastClosedCycle }) };
      } catch (thrown) {
        const error = thrown instanceof UnderstudyError ? thrown : new UnexpectedRelayError(thrown);
        if (error.retry !== 'never' && attempt < tries) {
          await sleep(pauseMilliseconds);
          continue;
        }
        log.error({ code: error.code, err: error }, `${command.kind} failed: ${error.message}`);
        const { code, message, possibleCauses, recommendedAction } = error;
        return { kind: 'failed', code, message, possibleCauses, recommendedAction };
      }
    }
  }

  async #execute(command: RelayCommand): Promise<number | undefined> {
    if (command.kind === 'runScript') {
      const { output } = await runScript(this.#scriptsFolder, command);
      if (output !== '') this.#log.info({ command: command.commandId }, `${command.scriptName}: ${output}`);
      return undefined;
    }
    const vmId = asVmId(command.vmId);
    switch (command.kind) {
      case 'createReplicationRelationship':
        await this.#host.createReplicationRelationship(vmId, command.protectionId);
        return undefined;
      case 'removeReplicationRelationship':
        await this.#hooks.beforeRemoval(command.protectionId);
        await this.#host.removeReplicationRelationship(vmId, command.protectionId);
        return undefined;
      case 'shutDownVm':
        await this.#host.shutDown(vmId);
        return this.#hooks.afterShutDown(command.vmId);
      case 'prepareFailover':
        await this.#hooks.prepareFinal(command.protectionId, command.lockId);
        return undefined;
    }
  }
}
