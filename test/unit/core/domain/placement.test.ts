import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import { discoveredNics, lostNics, nicPlaces, nicPlans, testNicPlaces } from '../../../../core/domain/failover/nics.js';
import {
  chooseVmSize,
  sizeShortfalls,
  subnetNamed,
  testSubnetNamed,
} from '../../../../core/domain/failover/placement.js';
import type { TargetNic } from '../../../../core/domain/protected-item/protected-item.js';
import { choosePoint } from '../../../../core/domain/recovery-point/choice.js';
import type { RecoveryPoint } from '../../../../core/domain/recovery-point/recovery-point.js';
import { sampleItem, sampleProtectionId } from '../../../support/sample-item.js';

const now = Temporal.Instant.from('2026-01-05T12:00:00Z');
const ago = (seconds: number): string => now.subtract({ seconds }).toString();

test('an interface goes to the subnet named as at the source, else to the first, or the first alphabetically', () => {
  const subnets = [{ name: 'first' }, { name: 'Data' }];
  assert.equal(subnetNamed('data', subnets)?.name, 'Data');
  assert.equal(subnetNamed('other', subnets)?.name, 'first');
  assert.equal(subnetNamed(undefined, subnets)?.name, 'first');
  assert.equal(subnetNamed('data', []), undefined);
  assert.equal(testSubnetNamed('FIRST', subnets)?.name, 'first');
  assert.equal(testSubnetNamed('other', subnets)?.name, 'Data');
});

test('the smallest size that holds cores, memory, data disks and interfaces is chosen', () => {
  const small = { cpuCount: 1, memoryMegabytes: 1024 };
  assert.equal(chooseVmSize(small, { dataDiskCount: 0, nicCount: 1 }), 'Standard_B1ms');
  assert.equal(chooseVmSize(small, { dataDiskCount: 5, nicCount: 1 }), 'Standard_D4s_v5');
  assert.equal(chooseVmSize(small, { dataDiskCount: 0, nicCount: 3 }), 'Standard_B2s');
  assert.equal(chooseVmSize(small, { dataDiskCount: 5, nicCount: 4 }), 'Standard_D8s_v5');
  assert.equal(
    chooseVmSize({ cpuCount: 1000, memoryMegabytes: 1 }, { dataDiskCount: 0, nicCount: 1 }),
    'Standard_D32s_v5',
  );
});

test('what a size does not take is said, of the largest where none is chosen, and of unknown ones nothing', () => {
  assert.deepEqual(sizeShortfalls('standard_b2s', { dataDiskCount: 5, nicCount: 4 }), [
    'Standard_B2s takes 4 data disks, there are 5',
    'Standard_B2s takes 3 network interfaces, there are 4',
  ]);
  assert.deepEqual(sizeShortfalls(undefined, { dataDiskCount: 1, nicCount: 9 }), [
    'Standard_D32s_v5 takes 8 network interfaces, there are 9',
  ]);
  assert.deepEqual(sizeShortfalls(undefined, { dataDiskCount: 32, nicCount: 8 }), []);
  assert.deepEqual(sizeShortfalls('Standard_M416', { dataDiskCount: 60, nicCount: 20 }), []);
});

const nics = ['a', 'b', 'c'].map((nicId) => ({ nicId, macAddress: nicId, subnetName: `of ${nicId}` }));
const withNics = (chosen?: TargetNic[], target: object = {}) => ({
  target: { ...sampleItem().target, ...target, ...(chosen === undefined ? {} : { nics: chosen }) },
});
const rolesOf = (chosen: TargetNic[] | undefined, present = nics): string[] =>
  nicPlans(withNics(chosen), { nics: present }).map(({ nic, role }) => `${nic.nicId} ${role}`);

test('all interfaces are used, the first is primary, and later ones are not used', () => {
  assert.deepEqual(rolesOf(undefined), ['a primary', 'b secondary', 'c secondary']);
  const discovered = discoveredNics({ nics: nics.slice(0, 2) });
  assert.deepEqual(rolesOf(discovered), ['a primary', 'b secondary', 'c notUsed']);
  assert.deepEqual(rolesOf(discoveredNics({ nics: [] })), ['a primary', 'b notUsed', 'c notUsed']);
});

test('where the primary interface is gone, the first that nobody left out is primary, and what is gone is told', () => {
  const chosen: TargetNic[] = [
    { nicId: 'gone', role: 'primary' },
    { nicId: 'a', role: 'notUsed' },
    { nicId: 'c', role: 'secondary' },
  ];
  assert.deepEqual(rolesOf(chosen), ['a notUsed', 'b primary', 'c secondary']);
  assert.deepEqual(rolesOf(chosen, nics.slice(0, 1)), ['a primary']);
  assert.deepEqual(
    lostNics(withNics(chosen), { nics }).map(({ nicId }) => nicId),
    ['gone'],
  );
  assert.deepEqual(lostNics(withNics(), { nics }), []);
});

test('the primary interface comes first, in the subnet that was settled on, the others in their own; a machine without any gets one', () => {
  const chosen: TargetNic[] = [
    { nicId: 'a', role: 'secondary' },
    { nicId: 'b', role: 'primary', staticIpAddress: '10.0.0.9' },
    { nicId: 'c', role: 'secondary', subnetName: 'chosen' },
  ];
  assert.deepEqual(nicPlaces(withNics(chosen, { subnetName: 'own' }), { nics }), [
    { nicId: 'b', subnetName: 'own', staticIpAddress: '10.0.0.9' },
    { nicId: 'a', subnetName: 'of a' },
    { nicId: 'c', subnetName: 'chosen' },
  ]);
  assert.deepEqual(nicPlaces(withNics(), { nics: [] }), [{}]);
  const unplaced = { nics: [{ nicId: 'd', macAddress: 'd' }] };
  assert.deepEqual(nicPlaces(withNics(undefined, { subnetName: 'own' }), unplaced), [
    { nicId: 'd', subnetName: 'own' },
  ]);
  const subnets = [{ name: 'z' }, { name: 'of a' }, { name: 'b' }];
  assert.deepEqual(testNicPlaces(withNics(chosen), { nics }, subnets), [
    { nicId: 'b', subnetName: 'b' },
    { nicId: 'a', subnetName: 'of a' },
    { nicId: 'c', subnetName: 'b' },
  ]);
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
