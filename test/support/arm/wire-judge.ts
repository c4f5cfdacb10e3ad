import type { SiteRecoveryManagementClient } from '@azure/arm-recoveryservices-siterecovery';

type SendArguments = Parameters<SiteRecoveryManagementClient['sendOperationRequest']>;
type Spec = SendArguments[1];
type Mapper = NonNullable<NonNullable<Spec['responses'][string]>['bodyMapper']>;
type Composite = Extract<Mapper['type'], { name: 'Composite' }>;
type RawResponse = Parameters<NonNullable<NonNullable<SendArguments[0]['options']>['onResponse']>>[0];

export interface JudgedCall {
  method: string;
  path: string;
  hasToken: boolean;
}

const terminal = ['Succeeded', 'Failed', 'Canceled'];
const longAgo = /^(0001|1753)-01-01T/;

/**
 * Holds every answer that an unmodified client gets against that client's own mappers, which say what its models look like on the
 * wire: an unknown property, a wrong type or a missing required one is a fault, where the client itself would drop it silently. The
 * answers of long-running operations are held against ARM's rules for them (202, both headers, Retry-After, the status body).
 */
export class WireJudge {
  readonly faults = new Set<string>();
  readonly calls: JudgedCall[] = [];
  /** How many bodies were held against a mapper. */
  judgedCount = 0;
  longRunningCount = 0;

  watch(client: SiteRecoveryManagementClient): void {
    const send = client.sendOperationRequest.bind(client);
    client.sendOperationRequest = <T>(args: SendArguments[0], spec: Spec) => {
      const told = args.options?.onResponse;
      const options = {
        ...args.options,
        onResponse: (raw: RawResponse, flat: unknown, error?: unknown) => {
          this.judge(raw, spec);
          told?.(raw, flat, error);
        },
      };
      return send<T>({ ...args, options }, spec);
    };
  }

  private judge({ request, status, headers, bodyAsText }: RawResponse, spec: Spec): void {
    const { pathname } = new URL(request.url);
    this.calls.push({ method: request.method, path: pathname, hasToken: request.headers.has('authorization') });
    const at = `${request.method} ${pathname.replace(/.*\/vaults\/[^/]+/, '~').replaceAll(/[0-9a-f-]{32,}/g, '…')} ${status}`;
    const fault = (what: string): void => void this.faults.add(`${at}: ${what}`);
    const body: unknown = bodyAsText ? JSON.parse(bodyAsText) : undefined;
    if (status >= 400) return judgeError(body, fault);
    if (/\/replicationOperationStatus\//i.test(pathname)) return judgeStatus(body, pathname, fault);
    if (status === 202) {
      this.longRunningCount += 1;
      const { 'azure-asyncoperation': statusUrl = '', location = '', 'retry-after': wait = '' } = headers.toJSON();
      if (body !== undefined) fault('has a body');
      const isOf = (url: string, part: RegExp): boolean =>
        URL.canParse(url) && new URL(url).host === new URL(request.url).host && part.test(url);
      if (!isOf(statusUrl, /\/replicationOperationStatus\/[^/?]+\?api-version=/i))
        fault(`async operation ${statusUrl}`);
      if (!isOf(location, /\/operationresults\/[^/?]+\?api-version=/i)) fault(`location ${location}`);
      if (!/^[1-9]\d*$/.test(wait)) fault(`retry after '${wait}'`);
      return;
    }
    const mapper = spec.responses[String(status)]?.bodyMapper ?? spec.responses.default?.bodyMapper;
    if (mapper === undefined || body === undefined) return;
    if (spec.responses[String(status)] === undefined) return fault('is a status that the client does not know');
    this.judgedCount += 1;
    judgeValue(body, mapper, spec, '$', fault);
  }
}

function judgeError(body: unknown, fault: (what: string) => void): void {
  const { error } = (body ?? {}) as { error?: { code?: unknown; message?: unknown } };
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') fault('no error with code and message');
}

function judgeStatus(body: unknown, pathname: string, fault: (what: string) => void): void {
  const found = (body ?? {}) as Record<string, unknown>;
  const { id, name, status, startTime, endTime, error } = found;
  if (typeof id !== 'string' || id.toLowerCase() !== pathname.toLowerCase()) fault(`id ${String(id)}`);
  if (name !== pathname.split('/').at(-1)) fault(`name ${String(name)}`);
  if (typeof status !== 'string') fault('no status');
  if (!isInstant(startTime)) fault(`startTime ${String(startTime)}`);
  if (terminal.includes(String(status)) && !isInstant(endTime)) fault(`endTime ${String(endTime)}`);
  if (status === 'Failed' && error === null) fault('failed without an error');
}

const isInstant = (value: unknown): boolean =>
  typeof value === 'string' &&
  /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)?$/.test(value) &&
  (longAgo.test(value) || !Number.isNaN(Date.parse(value)));

function judgeValue(value: unknown, mapper: Mapper, spec: Spec, at: string, fault: (what: string) => void): void {
  if (value === null || value === undefined) {
    if (mapper.required === true) fault(`${at} is missing`);
    return;
  }
  const expected = (type: string, isSo: boolean): void => {
    if (!isSo) fault(`${at} is not ${type}: ${JSON.stringify(value).slice(0, 60)}`);
  };
  const { type } = mapper;
  switch (type.name) {
    case 'Composite':
      if (typeof value !== 'object' || Array.isArray(value)) return expected('an object', false);
      return judgeObject(value as Record<string, unknown>, type, spec, at, fault);
    case 'Sequence': {
      if (!Array.isArray(value)) return expected('a list', false);
      const { element } = type;
      for (const entry of value) judgeValue(entry, element, spec, `${at}[]`, fault);
      return;
    }
    case 'Dictionary': {
      if (typeof value !== 'object') return expected('a dictionary', false);
      const { value: entryMapper } = type;
      for (const entry of Object.values(value)) judgeValue(entry, entryMapper, spec, `${at}{}`, fault);
      return;
    }
    case 'DateTime':
      return expected('a time', isInstant(value));
    case 'Number':
      return expected('a number', typeof value === 'number');
    case 'Boolean':
      return expected('a boolean', typeof value === 'boolean');
    case 'String':
    case 'Enum':
      return expected('a string', typeof value === 'string');
    default:
      return;
  }
}

function judgeObject(
  value: Record<string, unknown>,
  type: Composite,
  spec: Spec,
  at: string,
  fault: (what: string) => void,
): void {
  const modelMappers = spec.serializer.modelMappers as Record<string, { type: Composite }> & {
    discriminators?: Record<string, { type: Composite }>;
  };
  const referred = type.modelProperties ? type : (modelMappers[type.className ?? '']?.type ?? type);
  const { polymorphicDiscriminator, uberParent = referred.className } = referred;
  const kind = polymorphicDiscriminator && value[polymorphicDiscriminator.serializedName];
  const special = typeof kind === 'string' ? modelMappers.discriminators?.[`${uberParent}.${kind}`] : undefined;
  const { modelProperties, className } = special?.type ?? referred;
  if (modelProperties === undefined) return;
  const known = new Map(Object.values(modelProperties).map((each) => [each.serializedName ?? '', each]));
  for (const property of Object.keys(value)) {
    if (!known.has(property)) fault(`${at}.${property} is not of ${className}`);
  }
  for (const [property, mapper] of known) judgeValue(value[property], mapper, spec, `${at}.${property}`, fault);
}
