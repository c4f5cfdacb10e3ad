import type { Event, HealthError, JobStatusEventDetails } from '@azure/arm-recoveryservices-siterecovery';
import { Temporal } from 'temporal-polyfill';
import { levelChangedCode, type ReplicationEvent } from '../../core/domain/health/health-events.js';
import { list, read } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { azureContainer } from './container-mappings.js';
import { fabricArmId } from './fabrics.js';
import { instantOf, parseFilter, type FilterTerm } from './filter.js';
import { notFound, ok, param, vaultOperation, type VaultCall } from './operation.js';
import { healthErrorToWire } from './health-error.js';
import { jobArmId } from './job-wire.js';
import { answerPage } from './paging.js';
import type { Wire } from './wire.js';

/** The newest that a list looks at: a filter that fits few must not read the whole month. */
const eventsListedMax = 5000;
const eventsPerPage = 100;
const typeOf = ({ eventType }: ReplicationEvent): string => eventType ?? 'VmHealth';

/** A job’s failure and a change of the level are told by what the event itself says. */
const errorsOf = (event: ReplicationEvent): Wire<HealthError>[] =>
  event.code === levelChangedCode || event.kind === 'cleared'
    ? []
    : [
        healthErrorToWire(
          { ...event, level: event.severity, summary: event.description },
          event.eventType === 'ServerHealth'
            ? { entityId: event.itemId, errorType: 'ServerHealth', errorCategory: 'FabricInfrastructure' }
            : { entityId: event.itemId, errorType: event.eventType ?? 'VirtualMachineHealth' },
        ),
      ];

const eventToWire = (call: VaultCall, event: ReplicationEvent): Wire<Event> => {
  const job: Wire<JobStatusEventDetails> | undefined = event.job && {
    instanceType: 'JobStatus',
    jobId: jobArmId(call, event.job.jobName),
    jobFriendlyName: event.job.friendlyName,
    jobStatus: 'Failed',
  };
  return {
    id: call.armId(`/replicationEvents/${event.eventName}`),
    name: event.eventName,
    type: 'Microsoft.RecoveryServices/vaults/replicationEvents',
    properties: {
      eventCode: event.code,
      description: event.description,
      eventType: typeOf(event),
      affectedObjectFriendlyName: event.vmName,
      affectedObjectCorrelationId: event.itemId,
      severity: event.severity,
      timeOfOccurrence: event.at,
      ...(event.fabricName === '' ? {} : { fabricId: fabricArmId(call, event.fabricName) }),
      providerSpecificDetails: {
        instanceType: 'HyperVReplicaAzure',
        fabricName: event.fabricName,
        containerName: event.containerName,
        remoteContainerName: azureContainer,
      },
      ...(job && { eventSpecificDetails: job }),
      healthErrors: errorsOf(event),
    },
  };
};

const filterNames = [
  'eventCode',
  'severity',
  'eventType',
  'fabricName',
  'affectedObjectFriendlyName',
  'affectedObjectCorrelationId',
  'startTime',
  'endTime',
] as const;

/** `startTime` and `endTime` bound the event's time, with `eq` too, as for jobs. */
function keeps(event: ReplicationEvent, term: FilterTerm): boolean {
  const at = Temporal.Instant.from(event.at);
  const same = (left: string): boolean => left.toLowerCase() === term.value.toLowerCase();
  switch (term.name as (typeof filterNames)[number]) {
    case 'eventCode':
      return same(event.code);
    case 'severity':
      return same(event.severity);
    case 'eventType':
      return same(typeOf(event));
    case 'fabricName':
      return same(event.fabricName);
    case 'affectedObjectFriendlyName':
      return same(event.vmName);
    case 'affectedObjectCorrelationId':
      return same(event.itemId);
    case 'startTime':
      return Temporal.Instant.compare(at, instantOf(term)) >= 0;
    case 'endTime':
      return Temporal.Instant.compare(at, instantOf(term)) <= 0;
  }
}

export const eventOperations = [
  vaultOperation(
    'replicationEvents.list',
    'GET',
    '~/replicationEvents',
    {
      summary:
        'What happened, newest first: reasons of health that came or went, changes of the level, silent relays, failed jobs',
      response: 'EventCollection',
      query: ['$filter', '$take', '$skipToken'],
    },
    async (call) => {
      const terms = parseFilter(call.query.get('$filter'), filterNames);
      const events = (await list(call.app.table, rows.events(call.vaultId), eventsListedMax)).map(({ value }) => value);
      return answerPage(call, {
        sorted: events.filter((event) => terms.every((term) => keeps(event, term))),
        keyOf: ({ eventName }) => eventName,
        pageItems: eventsPerPage,
        toWire: (event) => eventToWire(call, event),
      });
    },
  ),
  vaultOperation(
    'replicationEvents.get',
    'GET',
    '~/replicationEvents/{eventName}',
    { summary: 'One event', response: 'Event' },
    async (call) => {
      const name = param(call, 'eventName');
      const event = await read(call.app.table, rows.event(call.vaultId, name));
      if (event === undefined) throw notFound('event', name, 'Events are kept for 30 days; list those that are there.');
      return ok(eventToWire(call, event.value));
    },
  ),
];
