import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DevhostError, toError } from '../errors.js';

const localSettings = z.looseObject({
  IsEncrypted: z.boolean().default(false),
  Values: z.record(z.string(), z.string()).default({}),
});

const developmentStorage = 'UseDevelopmentStorage=true';
const developmentAccount =
  'DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;' +
  'AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;' +
  'BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;' +
  'TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;';

/** The settings of local.settings.json, as the Core Tools read them; none when there is no such file. */
export function readLocalSettings(appFolder: string): Record<string, string> {
  const file = join(appFolder, 'local.settings.json');
  if (!existsSync(file)) return {};
  try {
    const { IsEncrypted, Values } = localSettings.parse(JSON.parse(readFileSync(file, 'utf8')));
    if (IsEncrypted) throw new Error('encrypted settings are not supported; run "func settings decrypt"');
    return Values;
  } catch (error) {
    throw new DevhostError('badLocalSettings', `${file} cannot be used: ${toError(error).message}`, { cause: error });
  }
}

/** Sets what is not set yet: the environment wins over local.settings.json, as with the Core Tools. */
export function applySettings(settings: Record<string, string>, environment: NodeJS.ProcessEnv): void {
  for (const [name, value] of Object.entries(settings)) environment[name] ??= value;
}

export function storageConnectionString(environment: NodeJS.ProcessEnv): string {
  const setting = environment.AzureWebJobsStorage;
  if (setting === undefined || setting === '') {
    throw new DevhostError(
      'noStorage',
      'AzureWebJobsStorage is not set: set it to a connection string, or to UseDevelopmentStorage=true for Azurite',
    );
  }
  // The table client does not know the short form.
  return setting.trim() === developmentStorage ? developmentAccount : setting;
}
