import { z } from 'zod';
import type { AlertSettings } from '../../core/domain/alerts/alert-settings.js';
import { alertSettingsOf, changeAlertSettings } from '../arm/alert-settings.js';
import { ok, operation, operationWithBody, vaultOf } from '../arm/operation.js';
import { ApiError } from '../http/api-error.js';
import { maskedAddress, unmaskedAddress } from '../webhook-address.js';
import { vaultIdOfQuery } from './item-reference.js';

const webhooksMax = 5;
/** Each batch of alerts names its addresses, and all batches are one row. */
const urlMaxChars = 2048;
const body = z.strictObject({ urls: z.array(z.url().max(urlMaxChars)).max(webhooksMax) });

const path = '/understudy/v1/alertWebhooks';
const shape = '{ urls }';

const shown = ({ webhookUrls }: AlertSettings) => ok({ urls: webhookUrls.map(maskedAddress) });

/** ARM's alert settings know mail only. */
export const alertWebhookOperations = [
  operation(
    'understudy.alertWebhooks.get',
    'GET',
    path,
    { summary: 'Where alerts are posted to as JSON; path and query are masked', query: ['vaultId'], response: shape },
    async (call) => shown(await alertSettingsOf(call.app.table, (await vaultOf(call, vaultIdOfQuery(call))).vaultId)),
  ),
  operationWithBody(
    'understudy.alertWebhooks.update',
    'PUT',
    path,
    {
      summary: 'Replaces the addresses that alerts are posted to; a masked one keeps what is stored',
      query: ['vaultId'],
      request: shape,
      response: shape,
      body,
    },
    async (call, { urls }) => {
      const { vaultId } = await vaultOf(call, vaultIdOfQuery(call));
      const settings = await changeAlertSettings(call.app.table, vaultId, ({ webhookUrls }) => ({
        webhookUrls: urls.map((url, index) => {
          const address = unmaskedAddress(url, webhookUrls);
          if (address === undefined) throw notCalled(index, 'it is masked, and stands for no address of this vault');
          const fault = call.app.webhooks.faultOf(address);
          if (fault !== undefined) throw notCalled(index, fault);
          return address;
        }),
      }));
      return shown(settings);
    },
  ),
];

const notCalled = (index: number, fault: string): ApiError =>
  new ApiError({
    code: 'US1005',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target: `$.urls[${index}]`,
    message: `$.urls[${index}] is not called: ${fault}`,
    recommendedAction: 'Give the whole https address.',
  });
