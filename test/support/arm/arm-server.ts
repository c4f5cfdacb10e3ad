import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ArmRefusal, namespaces, notFound, type Resource, type ResourceType } from './arm-answers.js';
import type { ArmResources, Effect } from './arm-resources.js';

interface Operation {
  id: string;
  label: string;
  resource: { type: ResourceType; id: string };
  looksLeft: number;
  effect: Effect;
  state: 'InProgress' | 'Succeeded' | 'Failed';
  error?: { code: string; message: string };
  result?: unknown;
}

interface Script {
  label: RegExp;
  refusal: ArmRefusal;
  when: 'request' | 'operation';
  times: number;
}

/**
 * Azure's management API on loopback, as far as virtual machines need it: changes are long-running operations, told by
 * Azure-AsyncOperation and Location; a resource with an operation under way takes no other change. Every call is noted.
 */
export class ArmServer {
  /** `PUT disks/vm-os`, in the order of arrival; looks at operations are left out. */
  readonly calls: string[] = [];
  /** The bodies of the PUTs, by label. */
  readonly bodies = new Map<string, unknown>();
  /** Looks at an operation until it has ended: by its status, its Location, or its resource. */
  looksUntilDone = 2;
  private readonly operations = new Map<string, Operation>();
  private readonly scripts: Script[] = [];

  private constructor(
    readonly origin: string,
    readonly resources: ArmResources,
    private readonly server: Server,
  ) {}

