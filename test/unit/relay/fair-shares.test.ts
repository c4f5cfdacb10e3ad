import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import pino from 'pino';
import { asDiskId } from '../../../core/domain/ids.js';
import type { Assignment } from '../../../core/domain/relay-protocol/wire.js';
import { BaseCheckpoint } from '../../../relay/base-checkpoint.js';
import { ItemCycles } from '../../../relay/item-cycles.js';
import { ItemStateStore } from '../../../relay/item-state.js';
import { ItemView } from '../../../relay/item-view.js';
import { coalescedEntriesAtOnce, itemsSendingAtOnce, slowCoalescing, slowItemsSending } from '../../../relay/limits.js';
import type { RelayContext } from '../../../relay/relay-context.js';
import { Turnstile } from '../../../relay/turnstile.js';
import { ManualClock } from '../../support/manual-clock.js';

const takenAt = '2024-03-01T12:00:00Z';
const afterMilliseconds = 50;

const assignmentOf = (vmId: string): Assignment => ({
  itemId: `item-${vmId}`,
  protectionId: `protection-${vmId}`,
  vmId,
  vmName: vmId,
  epoch: 1,
  phase: 'delta',
  paused: false,
  resyncRequired: false,
  resumedCount: 0,
  replicationIntervalSeconds: 300,
  appConsistentFrequencyHours: 0,
  receivedCycle: 3,
  disks: [
    { diskId: 'disk', sizeBytes: 1024, receivedThroughBytes: 1024, appliedThroughBytes: 1024, digestedThroughBytes: 0 },
  ],
});

/** Many items behind the gates of one relay. What a sick one reads of its log never comes; of the others nothing changed. */
async function startItems(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-relay-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const states = new ItemStateStore(folder);
  const context = {
    states,
    clock: new ManualClock(takenAt),
    log: pino({ level: 'silent' }),
    sendingGate: new Turnstile(itemsSendingAtOnce, { ...slowItemsSending, afterMilliseconds }),
    coalesceGate: new Turnstile(coalescedEntriesAtOnce, { ...slowCoalescing, afterMilliseconds }),
    refreshAssignments: () => undefined,
    reportSoon: () => undefined,
    host: {
      tracking: () => Promise.resolve({ kind: 'tracking', lastClosedCycle: 4, openLogBytes: 0, closedLogBytes: 1 }),
      closedCycles: (vmId: string) => {
        const entryCount = vmId.startsWith('sick') ? 1 : 0;
        const logs = [{ diskId: asDiskId('disk'), lengthBytes: 1, entryCount }];
        return Promise.resolve([{ cycle: 4, takenAt, consistency: 'crashConsistent', logs }]);
      },
      openLog: () => new Promise(() => undefined),
    },
    client: { announceCycle: () => Promise.resolve({ receivedCycle: 4, appliedCycle: 3 }) },
  } as unknown as RelayContext;
  return async (vmId: string, signal = AbortSignal.timeout(5000)): Promise<void> => {
    const view = new ItemView(states, assignmentOf(vmId));
    const cycles = new ItemCycles(context, context.log, view, new BaseCheckpoint(context, view), () => undefined);
    const step = await cycles.plan();
    assert(step.kind === 'work');
    await step.run(signal);
  };
}

test('items that hang while they send stop no others, though they are more than may send at once', async (t) => {
  const send = await startItems(t);
  const sickCount = itemsSendingAtOnce + slowItemsSending.limit - 1;
  for (let sick = 0; sick < sickCount; sick++) void send(`sick-${sick}`).catch(() => undefined);
  await Promise.all(Array.from({ length: 20 }, (_, index) => send(`healthy-${index}`)));
});
