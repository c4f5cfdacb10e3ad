import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { cp, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { zeroGuid } from '../../../../core/dataplane/guid.js';
import { openHrlReader } from '../../../../core/dataplane/hrl/reader.js';
import { openFileReader } from '../../../../providers/local-files/random-access-file.js';
import { readCycleFiles } from '../../../../providers/simulated-site/cycle-file.js';
import { LogSet, type StepObserver } from '../../../../providers/simulated-site/log-set.js';
import { vmPaths } from '../../../../providers/simulated-site/site-file.js';
import { temporaryFolder } from '../../../support/site/test-site.js';

const disks = [
  { diskId: 'a', name: 'os', sizeBytes: 1024 * 1024 },
  { diskId: 'b', name: 'data', sizeBytes: 1024 * 1024 },
];
const guid = () => zeroGuid;

async function freshLogs(t: TestContext): Promise<{ folder: string; logs: LogSet }> {
  const folder = join(await temporaryFolder(t), 'vm');
  await mkdir(folder);
  const logs = await LogSet.create(folder, disks, guid, 0);
  t.after(() => logs.abandon());
  return { folder, logs };
}

const close = (logs: LogSet, cycle: number, observe?: StepObserver) =>
  logs.switchTo(
    {
      cycle,
      protectionId: 'p',
      epoch: 1,
      takenAt: '2030-01-01T00:00:00Z',
      timeMs: 0,
      consistency: 'crashConsistent',
      dataWriteGuid: guid,
    },
    observe,
  );

async function entriesOf(path: string): Promise<number[]> {
  const file = await openFileReader(path);
  try {
    const offsets: number[] = [];
    for await (const entry of (await openHrlReader(file)).entries()) offsets.push(entry.offsetBytes);
    return offsets;
  } finally {
    await file.close();
  }
}

test('a switch that dies before its commit closed nothing; after it, all of it', async (t) => {
  const { folder, logs } = await freshLogs(t);
  await logs.append('a', 512, randomBytes(512), 0);
  await logs.append('b', 1024, randomBytes(1024), 0);
  const copies: { step: string; copy: string }[] = [];
  await close(logs, 1, async (step) => {
    const copy = `${folder}-${copies.length}`;
    await cp(folder, copy, { recursive: true });
    copies.push({ step, copy });
  });
  assert.deepEqual(
    copies.map(({ step }) => step),
    ['closed os', 'closed data', 'moved os', 'moved data', 'successors opened', 'committed'],
  );

  for (const { step, copy } of copies) {
    const cycles = await readCycleFiles(copy);
    const recovery = await LogSet.recover(copy, disks, cycles.at(-1)?.cycle ?? 0);
    if (step === 'closed os') {
      // The other log was never closed: what it lacks is not known.
      assert.ok(recovery.kind === 'unusable' && recovery.reason === 'hostCrash', step);
      continue;
    }
    if (step === 'committed') {
      assert.ok(recovery.kind === 'unusable' && recovery.reason === 'hostCrash', 'the successors were not closed');
      assert.deepEqual(
        cycles.map(({ cycle }) => cycle),
        [1],
      );
      assert.deepEqual(await entriesOf(vmPaths.closedLog(copy, 'data', 1)), [1024]);
      continue;
    }
    assert.deepEqual(cycles, [], step);
    assert.ok(recovery.kind === 'recovered', step);
    const recovered = recovery.logs;
    await recovered.append('a', 4096, randomBytes(512), 0);
    const closed = await close(recovered, 1);
    assert.deepEqual(
      closed.logs.map((log) => log.entryCount),
      [2, 1],
      step,
    );
    assert.deepEqual(await entriesOf(vmPaths.closedLog(copy, 'os', 1)), [512, 4096], step);
    await recovered.close();
    const left = (await readdir(copy)).sort();
    assert.deepEqual(left, ['cycles', 'data.1.hrl', 'data.hrl', 'os.1.hrl', 'os.hrl'], step);
  }
});

test('a switch that fails is undone and the logs go on', async (t) => {
  for (const failing of ['closed os', 'moved os', 'moved data', 'successors opened', 'committed']) {
    const { folder, logs } = await freshLogs(t);
    await logs.append('a', 512, randomBytes(512), 0);
    const fail: StepObserver = async (step) => {
      if (step === failing) throw new Error('no space left');
    };
    await assert.rejects(close(logs, 1, fail), /no space left/);
    assert.deepEqual(await readCycleFiles(folder), [], failing);
    await logs.append('b', 1024, randomBytes(512), 0);
    const closed = await close(logs, 1);
    assert.deepEqual(
      closed.logs.map((log) => log.entryCount),
      [1, 1],
      failing,
    );
  }
});

test('logs that were closed properly are taken up again, with their entries', async (t) => {
  const { folder, logs } = await freshLogs(t);
  await close(logs, 1);
  await logs.append('a', 512, randomBytes(512), 0);
  await logs.close();
  const recovery = await LogSet.recover(folder, disks, 1);
  assert.ok(recovery.kind === 'recovered');
  await recovery.logs.append('a', 1024, randomBytes(512), 0);
  await close(recovery.logs, 2);
  assert.deepEqual(await entriesOf(vmPaths.closedLog(folder, 'os', 2)), [512, 1024]);
  await recovery.logs.close();
});

test('successors with entries but without a commit are not trusted', async (t) => {
  const { folder, logs } = await freshLogs(t);
  await close(logs, 1);
  await logs.append('a', 512, randomBytes(512), 0);
  await logs.close();
  // As if the commit had been deleted by hand.
  const recovery = await LogSet.recover(folder, disks, 0);
  assert.ok(recovery.kind === 'unusable' && recovery.reason === 'logCorrupt');
});

test('left-over logs of discarded cycles are dropped at recovery', async (t) => {
  const { folder, logs } = await freshLogs(t);
  await close(logs, 1);
  await logs.close();
  await cp(vmPaths.closedLog(folder, 'os', 1), vmPaths.closedLog(folder, 'os', 99));
  const recovery = await LogSet.recover(folder, disks, 1);
  assert.ok(recovery.kind === 'recovered');
  await recovery.logs.close();
  assert.ok(!(await readdir(folder)).includes('os.99.hrl'));
  assert.ok((await readdir(folder)).includes('os.1.hrl'));
});
