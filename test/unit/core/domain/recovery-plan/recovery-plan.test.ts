import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asItemId, asJobName } from '../../../../../core/domain/ids.js';
import { planSteps, type PlanRunInput } from '../../../../../core/domain/recovery-plan/plan-run.js';
import {
  allowedPlanOperations,
  arrangeGroups,
  type PlanAction,
  type PlanGroup,
  type PlanOperation,
  type RecoveryPlan,
} from '../../../../../core/domain/recovery-plan/recovery-plan.js';
import { runbookContext } from '../../../../../core/domain/recovery-plan/runbook-context.js';
import { sampleItem, sampleVaultId } from '../../../../support/sample-item.js';

let number = 0;
const items = (count: number) =>
  Array.from({ length: count }, () => ({ itemId: asItemId(`item-${++number}`), armId: `/items/${number}` }));
const group = (groupType: PlanGroup['groupType'], changes: Partial<PlanGroup> = {}): PlanGroup => ({
  groupType,
  items: [],
  startActions: [],
  endActions: [],
  ...changes,
});
const boot = (count = 1, changes: Partial<PlanGroup> = {}) => group('Boot', { items: items(count), ...changes });
const action = (actionName: string, changes: Partial<PlanAction> = {}): PlanAction => ({
  actionName,
  failoverTypes: ['PlannedFailover', 'UnplannedFailover', 'TestFailover'],
  failoverDirections: ['PrimaryToRecovery'],
  details: { kind: 'manual', description: '' },
  ...changes,
});

const faultsOf = (groups: PlanGroup[]): string[] => {
  const arranged = arrangeGroups(groups);
  return 'faults' in arranged ? arranged.faults.map(({ message }) => message) : [];
};

test('a plan has its Shutdown and Failover groups first, whether or not they were sent', () => {
  for (const sent of [
    [boot(), boot()],
    [boot(), group('Failover'), boot(), group('Shutdown')],
  ]) {
    const arranged = arrangeGroups(sent);
    assert('groups' in arranged);
    assert.deepEqual(
      arranged.groups.map(({ groupType }) => groupType),
      ['Shutdown', 'Failover', 'Boot', 'Boot'],
    );
  }
});

test('up to seven boot groups and a hundred items: one more of either is refused, and everything that is wrong is told', () => {
  assert.deepEqual(faultsOf(Array.from({ length: 7 }, () => boot(1))), []);
  assert.deepEqual(faultsOf([boot(100)]), []);
  assert.match(faultsOf(Array.from({ length: 8 }, () => boot(1))).join(), /at most 7 groups Boot, not 8/);
  assert.match(faultsOf([boot(101)]).join(), /at most 100 items, not 101/);
  assert.match(faultsOf([group('Shutdown')]).join(), /at least one group Boot/);
  assert.match(faultsOf([group('Boot')]).join(), /at least one item/);
  const twice = items(1);
  const bad = [
    boot(1, { items: twice, startActions: [action('same')] }),
    boot(1, { items: twice, endActions: [action('same')] }),
    group('Failover', { items: items(1) }),
    group('Failover'),
  ];
  const faults = faultsOf(bad).join('; ');
  for (const expected of [
    /stands in the plan twice/,
    /two actions have the name 'same'/,
    /Failover is about all/,
    /one group Failover, not 2/,
  ]) {
    assert.match(faults, expected);
  }
});

const runOf = (operation: PlanOperation, groups: PlanGroup[], synchronizeFirst = false): PlanRunInput => {
  const arranged = arrangeGroups(groups);
  assert('groups' in arranged);
  return {
    vaultId: sampleVaultId,
    jobName: asJobName('job'),
    planName: 'payroll',
    fabricName: 'f',
    operation,
    groups: arranged.groups,
    recoveryPoint: { kind: 'latest' },
    shutDownSources: false,
    synchronizeFirst,
    createVms: false,
    comments: '',
  };
};
const words = (run: PlanRunInput): string[] => planSteps(run).map(({ friendlyName }) => friendlyName);

