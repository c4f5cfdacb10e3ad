import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { UnderstudyError } from '../../../core/domain/errors.js';
import type { CloudCompute, CloudVmSpecification } from '../../../core/ports/cloud-compute.js';
import { ArmRefusal } from '../../support/arm/arm-answers.js';
import { AzureDouble } from '../../support/arm/azure-double.js';

const doubles: AzureDouble[] = [];
const openAzure = async (): Promise<AzureDouble> => {
  const azure = await AzureDouble.open();
  doubles.push(azure);
  return azure;
};
after(() => {
  for (const { server } of doubles) server.stop();
});

const withAdvice = (code: string, retry: string) => (error: unknown) => {
  assert(error instanceof UnderstudyError, String(error));
  assert.deepEqual([error.code, error.retry], [code, retry], error.message);
  assert(error.recommendedAction.length > 20);
  return true;
};

/**
 * Runs `work` in processes that die after their first, second, third … call, each in an Azure of its own, until one lives to
 * the end; after each death `proof` looks at what a new process makes of it.
 */
async function killAtEveryCall(
  prepare: (azure: AzureDouble) => Promise<void>,
  work: (compute: CloudCompute) => Promise<void>,
  proof: (azure: AzureDouble, compute: CloudCompute) => Promise<void>,
): Promise<void> {
  let deaths = 0;
  for (let lives = 1, isAlive = false; !isAlive; lives++) {
    const azure = await openAzure();
    await prepare(azure);
    try {
      await work(azure.compute({ lives }).compute);
      isAlive = true;
    } catch (error) {
      assert.match(String(error), /the process is dead/, `after ${lives} calls`);
      deaths++;
    }
    await proof(azure, azure.compute().compute);
    azure.server.stop();
  }
  assert(deaths > 5, `only ${deaths} deaths`);
}

const nics = [{}, { subnetName: 'backend' }];
const parts = [
  'disks/vm-data-1',
  'disks/vm-os',
  'networkInterfaces/vm-nic',
  'networkInterfaces/vm-nic-2',
  'publicIPAddresses/vm-ip',
];
const vmArmId = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm';

for (const publicAddress of [true, false]) {
  const address = publicAddress ? 'a public address' : 'no public address';
  const expected = parts.filter((name) => publicAddress || !name.startsWith('public'));

  test(`a process killed after any call of making and starting a VM with ${address}: the next run ends with one VM`, async () => {
    let specification: CloudVmSpecification;
    await killAtEveryCall(
      async (azure) => {
        specification = await azure.specification({ publicAddress, nics });
      },
      async (compute) => {
        await compute.createVm(specification);
        await compute.startVm(vmArmId);
      },
      async (azure, compute) => {
        const vm = await compute.createVm(specification);
        assert.deepEqual(await compute.startVm(vmArmId), { ...vm, powerState: 'running' });
        assert.deepEqual(azure.left(), [...expected, 'virtualMachines/vm']);
        assert.deepEqual([vm.nics[0]?.privateIpAddress, vm.publicIpAddress !== undefined], ['10.1.0.4', publicAddress]);
      },
    );
  });

  test(`a process killed after any call of making and starting a VM with ${address}: what is found is deleted, and that is all`, async () => {
    let specification: CloudVmSpecification;
    await killAtEveryCall(
      async (azure) => {
        specification = await azure.specification({ publicAddress, nics });
      },
      async (compute) => {
        await compute.createVm(specification);
        await compute.startVm(vmArmId);
      },
      async (azure, compute) => {
        // As the workflows do: what is not found is not deleted.
        const vm = await compute.getVm(vmArmId);
        if (vm?.tags['understudy-job'] === 'job') await compute.deleteVm(vmArmId, { deleteDisks: true });
        assert.deepEqual(azure.left(), []);
      },
    );
  });
}

for (const deleteDisks of [true, false]) {
  test(`a process killed after any call of deleting a VM ${deleteDisks ? 'with' : 'without'} its disks: the next run deletes the rest`, async () => {
    let specification: CloudVmSpecification;
    await killAtEveryCall(
      async (azure) => {
        specification = await azure.specification({ publicAddress: true, nics });
        const { compute } = azure.compute();
        await compute.createVm(specification);
        await compute.startVm(vmArmId);
      },
      (compute) => compute.deleteVm(vmArmId, { deleteDisks }),
      async (azure, compute) => {
        if (await compute.getVm(vmArmId)) await compute.deleteVm(vmArmId, { deleteDisks });
        assert.equal(await compute.getVm(vmArmId), undefined);
        assert.deepEqual(azure.left(), deleteDisks ? [] : ['disks/vm-data-1', 'disks/vm-os']);
        for (const { blob } of specification.disks) {
          assert.equal((await azure.replicas.properties(blob)) === undefined, deleteDisks);
        }
      },
    );
  });
}

