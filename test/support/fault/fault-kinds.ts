import type { SiteRequest } from '../../../providers/simulated-site/api.js';
import type { Life } from './life.js';
import type { StorageFault } from './line.js';
import type { SeededRandom } from './random.js';
import type { FaultWorld } from './world.js';

/** What a fault may do to an item for good: reasons of `resyncRequired` that it explains (docs/glossary.md). */
export type ExplainedReason =
  | 'hostCrash'
  | 'logCorrupt'
  | 'logTooLarge'
  | 'applyFailed'
  | 'diskFull'
  | 'logWriteFailure'
  | 'diskChangedOffline'
  | 'reverted';

interface FaultKind {
  name: string;
  /** One fault at one instant; what lasts undoes itself. */
  inject: (world: FaultWorld, random: SeededRandom) => Promise<void> | void;
  explains: readonly ExplainedReason[];
}

const minute = 60;

/** Sets something now and takes it back later. */
function lasting(world: FaultWorld, seconds: number, begin: () => void, end: () => void): void {
  begin();
  world.time.schedule(world.time.now() + seconds * 1000, end);
}

const storage =
  (ways: readonly StorageFault[]) =>
  (world: FaultWorld, random: SeededRandom): void => {
    // Both ends of the service are the same service.
    const share = random.pick([0.03, 0.1, 0.3, 0.7]);
    for (const service of [world.storage, world.uploads]) {
      lasting(
        world,
        random.between(1, 12 * minute),
        () => {
          service.share = share;
          service.ways = ways;
        },
        () => {
          service.share = 0;
        },
      );
    }
  };

/** The process that has this life dies at one of its next steps, and is started anew some time later. */
/** The process dies at one of its next steps, and is started again later. One that is dead, or doomed already, is left alone. */
export function kill(world: FaultWorld, random: SeededRandom, name: 'relay' | 'app' | 'site', stepsMax = 400): void {
  const { relay, app, site } = world;
  const [process, start] = {
    relay: [relay, () => world.startRelay()],
    app: [app, () => world.startApp()],
    site: [site?.isUp === true ? site : undefined, () => world.startSite()],
  }[name] as [{ life: Life; kill: () => void } | undefined, () => Promise<void> | void];
  // One death is enough for one life.
  if (process === undefined || process.life.isDead || process.life.isDoomed) return;
  process.life.onDeath(() => {
    process.kill();
    world.time.schedule(world.time.now() + random.between(1, 6 * minute) * 1000, () => {
      void (async () => start())().catch((error: unknown) => world.fail(error));
    });
  });
  process.life.dieAtStep(random.between(1, stepsMax), random.chance(0.5));
}

/** A fault that the site itself plays. It is cleared as soon as a site is there that can. */
async function siteFault(world: FaultWorld, random: SeededRandom, kind: FaultOfSite, vm: string): Promise<void> {
  world.count(`${kind} at the site`);
  world.note(`${kind} at ${vm}`);
  await world.during(world.callSite('addFault', { kind, vm })).catch(() => undefined);
  const clear = (): void => {
    void world.callSite('clearFaults', {}).catch(() => {
      world.time.schedule(world.time.now() + minute * 1000, clear);
    });
  };
  world.time.schedule(world.time.now() + random.between(5, 12) * minute * 1000, clear);
}
type FaultOfSite = SiteRequest<'addFault'>['kind'];

