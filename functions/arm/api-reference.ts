import { relayOperations } from '../relay-api/relay-router.js';
import { operations } from './operations.js';
import type { Operation } from './operation.js';

/** docs/api.md, made from the operations table: `npm run docs` writes it, a test checks that it is current. */
export function apiReference(): string {
  const arm = operations.filter(({ path }) => !path.startsWith('/understudy/'));
  const own = operations.filter(({ path }) => path.startsWith('/understudy/'));
  return `${[
    '# HTTP API',
    'Made from the operations table (`functions/arm/operations.ts`) by `npm run docs`; do not edit.',
    '## Site Recovery, as Azure Resource Manager serves it',
    '`~` is `/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.RecoveryServices/vaults/{resourceName}`.\nPaths match in any case; every call carries `api-version`, any value. L marks long-running operations: they answer 202 with\n`Azure-AsyncOperation`, `Location` and `Retry-After`. Models are those of `@azure/arm-recoveryservices-siterecovery`.',
    table(arm),
    "`$filter` is a list of terms `name eq 'value'` joined by `and`; names match in any case, `''` is a quote inside a value.\nJobs: `jobStatus`, `jobName`, `startTime`, `endTime`, `affectedObjectTypes`. Protected items: `sourceFabricName`, `instanceType`,\n`friendlyName`, `replicationHealth`. Protectable items: `friendlyName`, `protectionStatus`. Events: `eventCode`, `severity`,\n`eventType`, `fabricName`, `affectedObjectFriendlyName`, `affectedObjectCorrelationId`, `startTime`, `endTime`.",
    'Events are kept for 30 days; a list looks at the newest 5000. `eventCode` is the code of the reason that came or went\n(docs/errors.md), or `VmHealth` where the level changed. `eventType` is `VmHealth`, `ServerHealth` (a relay fell silent, or is heard of again) or `JobFailure`.',
    'A `recoveryPointId` that is absent means Latest; `Latest`, `LatestProcessed` and `LatestApplicationConsistent` are taken in its place.\nScenario and task names of the jobs Resynchronize, DisableDr, ChangePit, SaveRecoveryPlan, RefreshProvider, ConfigurationCheck, ExportJobs, and of every job that edits or deletes a policy, mapping, setting or fabric, and task names of the jobs RegisterDra, IrCompletion, UnplannedFailover, CommitFailover and AssociateProtectionProfile are ours.\nA test failover’s operation ends when its VM is up; its job stays Suspended until the clean-up, which resuming or cancelling the job asks for too. Ended jobs are kept for 30 days. `remove` cleans the site too, DELETE leaves it alone; both leave a failover’s VM and its disks.',
    '## What ARM has no operation for',
    'No `api-version` is asked for. `GET /healthz` answers 200 without authentication.',
    table(own),
    'Resynchronization by `mode`: `window` (18:30 to 06:00 unless set otherwise) begins what is marked within the hours from\n`windowStart` to `windowEnd` in `timeZone` (of the item’s site where absent), and lets what runs at the end run on; `immediate` begins it\nat once; `manual` never. At most `atOnceMax` run at a time, worst RPO first; an operator’s own request is begun beside them.',
    '## Relay API',
    "Bodies and answers: `core/domain/relay-protocol/wire.ts`. `POST /relay/v1/register` proves itself by its registration key; every\nother call is signed with the relay's Ed25519 key in the headers `x-understudy-relay`, `x-understudy-date`, `x-understudy-nonce`\nand `x-understudy-signature`.",
    [
      '| method | path | what it does |',
      '|---|---|---|',
      '| POST | /relay/v1/register | Binds a relay’s public key to a vault |',
      ...relayOperations.map(({ method, path, summary }) => `| ${method} | /relay/v1${path} | ${summary} |`),
    ].join('\n'),
  ].join('\n\n')}\n`;
}

function table(rows: readonly Operation[]): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|');
  return [
    '| operation | method | path | L | role | query | request | answer | what it does |',
    '|---|---|---|---|---|---|---|---|---|',
    ...rows.map((row) =>
      [
        '',
        row.name,
        row.method,
        row.path,
        row.longRunning ? 'L' : '',
        row.role,
        (row.query ?? []).join(', '),
        row.request ?? '',
        row.response ?? '',
        row.summary,
        '',
      ]
        .map((text, index, all) => (index === 0 || index === all.length - 1 ? text : ` ${cell(text)} `))
        .join('|'),
    ),
  ].join('\n');
}
