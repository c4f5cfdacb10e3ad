import assert from 'node:assert/strict';
import { test } from 'node:test';
import { environmentRules } from '../../../../core/domain/prerequisites/environment-rules.js';
import { evaluatePrerequisites, includedDisks } from '../../../../core/domain/prerequisites/prerequisites.js';
import type { PrerequisiteFacts } from '../../../../core/domain/prerequisites/rule.js';
import { vmRules } from '../../../../core/domain/prerequisites/vm-rules.js';
import type { SiteDisk, SiteVm } from '../../../../core/domain/site/inventory.js';
import { sampleVm } from '../../../support/sample-site.js';

const gibibyte = 1024 ** 3;
const disk = (changes: Partial<SiteDisk>, index = 1): SiteDisk => {
  const [template] = sampleVm().disks;
  assert(template);
  return {
    ...template,
    isOsDisk: false,
    diskId: `d15c0000-0000-4000-8000-0000000001${String(index).padStart(2, '0')}`,
    ...changes,
  };
};
const osDisk = (changes: Partial<SiteDisk> = {}): SiteDisk => disk({ isOsDisk: true, ...changes }, 0);

const good: PrerequisiteFacts = {
  vmName: 'sql-01',
  vm: sampleVm(),
  policyName: 'default',
  policy: {
    name: 'default',
    replicationIntervalSeconds: 300,
    recoveryPointHistoryHours: 2,
    appConsistentFrequencyHours: 1,
    storageAccountIds: [],
  },
  cloudIsMapped: true,
  target: { vmName: 'sql-01', osType: 'Windows' },
  storageAccount: { name: 'replicas', kind: 'standard' },
  logStorageAccount: 'absent',
  subnetNames: undefined,
  networkIsMapped: true,
  accountIsOfPolicy: true,
  targetNameTakenBy: undefined,
  protectedAs: undefined,
  disksToInclude: undefined,
};
const withVm = (changes: Partial<SiteVm>): PrerequisiteFacts => ({ ...good, vm: sampleVm(changes) });
const withDisks = (...disks: SiteDisk[]): PrerequisiteFacts => withVm({ disks });

test('a common VM meets all prerequisites', () => {
  assert.deepEqual(evaluatePrerequisites(good), []);
  assert.deepEqual(
    evaluatePrerequisites({ ...good, target: { ...good.target, networkId: '/n' }, subnetNames: [] }),
    [],
  );
});

