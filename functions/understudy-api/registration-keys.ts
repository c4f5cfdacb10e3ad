import { z } from 'zod';
import { vaultIdWithin } from '../arm/arm-id.js';
import { notFound, operationWithBody, vaultOf } from '../arm/operation.js';
import { drawRegistrationKey } from '../relay-api/registration-key.js';

const keyBody = z.object({
  vaultId: z.string().refine((text) => vaultIdWithin(text) !== undefined, { error: 'the ARM id of a vault' }),
});

export const registrationKeyOperations = [
  operationWithBody(
    'understudy.registrationKeys.create',
    'POST',
    '/understudy/v1/registrationKeys',
    {
      summary: 'Makes a registration key for one relay: shown this once, good for 5 days and one registration',
      request: '{ vaultId }',
      response: '{ registrationKey, expiresAt }',
      body: keyBody,
    },
    async (call, body) => {
      const vaultId = vaultIdWithin(body.vaultId);
      if (vaultId === undefined) throw notFound('vault', body.vaultId);
      await vaultOf(call, vaultId);
      return { status: 201, body: await drawRegistrationKey(call.app, vaultId, call.origin) };
    },
  ),
];
