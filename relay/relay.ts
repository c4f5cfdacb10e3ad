import type { Logger } from 'pino';
import { heartbeatIntervalSeconds, type AssignmentsResponse } from '../core/domain/relay-protocol/wire.js';
import type { BlobTransfer } from '../core/ports/blob-transfer.js';
import type { Clock } from '../core/ports/clock.js';
import type { HypervisorHost } from '../core/ports/hypervisor-host.js';
import type { AppClient } from './app-client.js';
import { AssignmentFeed } from './assignment-feed.js';
import { CommandRunner } from './command-runner.js';
import { Heartbeat } from './heartbeat.js';
import { pauseUnless } from './interruptible-pause.js';
import { LockNotWantedError } from './errors.js';
import { ItemRunner } from './item-runner.js';
import { ItemStateStore } from './item-state.js';
import {
  coalescedEntriesAtOnce,
  itemsSendingAtOnce,
  observedAtOnce,
  slowCoalescing,
  slowItemsSending,
  slowObservations,
  slowUploads,
  uploadsAtOnce,
} from './limits.js';
import type { Progress } from './progress.js';
import type { RelayContext } from './relay-context.js';
import { writeStatus, type RelayStatus } from './status-file.js';
import { Turnstile } from './turnstile.js';
import { relayVersion } from './version.js';

/** The host's failure when nobody serves it (docs/errors.md). */
const siteUnreachableCode = 'US5001';
const siteProbeMilliseconds = 3000;
/** A heartbeat waits no longer than this for a site that does not answer about some item. */
const observeMilliseconds = 5000;

export interface RelayOptions {
  client: AppClient;
  host: HypervisorHost;
  blobs: BlobTransfer;
  clock: Clock;
  dataFolder: string;
  /** What recovery plans may run here, by name. */
  scriptsFolder: string;
  log: Logger;
  progress: Progress;
  /** For the status file. */
  endpoint: string;
  relayId: string;
}