test('a process killed after any call of making or deleting a VM without a network: what is found is deleted, and that is all', async () => {
  let specification: CloudVmSpecification;
  await killAtEveryCall(
    async (azure) => {
      const { networkId: _, ...unplaced } = await azure.specification({ nics: [] });
      specification = unplaced;
    },
    async (compute) => {
      await compute.createVm(specification);
      await compute.deleteVm(vmArmId, { deleteDisks: true });
    },
    async (azure, compute) => {
      if (await compute.getVm(vmArmId)) await compute.deleteVm(vmArmId, { deleteDisks: true });
      assert.deepEqual(azure.left(), []);
    },
  );
});

const exporting = (azure: AzureDouble) => ({
  exportName: 'sync-1',
  lun: 0,
  to: { storageAccountId: azure.storageAccountId, container: 'understudy-replicas', blobName: 'export.vhd' },
});

async function exportWhole(compute: CloudCompute, options: ReturnType<typeof exporting>): Promise<void> {
  while (!(await compute.exportDisk(vmArmId, options)).finished);
}

test('a process killed after any call of an export: the next run finishes it, and its end leaves nothing', async () => {
  let options: ReturnType<typeof exporting>;
  await killAtEveryCall(
    async (azure) => {
      options = exporting(azure);
      await azure.compute().compute.createVm(await azure.specification());
    },
    (compute) => exportWhole(compute, options),
    async (azure, compute) => {
      await exportWhole(compute, options);
      assert.deepEqual(await azure.replicas.readPages(options.to, 0, 512), Buffer.alloc(512, 'a'));
      assert.deepEqual(azure.left(), parts.slice(0, 3));
      await compute.endExport(vmArmId, { exportName: 'sync-1', disks: [options] });
      assert.equal(await azure.replicas.properties(options.to), undefined);
    },
  );
});

test('a process killed after any call of an export, or of its end: the end leaves nothing', async () => {
  let options: ReturnType<typeof exporting>;
  const end = (compute: CloudCompute) => compute.endExport(vmArmId, { exportName: 'sync-1', disks: [options] });
  await killAtEveryCall(
    async (azure) => {
      options = exporting(azure);
      await azure.compute().compute.createVm(await azure.specification());
    },
    async (compute) => {
      await compute.exportDisk(vmArmId, options);
      await end(compute);
    },
    async (azure, compute) => {
      await end(compute);
      assert.deepEqual(azure.left(), parts.slice(0, 3));
      assert.equal(await azure.replicas.properties(options.to), undefined);
    },
  );
});

test('throttling that passes in time is waited out; else it is told, to be tried later', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const specification = await azure.specification();
  const throttled = (seconds: string) =>
    new ArmRefusal(429, 'OperationNotAllowed', 'The server rejected the request.', { 'retry-after': seconds });
  azure.server.refuse(/PUT disks/, throttled('0'), { times: 3 });
  azure.server.refuse(/GET disks/, throttled('0'), { times: 2 });
  azure.server.refuse(/PUT networkInterfaces/, throttled('600'));
  await assert.rejects(compute.createVm(specification), (error) => {
    assert(error instanceof UnderstudyError);
    assert.deepEqual(error.details, { statusCode: 429, serviceCode: 'OperationNotAllowed', retryAfterSeconds: 600 });
    return withAdvice('US6060', 'later')(error);
  });
  await compute.createVm(specification);
  assert.deepEqual(azure.left(), parts.slice(0, 3));
});

test('conflicts with operations of others and failures of Azure are waited out', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const conflict = new ArmRefusal(409, 'Conflict', 'The request failed due to conflict with a concurrent request.');
  azure.server.refuse(/PUT disks/, conflict, { times: 2 });
  azure.server.refuse(/PUT virtualMachines/, new ArmRefusal(503, 'ServiceUnavailable', 'Try again.'), { times: 2 });
  azure.server.refuse(/POST/, conflict, { times: 2 });
  azure.server.refuse(/DELETE networkInterfaces/, new ArmRefusal(400, 'NicReservedForAnotherVm', 'For 180 seconds.'), {
    times: 2,
  });
  await compute.createVm(await azure.specification());
  await compute.startVm(vmArmId);
  await compute.stopVm(vmArmId);
  await compute.deleteVm(vmArmId, { deleteDisks: true });
  assert.deepEqual(azure.left(), []);
});

