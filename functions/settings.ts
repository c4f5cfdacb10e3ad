import { z } from 'zod';
import { UnderstudyError } from '../core/domain/errors.js';
import type { SmtpServer } from '../providers/smtp/mailer.js';
import type { EntraDirectory } from '../providers/entra/token-verifier.js';

/** local.settings.json.example has a place for each, and docs/settings.md a sentence. */
export const settingsSchema = z.object({
  AzureWebJobsStorage: z.string().min(1, { error: 'the connection string of the storage account for state' }),
  /** `none` is for loopback only; anything else asks for bearer tokens. */
  UNDERSTUDY_AUTH: z.enum(['none', 'entra']).default('entra'),
  /** Set by devhost when it listens on loopback. */
  UNDERSTUDY_BOUND_TO: z.enum(['loopback']).optional(),
  UNDERSTUDY_CLOCK_URL: z.url({ protocol: /^http$/, hostname: /^(127\.0\.0\.1|localhost|\[::1\])$/ }).optional(),
  UNDERSTUDY_AZURE_INVENTORY: z.string().min(1),
  /** Where a failover's virtual machines run: as records on this machine, or in Azure. */
  UNDERSTUDY_COMPUTE: z.enum(['local', 'azure']).default('local'),
  /** Present on every instance in Azure. */
  WEBSITE_INSTANCE_ID: z.string().optional(),
  APPLICATIONINSIGHTS_CONNECTION_STRING: z.string().min(1).optional(),
  UNDERSTUDY_SMTP_URL: z.url({ protocol: /^smtps?$/ }).optional(),
  UNDERSTUDY_MAIL_FROM: z.email().optional(),
  UNDERSTUDY_ENTRA_TENANT: z
    .guid()
    .transform((text) => text.toLowerCase())
    .optional(),
  /** Several by commas. */
  UNDERSTUDY_ENTRA_AUDIENCE: z.string().min(1).optional(),
  UNDERSTUDY_ENTRA_AUTHORITY: z
    .url({ protocol: /^https?$/ })
    .transform((text) => text.replace(/\/+$/, ''))
    .default('https://login.microsoftonline.com'),
});

export interface Settings {
  storageConnectionString: string;
  authentication: 'loopback' | 'entra';
  /** Absent is system time. */
  clockUrl?: string;
  azureInventoryPath: string;
  compute: 'local' | 'azure';
  telemetryConnectionString?: string;
  /** Whose bearer tokens are taken; absent with `entra`: nobody's. */
  entra?: EntraDirectory;
  /** Where alerts are handed to; absent: none are mailed. */
  smtp?: SmtpServer;
}

function refuse(message: string, possibleCauses: string, recommendedAction: string): never {
  throw new UnderstudyError({ code: 'US1000', message: `US1000 ${message}`, possibleCauses, recommendedAction });
}

/** Reads the app settings; refuses to go on where one is missing or wrong, or where they would leave the app open. */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  // An app setting that was emptied counts as absent.
  const given = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''),
  );
  const parsed = settingsSchema.safeParse(given);
  if (!parsed.success) {
    // Names and rules only: a value may be a secret.
    const wrong = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    return refuse(
      `the app settings cannot be used: ${wrong.join('; ')}`,
      'A setting is missing or misspelt.',
      'Correct the named settings; docs/settings.md has them all.',
    );
  }
  const settings = parsed.data;
  const inAzure = settings.WEBSITE_INSTANCE_ID !== undefined;
  if (settings.UNDERSTUDY_AUTH === 'none' && (settings.UNDERSTUDY_BOUND_TO !== 'loopback' || inAzure)) {
    return refuse(
      `UNDERSTUDY_AUTH is "none", but ${inAzure ? 'this is an instance in Azure (WEBSITE_INSTANCE_ID is set)' : 'the host is not bound to loopback (UNDERSTUDY_BOUND_TO)'}`,
      'Settings of a laptop were copied to a server.',
      'Remove UNDERSTUDY_AUTH; without authentication Understudy runs on loopback only.',
    );
  }
  if (settings.UNDERSTUDY_CLOCK_URL !== undefined && inAzure) {
    return refuse(
      'UNDERSTUDY_CLOCK_URL is set on an instance in Azure',
      'Settings of a laptop were copied to a server.',
      'Remove UNDERSTUDY_CLOCK_URL: in Azure business time is system time.',
    );
  }
  const { UNDERSTUDY_ENTRA_TENANT: tenantId, UNDERSTUDY_ENTRA_AUDIENCE: audience } = settings;
  const authority = settings.UNDERSTUDY_ENTRA_AUTHORITY;
  if (authority.startsWith('http:') && settings.UNDERSTUDY_BOUND_TO !== 'loopback') {
    return refuse(
      'UNDERSTUDY_ENTRA_AUTHORITY is not https',
      'Settings of a test were copied to a server.',
      'Name the directory by https: its keys decide who may call.',
    );
  }
  const { UNDERSTUDY_SMTP_URL: smtpUrl, UNDERSTUDY_MAIL_FROM: mailFrom } = settings;
  if ((smtpUrl === undefined) !== (mailFrom === undefined)) {
    return refuse(
      'of UNDERSTUDY_SMTP_URL and UNDERSTUDY_MAIL_FROM one is missing',
      'One of the two was forgotten.',
      'Set both: the mail server, and the address that alerts come from.',
    );
  }
  if ((tenantId === undefined) !== (audience === undefined)) {
    return refuse(
      'of UNDERSTUDY_ENTRA_TENANT and UNDERSTUDY_ENTRA_AUDIENCE one is missing',
      'One of the two was forgotten.',
      'Set both: the tenant’s id, and the ids by which tokens name this app (docs/identity.md).',
    );
  }
  return {
    ...(tenantId !== undefined && audience !== undefined
      ? { entra: { tenantId, audiences: audience.split(',').map((text) => text.trim()), authority } }
      : {}),
    ...(smtpUrl !== undefined && mailFrom !== undefined ? { smtp: { url: smtpUrl, from: mailFrom } } : {}),
    storageConnectionString: settings.AzureWebJobsStorage,
    authentication: settings.UNDERSTUDY_AUTH === 'none' ? 'loopback' : 'entra',
    azureInventoryPath: settings.UNDERSTUDY_AZURE_INVENTORY,
    compute: settings.UNDERSTUDY_COMPUTE,
    ...(settings.UNDERSTUDY_CLOCK_URL === undefined ? {} : { clockUrl: settings.UNDERSTUDY_CLOCK_URL }),
    ...(settings.APPLICATIONINSIGHTS_CONNECTION_STRING === undefined
      ? {}
      : { telemetryConnectionString: settings.APPLICATIONINSIGHTS_CONNECTION_STRING }),
  };
}
