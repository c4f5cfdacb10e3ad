import { z } from 'zod';
import { canPauseOrResume, paused, resumed } from '../../core/domain/protected-item/pause.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { decideAndCommit, replace } from '../../core/records/access.js';
import { ok, operationWithBody, type Call } from '../arm/operation.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { tellHealth } from '../tell-health.js';
import { endWaits, wake } from '../wake.js';
import { armIdWithinItem, itemWithin } from './item-reference.js';

const itemBody = z.strictObject({ itemId: armIdWithinItem('a replication protected item') });

function notReplicating({ itemName, state, vmName }: ProtectedItem): ApiError {
  return new ApiError({
    code: 'US1023',
    armCode: 'OperationNotAllowed',
    httpStatus: 409,
    target: itemName,
    message: `replication of ${vmName} can be neither paused nor resumed while it is ${state}`,
    possibleCauses: 'Replication has not begun, or a failover has ended it.',
    recommendedAction: 'See protectionState and the running job of the item.',
    details: { state },
  });
}

/** Changes the item and wakes what waits for it; the relay sees the change in its assignments. */
async function change(
  call: Call,
  armId: string,
  alter: (item: ProtectedItem, now: string) => ProtectedItem,
  afterwards: typeof wake = wake,
): Promise<ApiResponse> {
  const now = (await call.app.clock.now()).toString();
  const { vaultId, stored: first } = await itemWithin(call, armId);
  const item = await decideAndCommit(call.app.table, first.ref.partition, async () => {
    const { stored } = await itemWithin(call, armId);
    if (!canPauseOrResume(stored.value)) throw notReplicating(stored.value);
    const changed = alter(stored.value, now);
    return { operations: changed === stored.value ? [] : [replace(stored, changed)], result: changed };
  });
  await afterwards(call.app, vaultId, item);
  await tellHealth(call.app, vaultId, item.itemId);
  return ok({ itemId: armId, paused: item.replication.paused });
}

export const pauseResumeOperations = [
  operationWithBody(
    'understudy.pauseReplication',
    'POST',
    '/understudy/v1/pauseReplication',
    {
      summary: 'Sends nothing more of a VM until replication is resumed; its changes are logged at the source',
      request: '{ itemId }',
      response: '{ itemId, paused }',
      role: 'operator',
      body: itemBody,
    },
    (call, { itemId }) => change(call, itemId, paused),
  ),
  operationWithBody(
    'understudy.resumeReplication',
    'POST',
    '/understudy/v1/resumeReplication',
    {
      summary: 'Goes on after a pause; and tries at once whatever waits after a failure, paused or not',
      request: '{ itemId }',
      response: '{ itemId, paused }',
      role: 'operator',
      body: itemBody,
    },
    (call, { itemId }) =>
      change(call, itemId, resumed, async (...of) => {
        await endWaits(...of);
        await wake(...of);
      }),
  ),
];
