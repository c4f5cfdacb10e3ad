import { z } from 'zod';
import {
  defaultReplicationSettings,
  isTimeZone,
  resyncModes,
  resyncsAtOnceMax,
  type ReplicationSettings,
} from '../../core/domain/policy/replication-settings.js';
import { decideAndCommit, upsert } from '../../core/records/access.js';
import { settingsOf } from '../../core/records/item-surroundings.js';
import { rows } from '../../core/records/rows.js';
import { ok, operation, operationWithBody, vaultOf, whileVaultStands } from '../arm/operation.js';
import { vaultIdOfQuery } from './item-reference.js';

const timeOfDay = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'a time of day, HH:MM');
const { resync, rpoThresholdSeconds } = defaultReplicationSettings;

/** What is left out has its default, so that a PUT always says the whole. */
const settingsBody = z.strictObject({
  resync: z
    .strictObject({
      mode: z.enum(resyncModes).default(resync.mode),
      windowStart: timeOfDay.default(resync.windowStart),
      windowEnd: timeOfDay.default(resync.windowEnd),
      timeZone: z.string().refine(isTimeZone, { error: 'an IANA time zone, such as Europe/Berlin' }).optional(),
      atOnceMax: z.number().int().min(1).max(resyncsAtOnceMax).default(resync.atOnceMax),
    })
    .refine(({ windowStart, windowEnd }) => windowStart !== windowEnd, {
      path: ['windowEnd'],
      error: 'another time than windowStart; for the whole day set mode to immediate',
    })
    .prefault({}),
  rpoThresholdSeconds: z
    .number()
    .int()
    .min(60)
    .max(7 * 24 * 3600)
    .default(rpoThresholdSeconds),
});

const path = '/understudy/v1/replicationSettings';
const shape = '{ resync: { mode, windowStart, windowEnd, timeZone?, atOnceMax }, rpoThresholdSeconds }';

function settingsFrom({ resync: { timeZone, ...rest }, ...body }: z.output<typeof settingsBody>): ReplicationSettings {
  return { ...body, resync: timeZone === undefined ? rest : { ...rest, timeZone } };
}

export const replicationSettingsOperations = [
  operation(
    'understudy.replicationSettings.get',
    'GET',
    path,
    {
      summary: 'When items are resynchronized, and from which RPO on they are reported',
      query: ['vaultId'],
      response: shape,
    },
    async (call) => {
      const { vaultId } = await vaultOf(call, vaultIdOfQuery(call));
      return ok(await settingsOf(call.app.table, vaultId));
    },
  ),
  operationWithBody(
    'understudy.replicationSettings.update',
    'PUT',
    path,
    {
      summary: 'Replaces the settings; what is left out has its default',
      query: ['vaultId'],
      request: shape,
      response: shape,
      body: settingsBody,
    },
    async (call, body) => {
      const { vaultId } = await vaultOf(call, vaultIdOfQuery(call));
      const ref = rows.settings(vaultId);
      const settings = settingsFrom(body);
      await decideAndCommit(call.app.table, ref.partition, async () => ({
        operations: [upsert(ref, settings), await whileVaultStands(call.app.table, vaultId)],
        result: undefined,
      }));
      return ok(settings);
    },
  ),
];
