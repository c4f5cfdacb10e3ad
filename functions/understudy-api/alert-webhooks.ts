import { z } from 'zod';
import type { AlertSettings } from '../../core/domain/alerts/alert-settings.js';
import { shownAddress } from '../../core/domain/recovery-plan/webhook-address.js';
import { alertSettingsOf, changeAlertSettings } from '../arm/alert-settings.js';
import { ok, operation, operationWithBody } from '../arm/operation.js';
import { ApiError } from '../http/api-error.js';
import { vaultIdOfQuery, vaultOf } from './item-reference.js';

const webhooksMax = 5;
const body = z.strictObject({ urls: z.array(z.url()).max(webhooksMax) });

const path = '/understudy/v1/alertWebhooks';
const shape = '{ urls }';

/** Without their queries, which let a caller in. */
const shown = ({ webhookUrls }: AlertSettings) => ok({ urls: webhookUrls.map(shownAddress) });

/** ARM's alert settings know mail only. */
export const alertWebhookOperations = [
  operation(
    'understudy.alertWebhooks.get',
    'GET',
    path,
    { summary: 'Where alerts are posted to as JSON; queries are left out', query: ['vaultId'], response: shape },
    async (call) => shown(await alertSettingsOf(call.app.table, (await vaultOf(call, vaultIdOfQuery(call))).vaultId)),
  ),
  operationWithBody(
    'understudy.alertWebhooks.update',
    'PUT',
    path,
    {
      summary: 'Replaces the addresses that alerts are posted to',
      query: ['vaultId'],
      request: shape,
      response: shape,
      body,
    },
    async (call, { urls }) => {
      const { vaultId } = await vaultOf(call, vaultIdOfQuery(call));
      for (const [index, url] of urls.entries()) {
        const fault = call.app.webhooks.faultOf(url);
        if (fault === undefined) continue;
        throw new ApiError({
          code: 'US1005',
          armCode: 'InvalidParameter',
          httpStatus: 400,
          target: `$.urls[${index}]`,
          message: `$.urls[${index}] is not called: ${fault}`,
          recommendedAction: 'Give an https address.',
        });
      }
      return shown(await changeAlertSettings(call.app.table, vaultId, { webhookUrls: urls }));
    },
  ),
];
