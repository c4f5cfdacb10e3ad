import type { JobName } from '../../core/domain/ids.js';
import type { Job } from '../../core/domain/jobs/job.js';

export const sampleJob = (jobName: JobName, createdAt: string): Job => ({
  jobName,
  scenarioName: 'TestFailover',
  friendlyName: 'Test failover',
  state: 'InProgress',
  tasks: [],
  errors: [],
  createdAt,
  targetResourceId: '',
  targetObjectName: '',
  intent: { orchestrator: 'testFailover', input: {} },
});