test('a run goes through its groups in order, with the actions that are for it before and after each', () => {
  const groups = [
    group('Shutdown', { startActions: [action('warn users')] }),
    group('Failover', { endActions: [action('switch dns', { failoverTypes: ['UnplannedFailover'] })] }),
    boot(1, { startActions: [action('first')], endActions: [action('check')] }),
    boot(1, { startActions: [action('way back', { failoverDirections: ['RecoveryToPrimary'] })] }),
  ];
  assert.deepEqual(words(runOf('PlannedFailover', groups)), [
    'Shutdown, before: warn users',
    'All machines: shut down',
    'All machines: failover',
    'Group 1, before: first',
    'Group 1: start',
    'Group 1, after: check',
    'Group 2: start',
  ]);
  assert.deepEqual(words(runOf('UnplannedFailover', groups)), [
    'Shutdown, before: warn users',
    'All machines: failover',
    'Failover, after: switch dns',
    'Group 1, before: first',
    'Group 1: start',
    'Group 1, after: check',
    'Group 2: start',
  ]);
  assert.deepEqual(words(runOf('Failback', groups, true)), [
    'All machines: synchronize data',
    'All machines: failover',
    'Group 1: start',
    'Group 2, before: way back',
    'Group 2: start',
  ]);
  assert.deepEqual(words(runOf('Commit', groups)), ['All machines: commit']);
  for (const operation of ['PlannedFailover', 'UnplannedFailover', 'TestFailover', 'Failback', 'Commit'] as const) {
    const names = planSteps(runOf(operation, groups)).map(({ taskName }) => taskName);
    assert.equal(new Set(names).size, names.length, 'each task has a name of its own');
  }
});

test('a plan allows what one of its items allows; while it runs nothing, and beside its drill only a disaster', () => {
  const plan: RecoveryPlan = {
    planName: 'payroll',
    fabricName: 'f',
    createdAt: '2026-01-05T10:00:00Z',
    groups: [boot(2)],
  };
  const item = (state: Parameters<typeof allowedPlanOperations>[1][number]['state']) => ({ state, replication: {} });
  assert.deepEqual(allowedPlanOperations(plan, [item('Protected'), item('FailoverCommitPending')]), [
    'TestFailover',
    'PlannedFailover',
    'UnplannedFailover',
    'Commit',
  ]);
  const activeJob = { jobName: asJobName('job'), scenarioName: 'PlannedFailover', startedAt: '2026-01-05T10:00:00Z' };
  assert.deepEqual(allowedPlanOperations({ ...plan, activeJob }, [item('Protected')]), []);
  assert.deepEqual(allowedPlanOperations({ ...plan, test: { jobName: asJobName('drill') } }, [item('Protected')]), [
    'TestFailoverCleanup',
    'UnplannedFailover',
  ]);
});

test('a runbook is told the virtual machines by the documented names, empty where there is none yet', () => {
  const run = {
    planName: 'payroll',
    failoverType: 'UnplannedFailover',
    direction: 'PrimaryToRecovery',
    groupId: 'Group 1',
  } as const;
  const before = sampleItem();
  const after = sampleItem({
    failover: {
      jobName: asJobName('job'),
      kind: 'unplanned',
      recoveryPointId: 'point',
      recoveryPointAt: '2026-01-05T10:00:00Z',
      cycle: 3,
      vmArmId: '/subscriptions/s1/resourceGroups/g1/providers/Microsoft.Compute/virtualMachines/sql-01',
      disks: [],
    },
  });
  const empty = { SubscriptionId: '', ResourceGroupName: '', CloudServiceName: '', RoleName: '', RecoveryPointId: '' };
  assert.deepEqual(runbookContext(run, [before]), {
    RecoveryPlanName: 'payroll',
    FailoverType: 'Unplanned',
    FailoverDirection: 'PrimaryToRecovery',
    GroupId: 'Group 1',
    VmMap: { [before.vmId]: empty },
  });
  assert.deepEqual(runbookContext(run, [after]).VmMap[after.vmId], {
    ...empty,
    SubscriptionId: 's1',
    ResourceGroupName: 'g1',
    RoleName: 'sql-01',
    RecoveryPointId: 'point',
  });
});
