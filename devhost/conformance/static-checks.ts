import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { RegisteredFunction } from '../contract.js';
import { findCollisions, type HttpRoute } from '../http/route-table.js';
import type { HostSettings } from '../settings/host-json.js';

/** What would break on the real host, seen before anything runs. Points are those of `conformancePoints`. */
export interface Finding {
  point: string;
  severity: 'error' | 'warning';
  message: string;
}

export interface CheckedApp {
  appFolder: string;
  settings: HostSettings;
  functions: readonly RegisteredFunction[];
  routes: readonly HttpRoute[];
}

const functionName = /^[a-z][a-z0-9_-]{0,127}$/i;
const hubName = /^[a-z][a-z0-9]{2,44}$/i;
const bundleId = 'Microsoft.Azure.Functions.ExtensionBundle';
/** Version 4 of the bundle brings the durable extension that durable-functions 3 was made for. */
const bundleVersion = /^\[4\.[\d.*]+, ?5\.0\.0\)$/;
const reservedPrefixes = ['admin', 'runtime'];

export function checkApp(app: CheckedApp): Finding[] {
  return [
    ...checkNames(app),
    ...checkHostJson(app),
    ...checkPackages(app),
    ...checkRoutes(app),
    ...checkHubName(app),
    ...checkTimers(app),
  ];
}

function checkNames({ functions }: CheckedApp): Finding[] {
  return functions
    .filter(({ name }) => !functionName.test(name) || name.toLowerCase() === 'host')
    .map(({ name }) => ({
      point: 'C1',
      severity: 'error',
      message: `'${name}' is no function name: a letter, then up to 127 letters, digits, '_' and '-'; 'host' is reserved`,
    }));
}

function checkHostJson({ settings, functions }: CheckedApp): Finding[] {
  const findings: Finding[] = [];
  if (settings.version !== '2.0') {
    findings.push({
      point: 'C2',
      severity: 'error',
      message: `host.json has version '${settings.version}', not '2.0'`,
    });
  }
  const needsBundle = functions.some(({ trigger }) => trigger !== 'http');
  const bundle = settings.extensionBundle;
  if (needsBundle && (bundle?.id !== bundleId || !bundleVersion.test(bundle.version))) {
    const found = bundle === undefined ? 'none' : `${bundle.id} ${bundle.version}`;
    const message = `host.json needs extensionBundle ${bundleId} [4.*, 5.0.0) for durable and timer triggers, and has ${found}`;
    findings.push({ point: 'C2', severity: 'error', message });
  }
  return findings;
}

const packageSchema = z.looseObject({ dependencies: z.record(z.string(), z.string()).default({}) });

function checkPackages({ appFolder }: CheckedApp): Finding[] {
  const { dependencies } = packageSchema.parse(JSON.parse(readFileSync(join(appFolder, 'package.json'), 'utf8')));
  const findings: Finding[] = [];
  for (const name of Object.keys(dependencies)) {
    if (packageFolder(appFolder, name) === undefined) {
      findings.push({ point: 'C4', severity: 'error', message: `the dependency ${name} is not installed` });
    }
  }
  const ours = packageFolder(appFolder, '@azure/functions');
  const durable = packageFolder(appFolder, 'durable-functions');
  const theirs = durable === undefined ? undefined : packageFolder(durable, '@azure/functions');
  if (ours !== undefined && theirs !== undefined && ours !== theirs) {
    const message = `there are two copies of @azure/functions, ${ours} and ${theirs}: run "npm dedupe"`;
    findings.push({ point: 'C4', severity: 'error', message });
  }
  return findings;
}

/** The folder from which a package is loaded, links followed. */
function packageFolder(from: string, name: string): string | undefined {
  const places = createRequire(join(realpathSync(from), 'package.json')).resolve.paths(name) ?? [];
  const found = places.map((place) => join(place, name, 'package.json')).find((file) => existsSync(file));
  return found === undefined ? undefined : dirname(realpathSync(found));
}

function checkRoutes({ routes }: CheckedApp): Finding[] {
  const findings: Finding[] = [];
  for (const [a, b] of findCollisions(routes)) {
    const pair = `'${a.function.name}' (${a.template.text}) and '${b.function.name}' (${b.template.text})`;
    findings.push({ point: 'C5', severity: 'error', message: `the routes of ${pair} match the same requests` });
  }
  for (const { function: registered, template } of routes) {
    const prefix = template.text.split('/', 1)[0]?.toLowerCase() ?? '';
    if (reservedPrefixes.includes(prefix)) {
      const message = `the route '${template.text}' of '${registered.name}' lies under the host's own prefix '${prefix}'`;
      findings.push({ point: 'C5', severity: 'error', message });
    }
    const { authLevel } = registered.triggerBinding;
    if (typeof authLevel === 'string' && authLevel.toLowerCase() !== 'anonymous') {
      const message = `'${registered.name}' has authLevel '${authLevel}': the real host will want a key, devhost wants none`;
      findings.push({ point: 'C5', severity: 'warning', message });
    }
  }
  return findings;
}

function checkHubName({ settings }: CheckedApp): Finding[] {
  if (hubName.test(settings.hubName)) return [];
  const message = `the hub name '${settings.hubName}' is not 3 to 45 letters and digits that begin with a letter`;
  return [{ point: 'C6', severity: 'error', message }];
}

function checkTimers({ functions }: CheckedApp): Finding[] {
  return functions
    .filter(({ trigger, triggerBinding }) => trigger === 'timer' && triggerBinding.runOnStartup === true)
    .map(({ name }) => ({
      point: 'C26',
      severity: 'warning',
      message: `'${name}' has runOnStartup: in Azure it runs at every cold start and scale-out`,
    }));
}