  static async start(resources: ArmResources): Promise<ArmServer> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const arm = new ArmServer(`http://127.0.0.1:${port}`, resources, server);
    server.on('request', (request, response) => void arm.serve(request, response));
    server.unref();
    return arm;
  }

  /** Lets every operation end at its next look. */
  hurry(): void {
    for (const operation of this.operations.values()) operation.looksLeft = 1;
    this.looksUntilDone = 2;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** The next calls of this label are refused, or end in a failed operation. */
  refuse(label: RegExp, refusal: ArmRefusal, options: { when?: Script['when']; times?: number } = {}): void {
    this.scripts.push({ label, refusal, when: options.when ?? 'request', times: options.times ?? 1 });
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = new URL(request.url ?? '/', this.origin);
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString('utf8');
      if (!url.searchParams.has('api-version')) {
        throw new ArmRefusal(400, 'MissingApiVersionParameter', 'The api-version query parameter is required.');
      }
      await this.answer(request.method ?? '', url, text === '' ? undefined : JSON.parse(text), response);
    } catch (error) {
      if (!(error instanceof ArmRefusal)) console.error(error);
      const { statusCode, code, message, headers } =
        error instanceof ArmRefusal ? error : new ArmRefusal(500, 'InternalServerError', String(error));
      send(response, statusCode, { error: { code, message } }, headers);
    }
  }

  private async answer(method: string, url: URL, body: unknown, response: ServerResponse): Promise<void> {
    const [, look, operationId] = /\/(operations|operationResults)\/(\d+)$/.exec(url.pathname) ?? [];
    if (look !== undefined && operationId !== undefined) {
      await this.tellOperation(look === 'operations', operationId, response);
      return;
    }
    const { id, group, type, name, action } = targetOf(url);
    const label = `${method} ${type}/${name}${action === undefined ? '' : `/${action}`}`;
    this.calls.push(label);
    const refusal = this.scripted(label, 'request');
    if (refusal) throw refusal;
    const running = [...this.operations.values()].find(
      (operation) => operation.state === 'InProgress' && operation.resource.id.toLowerCase() === id.toLowerCase(),
    );
    // Time passes with every call.
    if (running) await this.look(running);
    const found = this.resources.get(type, id);
    if (method === 'GET') {
      if (!found) throw notFound(type, name, group);
      send(response, 200, this.resources.view(type, found, url.searchParams.get('$expand')));
      return;
    }
    if (running?.state === 'InProgress') {
      throw namespaces[type] === 'Microsoft.Network'
        ? new ArmRefusal(429, 'RetryableError', 'A retryable error occurred.', { 'retry-after': '0' })
        : new ArmRefusal(409, 'Conflict', 'The request failed due to conflict with a concurrent request.');
    }
    if (method === 'DELETE' && !found) {
      response.writeHead(204).end();
      return;
    }
    if (method === 'PATCH') {
      if (!found) throw notFound(type, name, group);
      this.begin(
        label,
        type,
        id,
        async () => {
          const { tags } = body as Pick<Resource, 'tags'>;
          if (tags) found.tags = tags;
        },
        response,
        found,
      );
      return;
    }
    if (method === 'PUT') {
      this.bodies.set(label, structuredClone(body));
      const wanted = { ...(body as Resource), id, name, type: `${namespaces[type]}/${type}` };
      const effect = this.resources.put(type, wanted);
      this.begin(label, type, id, effect, response, wanted);
      return;
    }
    const effect = method === 'DELETE' ? this.resources.delete(type, id) : this.resources.post(type, id, action ?? '');
    this.begin(label, type, id, effect, response);
  }

  private begin(
    label: string,
    type: ResourceType,
    resourceId: string,
    effect: Effect,
    response: ServerResponse,
    shown?: Resource,
  ): void {
    const id = String(this.operations.size + 1);
    this.operations.set(id, {
      ...{ id, label, effect, looksLeft: this.looksUntilDone, state: 'InProgress' },
      resource: { type, id: resourceId },
    });
    // Compute answers a PUT of a disk with 202, of a VM, like Network, with 201.
    const statusCode = shown && type !== 'disks' && type !== 'snapshots' ? 201 : 202;
    send(response, statusCode, shown, this.operationHeaders(id, type));
  }

  private operationHeaders(id: string, type: ResourceType): Record<string, string> {
    const at = `${this.origin}/subscriptions/s/providers/${namespaces[type]}/locations/westeurope`;
    return {
      'azure-asyncoperation': `${at}/operations/${id}?api-version=2025-01-01`,
      location: `${at}/operationResults/${id}?api-version=2025-01-01`,
    };
  }

  private async tellOperation(isStatus: boolean, id: string, response: ServerResponse): Promise<void> {
    const operation = this.operations.get(id);
    if (!operation) throw new ArmRefusal(404, 'NotFound', `no operation ${id}`);
    await this.look(operation);
    const { state, error, result } = operation;
    if (isStatus) send(response, 200, { name: id, status: state, ...(error && { error }) });
    else if (state === 'InProgress') send(response, 202, undefined, this.operationHeaders(id, operation.resource.type));
    else send(response, 200, result ?? {});
  }

  private async look(operation: Operation): Promise<void> {
    if (--operation.looksLeft !== 0) return;
    const { type, id } = operation.resource;
    try {
      const refusal = this.scripted(operation.label, 'operation');
      if (refusal) throw refusal;
      operation.result = await operation.effect();
      operation.state = 'Succeeded';
    } catch (error) {
      if (!(error instanceof ArmRefusal)) throw error;
      this.resources.settle(type, id, 'Failed');
      operation.state = 'Failed';
      operation.error = { code: error.code, message: error.message };
    }
  }

  private scripted(label: string, when: Script['when']): ArmRefusal | undefined {
    const script = this.scripts.find((entry) => entry.when === when && entry.times > 0 && entry.label.test(label));
    if (script) script.times--;
    return script?.refusal;
  }
}

function targetOf(url: URL): { id: string; group: string; type: ResourceType; name: string; action?: string } {
  const [, subscription, group, namespace, type = '', name = '', action] =
    /^\/subscriptions\/([^/]+)\/resourceGroups\/([^/]+)\/providers\/([^/]+)\/([^/]+)\/([^/]+)(?:\/([^/]+))?$/i.exec(
      decodeURIComponent(url.pathname),
    ) ?? [];
  if (group === undefined || !isResourceType(type)) throw new ArmRefusal(404, 'NotFound', `no ${url.pathname}`);
  return {
    id: `/subscriptions/${subscription}/resourceGroups/${group}/providers/${namespace}/${type}/${name}`,
    ...{ group, type, name, ...(action !== undefined && { action }) },
  };
}

const isResourceType = (type: string): type is ResourceType => type in namespaces;

function send(response: ServerResponse, statusCode: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(statusCode, { 'content-type': 'application/json', ...headers });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}
