import type {
  HyperVReplicaAzureTestFailoverInput,
  TestFailoverCleanupInputProperties,
  TestFailoverInputProperties,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { withNewTest, withTest } from '../../core/domain/failover/test-failover.js';
import { jobKinds } from '../../core/domain/jobs/job.js';
import {
  workflowNames,
  type TestFailoverCleanUpInput,
  type TestFailoverInput,
} from '../../core/domain/workflows/workflows.js';
import { choiceOf, keys, osUpgradeVersion } from './failover-actions.js';
import { badReference } from './cloud-resources.js';
import { act } from './item-operation.js';
import { vaultOperationWithBody } from './operation.js';
import { itemPath } from './protected-items.js';
import { readyPoints } from './recovery-points.js';
import type { ShapeOf } from './wire.js';

const testBody = z.object({
  properties: z.object({
    failoverDirection: z.literal('PrimaryToRecovery').nullish(),
    networkType: z.enum(['VmNetworkAsInput', 'NoNetworkAttachAsInput']).nullish(),
    networkId: z.string().startsWith('/subscriptions/').nullish(),
    providerSpecificDetails: z
      .object({
        instanceType: z.literal('HyperVReplicaAzure'),
        recoveryPointId: z.string().nullish(),
        osUpgradeVersion,
        ...keys,
      } satisfies ShapeOf<HyperVReplicaAzureTestFailoverInput>)
      .nullish(),
  } satisfies ShapeOf<TestFailoverInputProperties>),
});

/** Comments go with the test's job into the record of drills. */
const cleanUpBody = z.object({
  properties: z.object({
    comments: z.string().max(4096).nullish(),
  } satisfies ShapeOf<TestFailoverCleanupInputProperties>),
});

function networkOf({ networkType, networkId }: z.output<typeof testBody>['properties']): string | undefined {
  if (networkType === 'NoNetworkAttachAsInput') return undefined;
  if (networkId) return networkId;
  if (networkType !== 'VmNetworkAsInput') return undefined;
  throw badReference('$.properties.networkId', 'network', '', 'Name the virtual network that the test VM goes to.');
}

export const testFailoverActions = [
  vaultOperationWithBody(
    'replicationProtectedItems.beginTestFailover',
    'POST',
    `${itemPath}/testFailover`,
    {
      summary: 'Runs a copy of a recovery point in a chosen network, beside replication',
      request: 'TestFailoverInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
      body: testBody,
    },
    (call, { properties }) => {
      const networkId = networkOf(properties);
      return act(call, {
        operation: 'TestFailover',
        kind: jobKinds.testFailover,
        orchestrator: workflowNames.testFailover,
        input: async (base, item): Promise<TestFailoverInput> => {
          const points = (await readyPoints(call, item.value)).map(({ value }) => value);
          const recoveryPoint = choiceOf(properties.providerSpecificDetails?.recoveryPointId, points);
          return { ...base, recoveryPoint, ...(networkId === undefined ? {} : { networkId }) };
        },
        begin: (item, jobName, startedAt) => withNewTest(item, jobName, startedAt, networkId),
      });
    },
  ),
  vaultOperationWithBody(
    'replicationProtectedItems.beginTestFailoverCleanup',
    'POST',
    `${itemPath}/testFailoverCleanup`,
    {
      summary: 'Deletes the test VM; with that the test failover has succeeded',
      request: 'TestFailoverCleanupInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
      body: cleanUpBody,
    },
    (call, { properties }) =>
      act(call, {
        operation: 'TestFailoverCleanup',
        kind: jobKinds.testFailoverCleanUp,
        orchestrator: workflowNames.testFailoverCleanUp,
        input: async (base): Promise<TestFailoverCleanUpInput> => ({ ...base, comments: properties.comments ?? '' }),
        begin: (item, cleanUpJobName) => withTest(item, { state: 'cleaningUp', cleanUpJobName }),
      }),
  ),
];
