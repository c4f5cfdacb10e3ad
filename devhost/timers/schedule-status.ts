import { BlobServiceClient, RestError } from '@azure/storage-blob';
import type { ContainerClient } from '@azure/storage-blob';
import { z } from 'zod';

/** Where a timer stands, in milliseconds of business time; kept in storage so that a missed run is noticed. */
export interface ScheduleStatus {
  /** The occurrence that ran last. */
  lastMs: number | undefined;
  nextMs: number;
  lastUpdatedMs: number;
}

export interface ScheduleStatusStore {
  read(functionName: string): Promise<ScheduleStatus | undefined>;
  write(functionName: string, status: ScheduleStatus): Promise<void>;
}

const storedSchema = z.object({
  Last: z.iso.datetime({ offset: true }).nullable(),
  Next: z.iso.datetime({ offset: true }),
  LastUpdated: z.iso.datetime({ offset: true }),
});
const containerName = 'azure-webjobs-hosts';

/** A blob a function, as the real host keeps it. */
export class BlobScheduleStatusStore implements ScheduleStatusStore {
  readonly #container: ContainerClient;
  readonly #folder: string;

  constructor(connectionString: string, hubName: string) {
    this.#container = BlobServiceClient.fromConnectionString(connectionString).getContainerClient(containerName);
    this.#folder = `timers/${hubName.toLowerCase()}`;
  }

  async read(functionName: string): Promise<ScheduleStatus | undefined> {
    try {
      const { Last, Next, LastUpdated } = storedSchema.parse(
        JSON.parse((await this.#blob(functionName).downloadToBuffer()).toString()),
      );
      return {
        lastMs: Last === null ? undefined : Date.parse(Last),
        nextMs: Date.parse(Next),
        lastUpdatedMs: Date.parse(LastUpdated),
      };
    } catch (error) {
      if (error instanceof RestError && error.statusCode === 404) return undefined;
      throw error;
    }
  }

  async write(functionName: string, { lastMs, nextMs, lastUpdatedMs }: ScheduleStatus): Promise<void> {
    const iso = (ms: number) => new Date(ms).toISOString();
    const text = JSON.stringify({
      Last: lastMs === undefined ? null : iso(lastMs),
      Next: iso(nextMs),
      LastUpdated: iso(lastUpdatedMs),
    });
    await this.#blob(functionName).upload(text, Buffer.byteLength(text));
  }

  #blob(functionName: string) {
    return this.#container.getBlockBlobClient(`${this.#folder}/${functionName.toLowerCase()}/status`);
  }
}
