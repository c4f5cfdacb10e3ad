import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { CloudVmSpecification } from '../../../core/ports/cloud-compute.js';
import { digestOf, recordIn, releasedTags, tagsOf } from '../../../providers/azure-compute/specification-tags.js';
import { placeOf } from '../../../providers/azure-compute/vm-place.js';

const group = `/subscriptions/${randomUUID()}/resourceGroups/${'g'.repeat(90)}/providers`;
/** As many, and as long together, as an item may have. */
const ownTags = Object.fromEntries(
  Array.from({ length: 15 }, (_, index) => [`tag-${index}`, randomBytes(142).toString('base64')]),
);
/** As large as one may be: an OS disk and 16 data disks, eight interfaces, and long names. */
const specification: CloudVmSpecification = {
  vmArmId: `${group}/Microsoft.Compute/virtualMachines/${'v'.repeat(64)}`,
  name: 'v'.repeat(64),
  size: 'Standard_D32s_v5',
  generation: 2,
  osType: 'Windows',
  networkId: `${group}/Microsoft.Network/virtualNetworks/${'n'.repeat(64)}`,
  nics: Array.from({ length: 8 }, (_, index) => ({
    nicId: randomUUID(),
    subnetName: `frontend of the database ${index}`,
    staticIpAddress: `10.1.${index}.200`,
  })),
  disks: Array.from({ length: 17 }, (_, lun) => ({
    name: `data volume ${lun} of the database.vhdx`,
    lun,
    isOsDisk: lun === 0,
    blob: {
      storageAccountId: `${group}/Microsoft.Storage/storageAccounts/replicas`,
      container: 'understudy-replicas',
      blobName: `${randomUUID()}/${randomUUID()}/failover-${randomUUID()}-${lun}.vhd`,
    },
    sizeBytes: (lun + 1) * 1024 ** 3,
  })),
  tags: {
    ...ownTags,
    'understudy-item': randomUUID(),
    'understudy-job': randomUUID(),
    'understudy-recovery-point': randomUUID(),
  },
};
const place = placeOf(specification.vmArmId);

test('the largest specification fits into what Azure takes as tags, and is read back', () => {
  const tags = tagsOf(specification, place);
  assert(Object.keys(tags).length <= 50);
  for (const value of Object.values(tags)) assert(value.length <= 256);
  assert.deepEqual(recordIn(tags, place), { specification, digest: digestOf(specification) });
  assert.deepEqual(recordIn(tags, placeOf(specification.vmArmId.toUpperCase()))?.specification, specification);
});

test('tags of another VM, and tags that were changed, tell nothing', () => {
  const tags = tagsOf(specification, place);
  assert.equal(recordIn(undefined, place), undefined);
  assert.equal(recordIn(tags, placeOf(`${specification.vmArmId.slice(0, -1)}x`)), undefined);
  for (const name of Object.keys(tags).filter((key) => !(key in specification.tags))) {
    const { [name]: value = '', ...missing } = tags;
    assert.equal(recordIn(missing, place), undefined, name);
    assert.equal(recordIn({ ...tags, [name]: `${value.slice(0, -9)}AAAAAAAAA` }, place), undefined, name);
  }
});

test('the digest tells specifications apart, and not the case of an id or the order of properties', () => {
  const reversed = Object.fromEntries(Object.entries(specification).reverse()) as unknown as CloudVmSpecification;
  const digest = digestOf(specification);
  assert.equal(digestOf({ ...reversed, vmArmId: specification.vmArmId.toUpperCase() }), digest);
  assert.notEqual(digestOf({ ...specification, disks: [...specification.disks].reverse() }), digest);
  assert.notEqual(digestOf({ ...specification, publicAddress: true }), digest);
});

test('a released disk keeps the specification’s own tags', () => {
  assert.deepEqual(releasedTags({ ...tagsOf(specification, place), owner: 'me' }), {
    ...specification.tags,
    owner: 'me',
  });
});
