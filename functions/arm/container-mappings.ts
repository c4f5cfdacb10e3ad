import type {
  CreateProtectionContainerMappingInputProperties,
  ProtectionContainerMapping,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { jobKinds } from '../../core/domain/jobs/job.js';
import { workflowNames, type RunOperationInput } from '../../core/domain/workflows/workflows.js';
import { list, read } from '../../core/records/access.js';
import { rows, vaultPartition, type ContainerMapping, type Fabric } from '../../core/records/rows.js';
import { submitJob } from '../jobs/submit-job.js';
import { armIdOf, nameIn } from './arm-id.js';
import { badReference } from './cloud-resources.js';
import { cloudOf, containerArmId } from './clouds.js';
import { fabricsOf } from './fabrics.js';
import { accepted } from './long-running.js';
import {
  collection,
  notFound,
  ok,
  param,
  vaultOperation,
  vaultOperationWithBody,
  type VaultCall,
} from './operation.js';
import { findPolicy, policyArmId } from './policies.js';
import type { ShapeOf, Wire } from './wire.js';

/** The recovery side of every mapping: the literal that clients send and expect. */
export const azureContainer = 'Microsoft Azure';

const mappingBody = z.object({
  properties: z.object({
    policyId: armIdOf('replicationPolicies'),
    targetProtectionContainerId: z.literal(azureContainer).optional(),
    providerSpecificInput: z.looseObject({}).nullish(),
  } satisfies ShapeOf<CreateProtectionContainerMappingInputProperties>),
});

const mappingArmId = (call: VaultCall, mapping: ContainerMapping): string =>
  `${containerArmId(call, mapping.fabricName, mapping.containerName)}/replicationProtectionContainerMappings/${mapping.mappingName}`;

function mappingToWire(
  call: VaultCall,
  mapping: ContainerMapping,
  fabric: Fabric | undefined,
): Wire<ProtectionContainerMapping> {
  const cloud = fabric?.inventory.clouds.find(({ cloudId }) => cloudId === mapping.containerName);
  return {
    id: mappingArmId(call, mapping),
    name: mapping.mappingName,
    type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationProtectionContainerMappings',
    properties: {
      targetProtectionContainerId: azureContainer,
      targetProtectionContainerFriendlyName: azureContainer,
      targetFabricFriendlyName: azureContainer,
      health: 'Normal',
      healthErrorDetails: [],
      policyId: policyArmId(call, mapping.policyName),
      policyFriendlyName: mapping.policyName,
      state: 'Paired',
      sourceProtectionContainerFriendlyName: cloud?.name,
      sourceFabricFriendlyName: fabric?.inventory.vmmServerName,
    },
  };
}

async function mappingsToWire(call: VaultCall, keep: (mapping: ContainerMapping) => boolean) {
  const fabrics = await fabricsOf(call);
  const mappings = await list(call.app.table, rows.mappings(call.vaultId));
  return mappings
    .filter(({ value }) => keep(value))
    .map(({ value }) => {
      const fabric = fabrics.find(({ fabricName }) => fabricName === value.fabricName);
      return mappingToWire(call, value, fabric);
    });
}

async function putMapping(call: VaultCall, body: z.output<typeof mappingBody>) {
  const { fabric, cloud } = await cloudOf(call);
  const mappingName = param(call, 'mappingName');
  const policyName = nameIn(body.properties.policyId, 'replicationPolicies') ?? '';
  const policy = await findPolicy(call, policyName);
  if (policy === undefined) {
    throw badReference('$.properties.policyId', 'policy', body.properties.policyId, 'Create the policy first.');
  }
  const names = { fabricName: fabric.fabricName, containerName: cloud.cloudId };
  const row = rows.mapping(call.vaultId, names.fabricName, names.containerName, mappingName);
  const job = await submitJob(call.app, {
    vaultId: call.vaultId,
    kind: jobKinds.createMapping,
    orchestrator: workflowNames.runOperation,
    targetResourceId: mappingArmId(call, { ...names, mappingName, policyName, createdAt: '' }),
    targetObjectName: mappingName,
    decide: async (jobName, now) => {
      const existing = await read(call.app.table, row);
      const mapping: ContainerMapping = {
        ...names,
        mappingName: existing?.value.mappingName ?? mappingName,
        policyName: policy.name,
        createdAt: existing?.value.createdAt ?? now,
      };
      const input: RunOperationInput = {
        vaultId: call.vaultId,
        jobName,
        operation: { kind: 'putMapping', partition: vaultPartition(call.vaultId), rowKey: row.rowKey, value: mapping },
      };
      return { operations: [], input };
    },
  });
  return accepted(call, job);
}

const containerPath = '~/replicationFabrics/{fabricName}/replicationProtectionContainers/{protectionContainerName}';

/** Which policies a cloud's VMs may be protected by. */
export const containerMappingOperations = [
  vaultOperation(
    'replicationProtectionContainerMappings.listByReplicationProtectionContainers',
    'GET',
    `${containerPath}/replicationProtectionContainerMappings`,
    { summary: 'Mappings of a cloud', response: 'ProtectionContainerMappingCollection' },
    async (call) => {
      const { fabric, cloud } = await cloudOf(call);
      return collection(
        await mappingsToWire(
          call,
          (mapping) => mapping.fabricName === fabric.fabricName && mapping.containerName === cloud.cloudId,
        ),
      );
    },
  ),
  vaultOperation(
    'replicationProtectionContainerMappings.list',
    'GET',
    '~/replicationProtectionContainerMappings',
    { summary: 'Mappings of the vault', response: 'ProtectionContainerMappingCollection' },
    async (call) => collection(await mappingsToWire(call, () => true)),
  ),
  vaultOperation(
    'replicationProtectionContainerMappings.get',
    'GET',
    `${containerPath}/replicationProtectionContainerMappings/{mappingName}`,
    { summary: 'One mapping', response: 'ProtectionContainerMapping' },
    async (call) => {
      const { fabric, cloud } = await cloudOf(call);
      const name = param(call, 'mappingName');
      const found = await read(call.app.table, rows.mapping(call.vaultId, fabric.fabricName, cloud.cloudId, name));
      if (found === undefined) throw notFound('container mapping', name);
      return ok(mappingToWire(call, found.value, fabric));
    },
  ),
  vaultOperationWithBody(
    'replicationProtectionContainerMappings.beginCreate',
    'PUT',
    `${containerPath}/replicationProtectionContainerMappings/{mappingName}`,
    {
      summary: 'Maps a cloud to a policy',
      request: 'CreateProtectionContainerMappingInput',
      response: 'ProtectionContainerMapping',
      longRunning: true,
      body: mappingBody,
    },
    putMapping,
  ),
];
