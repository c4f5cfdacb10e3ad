import { Agent, request } from 'node:http';
import { z } from 'zod';
import { UnderstudyError } from '../../core/domain/errors.js';
import { siteErrorBody, siteOperations, type SiteOperation, type SiteRequest, type SiteResponse } from './api.js';
import { siteUnreachable } from './errors.js';
import { readRunFile, type RunFile } from './run-file.js';

/**
 * Hundreds of VMs may be asked about at once: the calls of the others wait for a socket. An idle socket is given up well
 * before the server gives it up, so that no call meets one that is just being closed.
 */
const agent = new Agent({ keepAlive: true, scheduling: 'lifo', timeout: 5000, maxSockets: 64 });

/** Calls of the site process. run.json is read for each call: the port and token change when the site starts again. */
export class SiteConnection {
  constructor(private readonly siteFolder: string) {}

  async call<Name extends SiteOperation>(
    name: Name,
    body: SiteRequest<Name>,
    signal?: AbortSignal,
  ): Promise<SiteResponse<Name>> {
    const run = await readRunFile(this.siteFolder);
    if (run === undefined) throw siteUnreachable(this.siteFolder);
    const { status, text } = await post(run, name, JSON.stringify(body), signal).catch((error: unknown) => {
      throw signal?.aborted === true ? error : siteUnreachable(this.siteFolder, error);
    });
    if (status === 200) {
      // The schema of this very name: its output is this name's response, which TypeScript does not follow.
      return siteOperations[name].response.parse(JSON.parse(text)) as SiteResponse<Name>;
    }
    throw failureOf(status, text);
  }
}

function failureOf(status: number, text: string): UnderstudyError {
  const { error } = siteErrorBody.parse(JSON.parse(text));
  return new UnderstudyError({ ...error, httpStatus: status });
}

/** Not fetch: a merge or a first copy may take longer than its fixed time for the first byte of an answer. */
function post(
  run: RunFile,
  name: string,
  body: string,
  signal: AbortSignal | undefined,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port: run.port,
        path: `/v1/${name}`,
        method: 'POST',
        agent,
        headers: {
          authorization: `Bearer ${run.token}`,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
        ...(signal && { signal }),
      },
      (response) => {
        const pieces: Buffer[] = [];
        response.on('data', (piece: Buffer) => pieces.push(piece));
        response.on('error', reject);
        response.on('end', () => {
          if (!response.complete) reject(new Error('the answer broke off'));
          else resolve({ status: z.number().parse(response.statusCode), text: Buffer.concat(pieces).toString('utf8') });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