/** One running relay: follows the app's assignments, one runner an item, and reports. */
export class Relay {
  readonly #options: RelayOptions;
  readonly #context: RelayContext;
  readonly #feed: AssignmentFeed;
  readonly #heartbeat: Heartbeat;
  readonly #commands: CommandRunner;
  readonly #runners = new Map<string, ItemRunner>();
  /** Protections that were removed by a command; an answer that was on its way may still name them. */
  readonly #removed = new Set<string>();
  readonly #stopping = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #siteWatch: Promise<void>;
  readonly #observeGate = new Turnstile(observedAtOnce, slowObservations);
  /** Items that the site is being asked about. */
  readonly #observing = new Map<ItemRunner, Promise<void>>();
  #sentInventory: string | undefined;
  #contact: RelayStatus['contact'] = 'disconnected';
  #memoryRssPeakBytes = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
    const { client, host, blobs, clock, log, progress, dataFolder } = options;
    this.#context = {
      client,
      host,
      blobs,
      clock,
      log,
      progress,
      states: new ItemStateStore(dataFolder),
      sendingGate: new Turnstile(itemsSendingAtOnce, slowItemsSending),
      uploadGate: new Turnstile(uploadsAtOnce, slowUploads),
      coalesceGate: new Turnstile(coalescedEntriesAtOnce, slowCoalescing),
      refreshAssignments: () => {
        this.#feed.refresh();
      },
      reportSoon: () => {
        this.#heartbeat.soon();
      },
    };
    this.#commands = new CommandRunner(
      { client, host, log, scriptsFolder: options.scriptsFolder },
      {
        beforeRemoval: (protectionId) => this.#forget(protectionId),
        prepareFinal: async (protectionId, lockId) => {
          const runner = [...this.#runners.values()].find((each) => each.protectionId === protectionId);
          if (runner === undefined) throw new LockNotWantedError(protectionId);
          await runner.prepareFinal(lockId);
        },
        afterShutDown: (vmId) => [...this.#runners.values()].find((runner) => runner.vmId === vmId)?.closeSoon(),
      },
    );
    this.#heartbeat = new Heartbeat({
      clock,
      log,
      intervalSeconds: heartbeatIntervalSeconds,
      beat: (isRegular) => this.#beat(isRegular),
    });
    this.#siteWatch = this.#watchSite(this.#stop.signal);
    this.#feed = new AssignmentFeed(client, {
      onAnswer: (answer) => {
        this.#take(answer);
      },
      onContact: () => {
        this.#contact = 'connected';
        log.info(`in contact with ${options.endpoint}`);
        for (const runner of this.#runners.values()) runner.retryNow();
        this.#heartbeat.soon();
      },
      onContactLost: (error) => {
        this.#contact = 'disconnected';
        log.warn({ err: error }, `${error instanceof Error ? error.message : String(error)} The relay goes on trying.`);
      },
    });
  }

  /** While items wait because the site does not answer, it is asked every few seconds; its answer ends their waits. */
  async #watchSite(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pauseUnless(signal, siteProbeMilliseconds);
      const waiting = [...this.#runners.values()].filter((runner) => runner.waitsFor(siteUnreachableCode));
      if (waiting.length === 0) continue;
      try {
        await this.#options.host.inventory(signal);
      } catch {
        continue;
      }
      for (const runner of waiting) runner.retryNow();
    }
  }

  /** Ends within seconds: what is under way is dropped, and taken up again at the next start. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#feed.stop();
    await this.#siteWatch;
    await Promise.all([...this.#runners.values()].map((runner) => runner.stop()));
    await Promise.all(this.#stopping);
    await this.#heartbeat.stop();
    this.#options.progress.close();
  }

  #take({ assignments, commands }: AssignmentsResponse): void {
    const present = new Set<string>();
    for (const assignment of assignments) {
      const { itemId, protectionId } = assignment;
      if (this.#removed.has(protectionId)) continue;
      present.add(itemId);
      const runner = this.#runners.get(itemId);
      if (runner?.protectionId === protectionId) runner.update(assignment);
      else {
        if (runner) this.#stopRunner(itemId, runner);
        this.#runners.set(itemId, new ItemRunner(this.#context, assignment));
      }
    }
    for (const [itemId, runner] of this.#runners) if (!present.has(itemId)) this.#stopRunner(itemId, runner);
    this.#commands.take(commands);
  }

  #stopRunner(itemId: string, runner: ItemRunner): void {
    this.#runners.delete(itemId);
    const stopped = runner.stop().finally(() => this.#stopping.delete(stopped));
    this.#stopping.add(stopped);
  }

  async #forget(protectionId: string): Promise<void> {
    this.#removed.add(protectionId);
    for (const [itemId, runner] of this.#runners) {
      if (runner.protectionId !== protectionId) continue;
      this.#runners.delete(itemId);
      await runner.stop();
      await this.#context.states.remove(itemId);
    }
  }

  async #beat(isRegular: boolean): Promise<void> {
    // A relay that was told of no change looks at the host once an interval only.
    if (isRegular) await this.#observe();
    const rss = process.memoryUsage.rss();
    this.#memoryRssPeakBytes = Math.max(this.#memoryRssPeakBytes, rss);
    const reports = [...this.#runners.values()].map((runner) => ({ report: runner.report(), ...runner.describe() }));
    const { dataFolder, endpoint, relayId, client, clock } = this.#options;
    await writeStatus(dataFolder, {
      pid: process.pid,
      endpoint,
      relayId,
      writtenAt: (await clock.now()).toString(),
      contact: this.#contact,
      memoryRssBytes: rss,
      memoryRssPeakBytes: this.#memoryRssPeakBytes,
      items: reports.map(({ report, vmName, missedCycleCount }) => ({ ...report, vmName, missedCycleCount })),
    });
    await client.heartbeat({ relayVersion, memoryRssBytes: rss, items: reports.map(({ report }) => report) });
  }

  /** An item that the site cannot be asked about, or does not answer about in time, keeps no other from being reported. */
  async #observeItems(running: ReadonlySet<string>, at: string): Promise<void> {
    const { signal } = this.#stop;
    for (const runner of this.#runners.values()) {
      if (this.#observing.has(runner)) continue;
      const look = this.#observeGate
        .pass(async () => {
          if (!signal.aborted) await runner.observe(running.has(runner.vmId), at);
        })
        .catch((error: unknown) => {
          this.#options.log.debug({ err: error }, 'looking at an item');
        })
        .finally(() => this.#observing.delete(runner));
      this.#observing.set(runner, look);
    }
    const enough = new AbortController();
    const all = Promise.all(this.#observing.values()).finally(() => {
      enough.abort();
    });
    await Promise.race([all, pauseUnless(AbortSignal.any([signal, enough.signal]), observeMilliseconds)]);
  }

  /** Reads the inventory and every item's tracking; a host that does not answer is reported by the items' own steps. */
  async #observe(): Promise<void> {
    const { host, client, clock, log } = this.#options;
    try {
      const inventory = await host.inventory();
      const at = (await clock.now()).toString();
      const running = new Set(inventory.vms.filter((vm) => vm.powerState === 'running').map((vm) => vm.vmId));
      await this.#observeItems(running, at);
      const text = JSON.stringify(inventory);
      if (text === this.#sentInventory) return;
      await client.putInventory(inventory);
      this.#sentInventory = text;
      log.info({ vms: inventory.vms.length }, `inventory reported: ${inventory.vms.length} virtual machines`);
    } catch (error) {
      log.warn({ err: error }, `looking at the site: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
