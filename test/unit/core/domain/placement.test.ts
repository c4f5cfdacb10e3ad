import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import { chooseSubnet, chooseVmSize } from '../../../../core/domain/failover/placement.js';
import { choosePoint } from '../../../../core/domain/recovery-point/choice.js';
import type { RecoveryPoint } from '../../../../core/domain/recovery-point/recovery-point.js';
import { sampleProtectionId } from '../../../support/sample-item.js';

const now = Temporal.Instant.from('2026-01-05T12:00:00Z');
const ago = (seconds: number): string => now.subtract({ seconds }).toString();

test('a VM goes to the subnet named as at the source, else to the first', () => {
  const subnets = [{ name: 'first' }, { name: 'Data' }];
  const nics = (subnetName?: string) => ({
    nics: [{ nicId: 'n', macAddress: 'm', ...(subnetName === undefined ? {} : { subnetName }) }],
  });
  assert.equal(chooseSubnet(nics('data'), subnets), 'Data');
  assert.equal(chooseSubnet(nics('other'), subnets), 'first');
  assert.equal(chooseSubnet(undefined, subnets), 'first');
  assert.equal(chooseSubnet(nics('data'), []), undefined);
});

test('the smallest size that holds cores, memory and data disks is chosen', () => {
  assert.equal(chooseVmSize({ cpuCount: 1, memoryMegabytes: 1024 }, 0), 'Standard_B1ms');
  assert.equal(chooseVmSize({ cpuCount: 1, memoryMegabytes: 1024 }, 5), 'Standard_D4s_v5');
  assert.equal(chooseVmSize({ cpuCount: 1000, memoryMegabytes: 1 }, 0), 'Standard_D32s_v5');
});

test('a failover finds the newest, the newest application-consistent or the named point, and only whole ones of this life', () => {
  const point = (cycle: number, changes: Partial<RecoveryPoint> = {}): RecoveryPoint => ({
    recoveryPointId: `p${cycle}`,
    protectionId: sampleProtectionId,
    epoch: 1,
    cycle,
    takenAt: ago(100 - cycle),
    consistency: 'crashConsistent',
    state: 'ready',
    disks: [],
    pinnedBy: [],
    ...changes,
  });
  const points = [
    point(1, { consistency: 'applicationConsistent' }),
    point(2),
    point(3, { state: 'intent' }),
    point(4, { state: 'deleting' }),
  ];
  const choose = (choice: Parameters<typeof choosePoint>[2]) => choosePoint(points, sampleProtectionId, choice).cycle;
  assert.equal(choose({ kind: 'latest' }), 2);
  assert.equal(choose({ kind: 'latestProcessed' }), 2);
  assert.equal(choose({ kind: 'latestApplicationConsistent' }), 1);
  assert.equal(choose({ kind: 'point', recoveryPointId: 'p1' }), 1);
  for (const recoveryPointId of ['p3', 'p4', 'p9']) {
    assert.throws(() => choose({ kind: 'point', recoveryPointId }), { code: 'US4003' });
  }
});
