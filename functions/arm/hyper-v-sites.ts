import { randomUUID } from 'node:crypto';
import type { FabricCreationInputProperties } from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { jobKinds } from '../../core/domain/jobs/job.js';
import { insert, read } from '../../core/records/access.js';
import { rows, type Fabric } from '../../core/records/rows.js';
import { ApiError } from '../http/api-error.js';
import { fabricArmId } from './fabrics.js';
import { param, vaultOperationWithBody } from './operation.js';
import { changeRows } from './row-operation.js';
import type { ShapeOf } from './wire.js';

const siteBody = z.object({
  properties: z
    .object({
      customDetails: z.object({ instanceType: z.string().nullish() }).nullish(),
    } satisfies ShapeOf<FabricCreationInputProperties>)
    .nullish(),
});

/** Shorter than the 64 digits of a VMM server's fabric, so that the two never meet. */
const siteNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Clients name no type for a site, the type that its details have, or the type that all creations have in common. */
const siteTypes = new Set([undefined, 'hypervsite', 'fabricspecificcreationinput']);

function refuseOtherTypes(instanceType: string | undefined): void {
  if (siteTypes.has(instanceType?.toLowerCase())) return;
  throw new ApiError({
    code: 'US1061',
    armCode: 'FabricTypeNotSupported',
    httpStatus: 400,
    target: '$.properties.customDetails.instanceType',
    message: `a fabric of type ${instanceType} is not created by PUT; a Hyper-V site is, by the type HyperVSite or none`,
    possibleCauses: 'VMM servers come by the registration of their relay, and other types belong to other scenarios.',
    recommendedAction: 'Register a relay for a VMM server (docs/relay.md); for hosts without VMM leave the type out.',
  });
}

const newSite = (fabricName: string, now: string): Fabric => ({
  fabricName,
  isSite: true,
  inventory: {
    vmmServerId: randomUUID(),
    vmmServerName: fabricName,
    timeZone: 'UTC',
    clouds: [],
    hosts: [],
    networks: [],
    vms: [],
  },
  inventoryAt: now,
  lastHeartbeatAt: now,
  relayVersion: '',
  registeredAt: now,
  networkMappings: [],
});

/** Hyper-V hosts without VMM: the one kind of fabric that an operator creates. */
export const hyperVSiteOperations = [
  vaultOperationWithBody(
    'replicationFabrics.beginCreate',
    'PUT',
    '~/replicationFabrics/{fabricName}',
    {
      summary: 'Creates a Hyper-V site without VMM, for a relay to register into by a key that is made for it',
      request: 'FabricCreationInput',
      response: 'Fabric',
      longRunning: true,
      body: siteBody,
    },
    async (call, { properties }) => {
      refuseOtherTypes(properties?.customDetails?.instanceType ?? undefined);
      const name = param(call, 'fabricName');
      const existing = await read(call.app.table, rows.fabric(call.vaultId, name));
      if (existing === undefined && !siteNamePattern.test(name)) throw badName(name);
      if (existing !== undefined && !existing.value.isSite) refuseOtherTypes('VMM');
      const siteName = existing?.value.fabricName ?? name;
      return changeRows(call, {
        kind: jobKinds.createSite,
        targetResourceId: fabricArmId(call, siteName),
        targetObjectName: siteName,
        decide: async (now) => {
          const ref = rows.fabric(call.vaultId, siteName);
          // A site has nothing to change; a second PUT finds it as it is.
          return (await read(call.app.table, ref)) === undefined ? [insert(ref, newSite(siteName, now))] : [];
        },
      });
    },
  ),
];

const badName = (name: string): ApiError =>
  new ApiError({
    code: 'US1005',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target: 'fabricName',
    message: `'${name}' is no name for a Hyper-V site`,
    recommendedAction: 'Use up to 63 letters, digits, dots, hyphens and underscores, a letter or digit first.',
  });
