import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** `busy`: the service answers 503 and did nothing. A body may be damaged in place. */
export type ProxyVerdict = 'forward' | 'loseRequest' | 'loseAnswer' | 'busy';

export interface LossyProxy {
  /** The same URL by way of the proxy. */
  through: (url: string) => string;
  /** Connections that callers opened, and the most that were open at once. */
  connections: { opened: number; peak: number };
  stop: () => Promise<void>;
}

/** A line to a service on this machine that damages, delays and loses what the judge says. */
export async function startLossyProxy(
  targetPort: number,
  judge: (request: { method: string; path: string }, body: Buffer) => ProxyVerdict,
): Promise<LossyProxy> {
  const handle = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const parts: Buffer[] = [];
    for await (const part of incoming) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const { method = '', url: path = '' } = incoming;
    const verdict = judge({ method, path }, body);
    if (verdict === 'loseRequest') return void incoming.socket.destroy();
    if (verdict === 'busy') return void outgoing.writeHead(503).end();
    const forwarded = request({ host: '127.0.0.1', port: targetPort, path, method, headers: incoming.headers });
    forwarded.on('error', () => incoming.socket.destroy());
    forwarded.on('response', (answer) => {
      if (verdict === 'loseAnswer') return void answer.resume().on('end', () => incoming.socket.destroy());
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    });
    forwarded.end(body);
  };
  const server = createServer((incoming, outgoing) => {
    // A caller that breaks off in mid-body is no fault of the line.
    handle(incoming, outgoing).catch(() => incoming.socket.destroy());
  });
  const connections = { opened: 0, peak: 0 };
  let open = 0;
  server.on('connection', (socket) => {
    connections.opened++;
    connections.peak = Math.max(connections.peak, ++open);
    socket.once('close', () => open--);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    through: (url) => url.replaceAll(`:${targetPort}/`, `:${port}/`),
    connections,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
