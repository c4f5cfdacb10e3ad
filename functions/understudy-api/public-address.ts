import { z } from 'zod';
import { decideAndCommit, replace } from '../../core/records/access.js';
import { ok, operationWithBody } from '../arm/operation.js';
import { armIdWithinItem, itemWithin } from './item-reference.js';

const addressBody = z.strictObject({
  itemId: armIdWithinItem('a replication protected item'),
  /** Absent: only asked. */
  publicAddress: z.boolean().optional(),
});

/** A VM that is made by a failover from now on has a public address, or none; one that runs keeps what it has. */
export const publicAddressOperations = [
  operationWithBody(
    'understudy.publicAddress',
    'POST',
    '/understudy/v1/publicAddress',
    {
      summary: 'Whether the VM of the next failover gets a public address; and the addresses of the one that runs',
      request: '{ itemId, publicAddress? }',
      response: '{ itemId, publicAddress, privateIpAddress?, publicIpAddress? }',
      role: 'operator',
      body: addressBody,
    },
    async (call, { itemId, publicAddress }) => {
      const { stored: first } = await itemWithin(call, itemId);
      const item = await decideAndCommit(call.app.table, first.ref.partition, async () => {
        const { stored } = await itemWithin(call, itemId);
        if (publicAddress === undefined) return { operations: [], result: stored.value };
        const changed = { ...stored.value, target: { ...stored.value.target, publicAddress } };
        return { operations: [replace(stored, changed)], result: changed };
      });
      const { vmArmId } = item.failover ?? {};
      const vm = vmArmId === undefined ? undefined : await call.app.compute.getVm(vmArmId);
      return ok({
        itemId,
        publicAddress: item.target.publicAddress === true,
        privateIpAddress: vm?.nics[0]?.privateIpAddress,
        publicIpAddress: vm?.publicIpAddress,
      });
    },
  ),
];