const violations: [string, string, PrerequisiteFacts][] = [
  ['a VM that the site does not report', 'US3100', { ...good, vm: undefined }],
  ['a VM that is off', 'US3101', withVm({ powerState: 'off' })],
  ['an unknown guest', 'US3102', { ...withVm({ osType: 'Other' }), target: { vmName: 'x', osType: 'Other' } }],
  ['a 32-bit guest', 'US3103', withVm({ architecture: 'x86' })],
  [
    'a 32-bit guest of Windows Server 2008 R2',
    'US3103',
    withVm({ architecture: 'x86', osName: 'Windows Server 2008 R2' }),
  ],
  [
    'a subnet that the network does not have',
    'US3124',
    { ...good, target: { ...good.target, networkId: '/n', subnetName: 'gone' }, subnetNames: ['default'] },
  ],
  [
    'more than a premium account holds with a test failover',
    'US3125',
    {
      ...withDisks(osDisk(), ...[1, 2, 3, 4, 5].map((index) => disk({ sizeBytes: 4000 * gibibyte }, index))),
      storageAccount: { name: 'premium', kind: 'premium' },
      logStorageAccount: { name: 'replicas', kind: 'standard' },
    },
  ],
  ['a VM of another vault', 'US3132', { ...good, protectedAs: { itemName: 'sql', vaultName: 'other' } }],
  ['two OS disks', 'US3104', withDisks(osDisk(), disk({ isOsDisk: true }))],
  ['no OS disk among the included', 'US3104', { ...good, disksToInclude: [sampleVm().disks[1]?.diskId ?? ''] }],
  ['an OS disk over 2,048 GiB', 'US3105', withDisks(osDisk({ sizeBytes: 2048 * gibibyte + 512 }))],
  [
    'a generation 2 OS disk over 300 GiB',
    'US3105',
    withVm({ generation: 2, disks: [osDisk({ sizeBytes: 301 * gibibyte })] }),
  ],
  ['17 data disks', 'US3106', withDisks(osDisk(), ...Array.from({ length: 17 }, (_, index) => disk({}, index + 1)))],
  ['a data disk over 4,095 GiB', 'US3107', withDisks(osDisk(), disk({ sizeBytes: 4096 * gibibyte }))],
  ['a VM network that is mapped to nothing', 'US3123', { ...good, networkIsMapped: false }],
  ['an account that the policy does not name', 'US3126', { ...good, accountIsOfPolicy: false }],
  ['Nano Server', 'US3127', withVm({ osName: 'Windows Server 2016 Nano Server' })],
  ['a Windows that Azure does not run', 'US3127', withVm({ osName: 'Windows Server 2003 R2' })],
  [
    'three data disks on generation 2',
    'US3128',
    withVm({ generation: 2, disks: [osDisk(), disk({}, 1), disk({}, 2), disk({}, 3)] }),
  ],
  ['a VHD on generation 2', 'US3128', withVm({ generation: 2, disks: [osDisk({ format: 'vhd' })] })],
  [
    'more data disks than the size takes',
    'US3129',
    {
      ...withDisks(osDisk(), disk({}, 1), disk({}, 2), disk({}, 3)),
      target: { ...good.target, vmSize: 'standard_b1ms' },
    },
  ],
  ['a target name that another item has', 'US3131', { ...good, targetNameTakenBy: 'sql-02' }],
  ['a shared disk', 'US3108', withDisks(osDisk(), disk({ shared: true }))],
  ['a pass-through disk', 'US3109', withDisks(osDisk(), disk({ kind: 'passThrough' }))],
  ['a Fibre Channel adapter', 'US3110', withVm({ hasFibreChannelAdapter: true })],
  ['4K native sectors', 'US3111', withDisks(osDisk({ logicalSectorBytes: 4096, physicalSectorBytes: 4096 }))],
  ['a name that Azure does not take', 'US3112', { ...good, target: { ...good.target, vmName: 'sql_01' } }],
  ['a name that is too long', 'US3112', { ...good, target: { ...good.target, vmName: 'x'.repeat(64) } }],
  ['a generation 2 Linux guest', 'US3113', withVm({ generation: 2, osType: 'Linux' })],
  ['an unknown storage account', 'US3114', { ...good, storageAccount: undefined }],
  ['an unknown log account', 'US3114', { ...good, logStorageAccount: undefined }],
  [
    'half a minute on premium storage',
    'US3115',
    {
      ...good,
      storageAccount: { name: 'premium', kind: 'premium' },
      logStorageAccount: { name: 'replicas', kind: 'standard' },
      policy: { ...(good.policy ?? assert.fail()), replicationIntervalSeconds: 30 },
    },
  ],
  [
    'premium storage without a log account',
    'US3116',
    { ...good, storageAccount: { name: 'premium', kind: 'premium' } },
  ],
  ['a VM that is protected already', 'US3117', { ...good, protectedAs: { itemName: 'sql-01-again' } }],
  ['a cloud without the mapping', 'US3118', { ...good, cloudIsMapped: false }],
  ['a policy that is gone', 'US3119', { ...good, policy: undefined }],
  ['a network that is gone', 'US3120', { ...good, target: { ...good.target, networkId: '/n' } }],
  ['a differencing disk', 'US3121', withDisks(osDisk({ kind: 'differencing' }))],
  [
    'a disk of another VM',
    'US3122',
    { ...good, disksToInclude: [...sampleVm().disks.map(({ diskId }) => diskId), 'other'] },
  ],
];
for (const [what, code, facts] of violations) {
  test(`${what} is refused with ${code}, limit, causes and advice`, () => {
    const failures = evaluatePrerequisites(facts);
    assert.deepEqual(
      failures.map((failure) => failure.code),
      [code],
    );
    for (const text of ['found', 'limit', 'possibleCauses', 'recommendedAction', 'message'] as const) {
      assert.notEqual(failures[0]?.[text], '', text);
    }
  });
}

test('every rule of the tables has an example here', () => {
  const shown = new Set(violations.map(([, code]) => code));
  assert.deepEqual(
    [...environmentRules, ...vmRules].map(({ code }) => code).filter((code) => !shown.has(code)),
    [],
  );
});

test('what is at a limit is allowed', () => {
  assert.deepEqual(
    evaluatePrerequisites(
      withDisks(
        osDisk({ sizeBytes: 2048 * gibibyte }),
        ...Array.from({ length: 16 }, (_, index) => disk({ sizeBytes: 4095 * gibibyte }, index + 1)),
      ),
    ),
    [],
  );
  assert.deepEqual(
    evaluatePrerequisites(withVm({ generation: 2, disks: [osDisk({ sizeBytes: 300 * gibibyte })] })),
    [],
  );
  assert.deepEqual(
    evaluatePrerequisites(withVm({ architecture: 'x86', osName: 'Microsoft Windows Server® 2008 Standard' })),
    [],
  );
  // 4K logical on 512 physical sectors stands as supported in the matrix.
  assert.deepEqual(
    evaluatePrerequisites(withDisks(osDisk({ logicalSectorBytes: 4096, physicalSectorBytes: 512 }))),
    [],
  );
});

test('all failures are reported at once', () => {
  const facts = {
    ...withVm({ powerState: 'off', hasFibreChannelAdapter: true, disks: [osDisk({ shared: true })] }),
    cloudIsMapped: false,
  };
  assert.deepEqual(
    evaluatePrerequisites(facts).map(({ code }) => code),
    ['US3118', 'US3101', 'US3108', 'US3110'],
  );
});

test('the OS disk comes first, whatever the order of the source', () => {
  const vm = sampleVm({ disks: [disk({}, 1), osDisk(), disk({}, 2)] });
  assert.deepEqual(
    includedDisks(vm, undefined).map(({ diskId }) => diskId.slice(-2)),
    ['00', '01', '02'],
  );
});
