import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { Pipeline, newPipeline, type RequestPolicyFactory } from '@azure/storage-blob';
import type { PipelinePolicy } from '@azure/core-rest-pipeline';
import { shortRetries } from './short-retries.js';

/** Sockets to one storage endpoint from this process: more would not be faster, and each holds buffers. */
export const socketsMax = 64;
/** A call with its body and all its tries is given up then: 4 MiB take this long at 35 KB/s. */
const callTimeoutMs = 120_000;

const agentOptions = { keepAlive: true, maxSockets: socketsMax, maxFreeSockets: 16 };
const agents = { http: new HttpAgent(agentOptions), https: new HttpsAgent(agentOptions) };

const agentFor = (url: string): HttpAgent => (url.startsWith('https:') ? agents.https : agents.http);

/**
 * Not the SDK's own timeout: it leaves its timer running when a request fails, which keeps a process alive, and it ends
 * before the body does.
 */
function withTimeout(signal: unknown): AbortSignal {
  const timeout = AbortSignal.timeout(callTimeoutMs);
  return signal instanceof AbortSignal ? AbortSignal.any([signal, timeout]) : timeout;
}

/** For the table client. */
export const connectionPolicy: PipelinePolicy = {
  name: 'understudyConnections',
  sendRequest(request, next) {
    request.agent = agentFor(request.url);
    request.abortSignal = withTimeout(request.abortSignal);
    return next(request);
  },
};

/** For blob clients, which take policies of the older shape. */
const connectionPolicyFactory: RequestPolicyFactory = {
  create: (nextPolicy) => ({
    sendRequest(request) {
      request.agent = agentFor(request.url);
      request.abortSignal = withTimeout(request.abortSignal);
      return nextPolicy.sendRequest(request);
    },
  }),
};

export function blobPipeline(credential?: Parameters<typeof newPipeline>[0]): Pipeline {
  const pipeline = newPipeline(credential, { retryOptions: { maxTries: 1 } });
  // The first is the outermost: its time is that of all tries.
  pipeline.factories.push(connectionPolicyFactory, shortRetries());
  return pipeline;
}
