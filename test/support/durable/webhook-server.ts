import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DurableEngine } from '../../../devhost/contract.js';

/** Serves an engine's webhooks on a free port of 127.0.0.1. */
export async function serveWebhooks(engine: () => DurableEngine): Promise<{ origin: string; close(): Promise<void> }> {
  const server: Server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const headers = Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [
          name,
          Array.isArray(value) ? value.join(',') : (value ?? ''),
        ]),
      );
      engine()
        .handleWebhook({
          method: request.method ?? 'GET',
          url: new URL(request.url ?? '/', `http://${headers.host ?? '127.0.0.1'}`),
          headers,
          body: Buffer.concat(parts),
        })
        .then(
          (answer) => {
            response.writeHead(answer.status, answer.headers).end(answer.body);
          },
          (error: unknown) => {
            response.writeHead(500).end(String(error));
          },
        );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