test('a used-up quota, a missing role, a policy, a lock and a bad request are told with what to do, and not tried again', async () => {
  const refusals = [
    [
      'US6062',
      409,
      'OperationNotAllowed',
      'Operation could not be completed as it results in exceeding approved Cores quota.',
    ],
    ['US6062', 400, 'QuotaExceeded', 'Quota exceeded.'],
    ['US6061', 403, 'AuthorizationFailed', 'The client does not have authorization to perform the action.'],
    ['US6061', 401, 'InvalidAuthenticationToken', 'The access token is invalid.'],
    ['US6064', 403, 'RequestDisallowedByPolicy', 'Resource was disallowed by policy.'],
    ['US6064', 409, 'ScopeLocked', 'The scope cannot perform write operation because it is locked.'],
    ['US6064', 400, 'InvalidParameter', 'The value is invalid.'],
    ['US6064', 404, 'ResourceGroupNotFound', 'Resource group g could not be found.'],
  ] as const;
  const azure = await openAzure();
  const { compute } = azure.compute();
  await compute.createVm(await azure.specification());
  for (const [code, statusCode, serviceCode, message] of refusals) {
    azure.server.refuse(/PUT virtualMachines/, new ArmRefusal(statusCode, serviceCode, message));
    await assert.rejects(compute.startVm(vmArmId), (error: Error) => {
      assert.match(error.message, /making virtual machine vm in resource group g: Azure answered/);
      assert(error.message.includes(message));
      return withAdvice(code, 'never')(error);
    });
  }
  assert.equal((await compute.startVm(vmArmId)).powerState, 'running');
});

test('a region without room is told, to be tried later; the VM that failed is made anew, or deleted', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  await compute.createVm(await azure.specification());
  const full = new ArmRefusal(200, 'AllocationFailed', 'We do not have sufficient capacity for the requested VM size.');
  azure.server.refuse(/PUT virtualMachines/, full, { when: 'operation', times: 2 });
  await assert.rejects(compute.startVm(vmArmId), withAdvice('US6063', 'later'));
  assert.equal((await compute.getVm(vmArmId))?.powerState, 'created');
  await assert.rejects(compute.startVm(vmArmId), withAdvice('US6063', 'later'));
  assert.equal((await compute.startVm(vmArmId)).powerState, 'running');
  await compute.deleteVm(vmArmId, { deleteDisks: true });
  assert.deepEqual(azure.left(), []);
});

test('an import that fails is told and made anew by the next run', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute();
  const specification = await azure.specification();
  const failed = new ArmRefusal(200, 'BlobNotFound', 'The source blob was not found.');
  azure.server.refuse(/PUT disks\/vm-os/, failed, { when: 'operation' });
  await assert.rejects(compute.createVm(specification), withAdvice('US6064', 'never'));
  await assert.rejects(compute.startVm(vmArmId), withAdvice('US6052', 'never'));
  await compute.createVm(specification);
  assert.equal((await compute.startVm(vmArmId)).powerState, 'running');
});

test('a call does not wait longer than it may; the next one finds what was begun', async () => {
  for (const [first, isPlaced] of [
    ['PUT networkInterfaces/vm-nic', true],
    ['PUT disks/vm-os', false],
  ] as const) {
    const azure = await openAzure();
    const { compute } = azure.compute({ waitMilliseconds: 300 });
    const { networkId = '', ...unplaced } = await azure.specification();
    const specification = isPlaced ? { ...unplaced, networkId } : unplaced;
    azure.server.looksUntilDone = Number.POSITIVE_INFINITY;
    const begun = performance.now();
    await assert.rejects(compute.createVm(specification), withAdvice('US6065', 'later'));
    await assert.rejects(compute.createVm(specification), withAdvice('US6065', 'later'));
    assert(performance.now() - begun < 3000);
    assert.deepEqual(azure.changes(), [first]);
    azure.server.hurry();
    await azure.compute().compute.createVm(specification);
    assert(!azure.changes().includes(first));
    assert.deepEqual(azure.left(), parts.slice(0, isPlaced ? 3 : 2));
  }
});

test('an Azure that cannot be reached is tried again later', async () => {
  const azure = await openAzure();
  const { compute } = azure.compute({ waitMilliseconds: 200 });
  const specification = await azure.specification();
  azure.server.stop();
  await assert.rejects(compute.createVm(specification), withAdvice('US6060', 'later'));
});
