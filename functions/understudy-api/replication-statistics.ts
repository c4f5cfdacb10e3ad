import { lastContactAt } from '../../core/domain/health/contact.js';
import { rpoSeconds } from '../../core/domain/health/rpo.js';
import { summarize } from '../../core/domain/health/statistics.js';
import { healthOf, surroundingsOfItem, timingOf } from '../../core/records/item-surroundings.js';
import { ok, operation } from '../arm/operation.js';
import { itemOfQuery } from './item-reference.js';

const toTenths = (value: number): number => Math.round(value * 10) / 10;

export const replicationStatisticsOperations = [
  operation(
    'understudy.replicationStatistics.get',
    'GET',
    '/understudy/v1/replicationStatistics',
    {
      summary: 'How a VM was replicated in the monitoring interval, and its health with all reasons',
      query: ['itemId'],
      response:
        '{ vmName, health, reasons, rpoSeconds, paused, lastSendAt, lastHeartbeatAt, backlogBytes, monitoringInterval: { from, to },' +
        ' cycles: { succeeded, missed, total, missedPercent }, cycleBytes: { average, largest },' +
        ' latencySeconds: { average, largest }, freezeFailureCount, resynchronization? }',
    },
    async (call) => {
      const { vaultId, stored } = await itemOfQuery(call);
      const item = stored.value;
      const [surroundings, now] = await Promise.all([
        surroundingsOfItem(call.app.table, vaultId, item),
        call.app.clock.now(),
      ]);
      const health = healthOf(item, surroundings, now);
      const summary = summarize(item, timingOf(surroundings), now);
      const { paused, receivedAt, backlogBytes, resync, resyncProgress } = item.replication;
      return ok({
        itemId: call.query.get('itemId'),
        vmName: item.vmName,
        health: health.level,
        reasons: health.reasons,
        rpoSeconds: rpoSeconds(item, now),
        paused,
        lastSendAt: receivedAt,
        lastHeartbeatAt: lastContactAt(item, surroundings.fabric?.lastHeartbeatAt),
        backlogBytes,
        monitoringInterval: { from: summary.from, to: summary.to },
        cycles: {
          succeeded: summary.receivedCount,
          missed: summary.missedCount,
          total: summary.receivedCount + summary.missedCount,
          missedPercent: toTenths(100 * summary.missedShare),
        },
        cycleBytes: { average: summary.averageBytes, largest: summary.largestBytes },
        latencySeconds: {
          average: toTenths(summary.averageLatencySeconds),
          largest: toTenths(summary.largestLatencySeconds),
        },
        freezeFailureCount: summary.freezeFailureCount,
        resynchronization:
          resync === undefined
            ? undefined
            : { jobName: resync.jobName, cause: resync.cause, startedAt: resync.startedAt, ...resyncProgress },
      });
    },
  ),
];
