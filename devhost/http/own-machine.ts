import type { IncomingMessage } from 'node:http';
import type { HttpAnswer } from './conversion.js';
import { isLoopback, jsonAnswer } from './server.js';

/**
 * These endpoints have no keys on a local host. A web page in the user's browser must not reach them, neither by a
 * form (Origin) nor by a name that it made point here (Host), and another machine not at all.
 */
export function refuseStranger(request: IncomingMessage, isBoundToLoopback: boolean): HttpAnswer | undefined {
  const { host, origin } = request.headers;
  const from = request.socket.remoteAddress ?? '';
  if (!isLoopback(from)) return jsonAnswer(401, { error: 'this endpoint answers to its own machine only' });
  const isOurs = (name: string) => isLoopback(name.replace(/^\[|\]$/g, ''));
  const named = URL.canParse(`http://${host ?? ''}`) ? new URL(`http://${host ?? ''}`).hostname : '';
  if (isBoundToLoopback && !isOurs(named)) {
    return jsonAnswer(403, { error: `this endpoint does not answer to the Host '${host ?? ''}'` });
  }
  if (origin !== undefined && !(URL.canParse(origin) && isOurs(new URL(origin).hostname))) {
    return jsonAnswer(403, { error: `this endpoint does not answer to pages of the Origin '${origin}'` });
  }
  return undefined;
}