export const faultKinds = {
  networkCut: {
    name: 'network cut',
    inject: (world, random) =>
      lasting(
        world,
        random.between(1, 15 * minute),
        () => {
          world.line.isCut = true;
        },
        () => {
          world.line.isCut = false;
        },
      ),
    explains: ['logTooLarge'],
  },
  networkSlow: {
    name: 'network slow',
    inject: (world, random) =>
      lasting(
        world,
        random.between(2 * minute, 20 * minute),
        () => {
          world.line.slowSeconds = random.pick([1, 5, 12]);
        },
        () => {
          world.line.slowSeconds = 0;
        },
      ),
    explains: ['logTooLarge'],
  },
  lateMessages: {
    name: 'messages late and out of order',
    inject: (world, random) =>
      lasting(
        world,
        random.between(2 * minute, 20 * minute),
        () => {
          world.line.lateShare = random.pick([0.05, 0.2, 0.5]);
        },
        () => {
          world.line.lateShare = 0;
        },
      ),
    explains: [],
  },
  storageBefore: { name: 'storage 503 before the effect', inject: storage(['before']), explains: ['logTooLarge'] },
  storageAfter: { name: 'storage 500 after the effect', inject: storage(['after']), explains: ['logTooLarge'] },
  storageTimeouts: {
    name: 'storage timeouts, before and after the effect',
    inject: storage(['timeoutBefore', 'timeoutAfter']),
    explains: ['logTooLarge'],
  },
  storageLate: { name: 'storage requests that take effect late', inject: storage(['late']), explains: ['logTooLarge'] },
  sasExpiry: {
    name: 'SAS expires in mid-transfer',
    inject: (world, random) =>
      lasting(
        world,
        random.between(20 * minute, 30 * minute),
        () => {
          world.blockSeconds = random.between(30, 60);
          // Longer than the slowest block, so that a fresh one serves, and shorter than three.
          world.transfers.grantSecondsMax = random.between(65, 90);
        },
        () => {
          world.blockSeconds = 0;
          world.transfers.grantSecondsMax = Number.POSITIVE_INFINITY;
        },
      ),
    explains: ['logTooLarge'],
  },
  clockSkew: {
    name: 'clocks off',
    inject: (world, random) => {
      const offMs = random.pick([-1, 1]) * random.between(1, 3 * 3600) * 1000;
      const clock = random.pick(['relayMs', 'siteMs', 'signatureMs'] as const);
      lasting(
        world,
        random.between(1, 20 * minute),
        () => {
          world.note(`${clock} off by ${offMs / 1000} s`);
          world.skew[clock] = offMs;
          world.count('clocks off');
        },
        () => {
          world.note(`${clock} is right again`);
          world.skew[clock] = 0;
        },
      );
    },
    explains: ['logTooLarge'],
  },
  relayDiskFull: {
    name: 'disk full on the relay',
    inject: (world, random) =>
      lasting(
        world,
        random.between(1, 15 * minute),
        () => {
          world.relayDiskIsFull = true;
        },
        () => {
          world.relayDiskIsFull = false;
        },
      ),
    explains: ['logTooLarge'],
  },
  relayKilled: {
    name: 'relay killed',
    inject: (world, random) => {
      kill(world, random, 'relay');
    },
    explains: ['logTooLarge'],
  },
  appKilled: {
    name: 'host of the app killed',
    inject: (world, random) => {
      kill(world, random, 'app');
    },
    explains: ['logTooLarge'],
  },
  siteKilled: {
    name: 'Hyper-V host killed',
    inject: (world, random) => {
      kill(world, random, 'site');
    },
    explains: ['hostCrash', 'logTooLarge'],
  },
  activityTwice: {
    name: 'activity run twice, at once or later',
    inject: (world, random) =>
      lasting(
        world,
        random.between(5 * minute, 20 * minute),
        () => {
          world.activityAgainShare = random.pick([0.1, 0.5, 1]);
        },
        () => {
          world.activityAgainShare = 0;
        },
      ),
    explains: [],
  },
  logCorrupt: {
    name: 'change log damaged at the site',
    inject: (world, random) => siteFault(world, random, 'log-corrupt', random.pick(world.vms).listing.name),
    explains: ['logCorrupt', 'logTooLarge'],
  },
  hostVolume: {
    name: 'disk full, failing logs, low memory, guest that does not freeze at the Hyper-V host',
    inject: async (world, random) => {
      const vm = random.pick(world.vms).listing.name;
      const kind = random.pick(['disk-full', 'log-write-failure', 'low-memory', 'freeze-failure'] as const);
      await siteFault(world, random, kind, vm);
    },
    explains: ['diskFull', 'logWriteFailure', 'logTooLarge'],
  },
  blobDamaged: {
    name: 'transfer log damaged in storage',
    inject: (world, random) => {
      world.damageNextUploads = random.between(1, 2);
    },
    explains: ['applyFailed', 'logTooLarge'],
  },
  rowChanged: {
    name: 'table row changed by another',
    inject: (world, random) =>
      lasting(
        world,
        random.between(2 * minute, 20 * minute),
        () => {
          world.rowChangedShare = random.pick([0.05, 0.3, 0.6]);
        },
        () => {
          world.rowChangedShare = 0;
        },
      ),
    explains: [],
  },
} as const satisfies Record<string, FaultKind>;

export type FaultName = keyof typeof faultKinds;
export const faultNames = Object.keys(faultKinds) as FaultName[];
export const kindOf = (name: FaultName): FaultKind => faultKinds[name];
