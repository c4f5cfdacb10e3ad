import { pino } from 'pino';
import type { BlobTransfer } from '../../../core/ports/blob-transfer.js';
import type { Clock } from '../../../core/ports/clock.js';
import type { HypervisorHost } from '../../../core/ports/hypervisor-host.js';
import { openAppClient } from '../../../relay/app-client.js';
import { privateKeyOf, type RegisteredIdentity } from '../../../relay/identity.js';
import { Relay } from '../../../relay/relay.js';
import type { Life } from './life.js';
import { portOf } from './life.js';
import type { Line } from './line.js';

/** One life of the real relay, on a data folder that outlives it. */
export class RelayProcess {
  #relay: Relay | undefined;

  constructor(
    readonly life: Life,
    private readonly options: {
      identity: RegisteredIdentity;
      /** Where this life's calls of the app go. */
      endpoint: string;
      host: HypervisorHost;
      blobs: BlobTransfer;
      clock: Clock;
      dataFolder: string;
      line: Line;
      log: (line: string) => void;
    },
  ) {}

  start(): void {
    const { identity, endpoint, host, blobs, clock, dataFolder, log } = this.options;
    const { relayId } = identity.registered;
    this.#relay = new Relay({
      client: openAppClient(endpoint, { relayId, privateKey: privateKeyOf(identity, 'identity.json') }),
      host: portOf(this.life, host),
      blobs: portOf(this.life, blobs),
      clock: portOf(this.life, clock),
      dataFolder,
      scriptsFolder: dataFolder,
      log: pino({ level: 'info', base: null }, { write: log }),
      progress: { show: () => undefined, drop: () => undefined, close: () => undefined },
      endpoint,
      relayId,
    });
  }

  kill(): void {
    this.life.kill();
    // Ends its timers; its ports are dead.
    this.#relay?.stop().catch(() => undefined);
  }
}
