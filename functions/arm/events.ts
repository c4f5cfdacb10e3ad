import type { Event } from '@azure/arm-recoveryservices-siterecovery';
import { Temporal } from 'temporal-polyfill';
import { levelChangedCode, type ReplicationEvent } from '../../core/domain/health/health-events.js';
import { list, read } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { azureContainer } from './container-mappings.js';
import { fabricArmId } from './fabrics.js';
import { instantOf, parseFilter, type FilterTerm } from './filter.js';
import { notFound, ok, param, vaultOperation, type VaultCall } from './operation.js';
import { answerPage } from './paging.js';
import type { Wire } from './wire.js';

/** The newest that a list looks at: a filter that fits few must not read the whole month. */
const eventsListedMax = 5000;
const eventsPerPage = 100;
const eventType = 'VmHealth';

const eventToWire = (call: VaultCall, event: ReplicationEvent): Wire<Event> => ({
  id: call.armId(`/replicationEvents/${event.eventName}`),
  name: event.eventName,
  type: 'Microsoft.RecoveryServices/vaults/replicationEvents',
  properties: {
    eventCode: event.code,
    description: event.description,
    eventType,
    affectedObjectFriendlyName: event.vmName,
    affectedObjectCorrelationId: event.itemId,
    severity: event.severity,
    timeOfOccurrence: event.at,
    fabricId: fabricArmId(call, event.fabricName),
    providerSpecificDetails: {
      instanceType: 'HyperVReplicaAzure',
      fabricName: event.fabricName,
      containerName: event.containerName,
      remoteContainerName: azureContainer,
    },
    healthErrors:
      event.code === levelChangedCode
        ? []
        : [
            {
              errorSource: 'Understudy',
              errorType: 'VirtualMachineHealth',
              errorLevel: event.severity === 'Critical' ? 'Error' : event.severity,
              errorCategory: 'Replication',
              errorCode: event.code,
              summaryMessage: event.description,
              errorMessage: event.message,
              possibleCauses: event.possibleCauses,
              recommendedAction: event.recommendedAction,
              creationTimeUtc: event.at,
              entityId: event.itemId,
            },
          ],
  },
});

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
      return same(eventType);
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
      summary: 'Changes of health, newest first: each reason that came or went, each change of the level',
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
