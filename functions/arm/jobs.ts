import { list } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { parseFilter } from './filter.js';
import { exportDetails } from './job-export.js';
import { jobFilterNames, jobToWire, keepsJob } from './job-wire.js';
import { jobOf } from './long-running.js';
import { ok, param, vaultOperation } from './operation.js';
import { answerPage } from './paging.js';

export const jobOperations = [
  vaultOperation(
    'replicationJobs.list',
    'GET',
    '~/replicationJobs',
    {
      summary: 'Jobs of the vault, newest first',
      response: 'JobCollection',
      query: ['$filter', '$take', '$skipToken'],
    },
    async (call) => {
      const terms = parseFilter(call.query.get('$filter'), jobFilterNames);
      const jobs = await list(call.app.table, rows.jobs(call.vaultId));
      const kept = jobs.map(({ value }) => value).filter((job) => terms.every((term) => keepsJob(job, term)));
      return answerPage(call, {
        sorted: kept.reverse(),
        keyOf: ({ jobName }) => jobName,
        descending: true,
        toWire: (job) => jobToWire(call, job),
      });
    },
  ),
  vaultOperation(
    'replicationJobs.get',
    'GET',
    '~/replicationJobs/{jobName}',
    { summary: 'One job', response: 'Job' },
    async (call) => {
      const job = await jobOf(call, param(call, 'jobName'));
      const wire = jobToWire(call, job);
      const customDetails = (await exportDetails(call, job)) ?? wire.properties?.customDetails;
      return ok({ ...wire, properties: { ...wire.properties, customDetails } });
    },
  ),
];
