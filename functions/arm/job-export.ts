import { v7 as timeOrderedUuid } from 'uuid';
import { z } from 'zod';
import type { ExportJobDetails, JobQueryParameter } from '@azure/arm-recoveryservices-siterecovery';
import { jobKinds, type Job } from '../../core/domain/jobs/job.js';
import { list } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import type { App } from '../app.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { submitJob } from '../jobs/submit-job.js';
import { workflowNames, type RunOperationInput } from '../../core/domain/workflows/workflows.js';
import { lastSegment } from './arm-id.js';
import { jobArmId, jobToWire, keepsJob } from './job-wire.js';
import { accepted } from './long-running.js';
import type { VaultCall } from './operation.js';
import type { ShapeOf, Wire } from './wire.js';

const instant = z.iso.datetime({ offset: true }).nullish();
export const exportBody = z.object({
  startTime: instant,
  endTime: instant,
  fabricId: z.string().nullish(),
  affectedObjectTypes: z.string().nullish(),
  jobStatus: z.string().nullish(),
  jobName: z.string().nullish(),
  timezoneOffset: z.number().nullish(),
  /** ARM's words; `Excel` is a CSV file, which Excel opens. */
  jobOutputType: z.enum(['Json', 'Excel']).nullish(),
} satisfies ShapeOf<JobQueryParameter>);

type ExportBody = z.output<typeof exportBody>;

/** Files of exports lie below this in the first storage account; a timer deletes what is older than a day. */
export const jobExportPrefix = 'job-exports/';
/** As every SAS (docs/architecture.md, rule 14): the job gives a new one whenever it is read. */
const sasSeconds = 15 * 60;

/** Writes the file, then the job that names it: a job never names a file that is not there. */
export async function exportJobs(call: VaultCall, body: ExportBody): Promise<ApiResponse> {
  const terms = [
    ...term('startTime', body.startTime),
    ...term('endTime', body.endTime),
    ...term('jobStatus', body.jobStatus),
    ...term('jobName', body.jobName),
    ...term('affectedObjectTypes', body.affectedObjectTypes),
  ];
  const jobs = (await list(call.app.table, rows.jobs(call.vaultId))).map(({ value }) => value);
  const fits = isOfFabric(body.fabricId);
  const kept = jobs.filter((job) => fits(job) && terms.every((each) => keepsJob(job, each))).reverse();
  const isCsv = body.jobOutputType === 'Excel';
  const fileName = `${timeOrderedUuid()}.${isCsv ? 'csv' : 'json'}`;
  const text = isCsv
    ? toCsv(kept)
    : `${JSON.stringify(
        kept.map((job) => jobToWire(call, job)),
        undefined,
        2,
      )}\n`;
  await call.app.transfers.putOnce(await accountOf(call.app), `${jobExportPrefix}${fileName}`, Buffer.from(text));
  const job = await submitJob(call.app, {
    vaultId: call.vaultId,
    kind: jobKinds.exportJobs,
    orchestrator: workflowNames.runOperation,
    targetResourceId: (jobName) => jobArmId(call, jobName),
    targetObjectName: fileName,
    decide: async (jobName) => {
      const taskName = jobKinds.exportJobs.tasks[0].name;
      const input: RunOperationInput = { vaultId: call.vaultId, jobName, taskName };
      return { operations: [], input, details: { exported: { fileName } } };
    },
  });
  return accepted(call, job);
}

const term = (name: string, value: string | null | undefined) =>
  value ? [{ name, operator: 'eq' as const, value }] : [];

/** Jobs on something of the fabric; those of a plan or a policy are the vault's. */
function isOfFabric(fabricId: string | null | undefined): (job: Job) => boolean {
  if (!fabricId) return () => true;
  const below = `/replicationfabrics/${lastSegment(fabricId).toLowerCase()}/`;
  return ({ targetResourceId }) => `${targetResourceId.toLowerCase()}/`.includes(below);
}

async function accountOf(app: App): Promise<string> {
  const accounts = await app.cloudInventory.storageAccounts();
  const account = accounts.find(({ kind }) => kind === 'standard');
  if (account !== undefined) return account.armId;
  throw new ApiError({
    code: 'US1032',
    armCode: 'Conflict',
    httpStatus: 409,
    message: 'there is no standard storage account to write the export to',
    possibleCauses: 'Understudy knows no storage account, or premium ones only.',
    recommendedAction: 'Add a standard storage account to what Understudy may use.',
  });
}

/** The file's address, in ARM's two parts. */
export async function exportDetails(call: VaultCall, job: Job): Promise<Wire<ExportJobDetails> | undefined> {
  if (job.exported === undefined) return undefined;
  const blobName = `${jobExportPrefix}${job.exported.fileName}`;
  const { url } = await call.app.transfers.grantRead(await accountOf(call.app), blobName, sasSeconds);
  const [blobUri = '', sasToken = ''] = url.split('?');
  return { instanceType: 'ExportJobDetails', blobUri, sasToken };
}

const columns: readonly (readonly [string, (job: Job) => string])[] = [
  ['Name', ({ jobName }) => jobName],
  ['Job', ({ friendlyName }) => friendlyName],
  ['Item', ({ targetObjectName }) => targetObjectName],
  ['Status', ({ state }) => state],
  ['Start time', ({ startedAt, createdAt }) => startedAt ?? createdAt],
  ['End time', ({ endedAt }) => endedAt ?? ''],
  ['Errors', ({ errors }) => errors.map(({ code, message }) => `${code} ${message}`).join('; ')],
];

/** RFC 4180, CRLF, with a byte-order mark so that Excel reads it as UTF-8. A cell that a spreadsheet would take for a formula is a text. */
function toCsv(jobs: readonly Job[]): string {
  const cell = (text: string): string => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const lines = [columns.map(([title]) => title), ...jobs.map((job) => columns.map(([, of]) => of(job)))];
  return `\uFEFF${lines.map((cells) => cells.map(cell).join(',')).join('\r\n')}\r\n`;
}
