import { z } from 'zod';
import type { VaultId } from '../../core/domain/ids.js';
import { read } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { vaultIdWithin } from '../arm/arm-id.js';
import { notFound, operationWithBody, vaultOf, type Call } from '../arm/operation.js';
import { drawRegistrationKey } from '../relay-api/registration-key.js';

const keyBody = z.object({
  vaultId: z.string().refine((text) => vaultIdWithin(text) !== undefined, { error: 'the ARM id of a vault' }),
  siteName: z.string().optional(),
});

async function siteOf(call: Call, vaultId: VaultId, name: string | undefined): Promise<{ siteName?: string }> {
  if (name === undefined) return {};
  const fabric = await read(call.app.table, rows.fabric(vaultId, name));
  if (!fabric?.value.isSite) throw notFound('Hyper-V site', name, 'Create the site with PUT, or leave siteName out.');
  return { siteName: fabric.value.fabricName };
}

export const registrationKeyOperations = [
  operationWithBody(
    'understudy.registrationKeys.create',
    'POST',
    '/understudy/v1/registrationKeys',
    {
      summary:
        'Makes a registration key for one relay, of a VMM server or of the named Hyper-V site: shown this once, good for 5 days and one registration',
      request: '{ vaultId, siteName? }',
      response: '{ registrationKey, expiresAt }',
      body: keyBody,
    },
    async (call, body) => {
      const vaultId = vaultIdWithin(body.vaultId);
      if (vaultId === undefined) throw notFound('vault', body.vaultId);
      const { createdAt: vaultCreatedAt } = await vaultOf(call, vaultId);
      const of = { vaultId, vaultCreatedAt, ...(await siteOf(call, vaultId, body.siteName)) };
      return { status: 201, body: await drawRegistrationKey(call.app, of, call.origin) };
    },
  ),
];
