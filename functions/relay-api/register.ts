import { createHash, createPublicKey, randomUUID } from 'node:crypto';
import { Temporal } from 'temporal-polyfill';
import { v7 as timeOrderedUuid } from 'uuid';
import type { z } from 'zod';
import { asJobName, asRelayId, type RelayId, type VaultId } from '../../core/domain/ids.js';
import { jobKinds, type Job } from '../../core/domain/jobs/job.js';
import { plannedTasks, succeedJob } from '../../core/domain/jobs/transitions.js';
import type { registerRequest, registerResponse } from '../../core/domain/relay-protocol/wire.js';
import { workflowNames } from '../../core/domain/workflows/workflows.js';
import type { RowOperation } from '../../core/ports/state-table.js';
import {
  decideAndCommit,
  insert,
  list,
  put,
  read,
  remove,
  replace,
  upsert,
  type Stored,
} from '../../core/records/access.js';
import {
  rows,
  vaultPartition,
  type Fabric,
  type RegisteredRelay,
  type RegistrationKey,
  type Vault,
} from '../../core/records/rows.js';
import type { App } from '../app.js';
import { ApiError } from '../http/api-error.js';
import { secretHash } from './registration-key.js';

type Request = z.output<typeof registerRequest>;

const drawNewKey = 'Make a new registration key and register with it.';

/** The fabric's ARM name: 64 hex digits, the same whenever this VMM server registers. */
export const fabricNameOf = (vmmServerId: string): string => createHash('sha256').update(vmmServerId).digest('hex');

function checkPublicKey(publicKey: string): void {
  try {
    const key = createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType === 'ed25519') return;
  } catch {
    // Falls through: what it is does not matter, only that it is no Ed25519 key.
  }
  throw new ApiError({
    code: 'US1005',
    httpStatus: 400,
    target: '$.publicKey',
    message: '$.publicKey is not an Ed25519 public key (SubjectPublicKeyInfo, DER, base64)',
    recommendedAction: 'Register with the key pair that the relay makes.',
  });
}

/**
 * Binds a relay's public key to the vault of the registration key. The key's row is written first: it decides who holds the
 * key. Whatever dies after that, a repeat with the same key and public key finishes and gives the same answer
 * (docs/architecture.md, rule 13).
 */
export async function registerRelay(app: App, request: Request): Promise<z.output<typeof registerResponse>> {
  checkPublicKey(request.publicKey);
  const claim = await claimKey(app, request);
  await requireVault(app, claim);
  const fabricName = claim.siteName ?? fabricNameOf(request.inventory.vmmServerId);
  if (!claim.completed) {
    const now = (await app.clock.now()).toString();
    await writeRelay(app, {
      ...claim,
      fabricName,
      publicKey: request.publicKey,
      machineName: request.machineName,
      now,
    });
    const replaced = await writeFabric(app, { ...claim, fabricName, request, now });
    await turnItems(app, { ...claim, fabricName });
    await forgetReplaced(app, { ...claim, fabricName }, replaced);
    await completeKey(app, request);
  }
  return { relayId: claim.relayId, vaultId: claim.vaultId, fabricName };
}

/** The vault that the key was made of; a later one of the same name is another. */
async function requireVault(app: App, { vaultId, vaultCreatedAt }: Claim): Promise<Stored<Vault>> {
  const vault = await read(app.table, rows.vault(vaultId));
  // Keys that an earlier version made do not tell when their vault was made.
  const isOther = vaultCreatedAt !== undefined && vault?.value.createdAt !== vaultCreatedAt;
  if (vault === undefined || vault.value.deleting || isOther) throw vaultGone(vaultId);
  return vault;
}

const vaultGone = (vaultId: VaultId): ApiError =>
  new ApiError({
    code: 'US1103',
    httpStatus: 401,
    message: `the vault ${vaultId} that the registration key is of is not there any more`,
    possibleCauses: 'The vault was deleted after the key was made.',
    recommendedAction: 'Make a registration key of a vault that is there, and register with it.',
  });

interface Claim extends Pick<RegistrationKey, 'vaultId' | 'vaultCreatedAt'> {
  siteName: string | undefined;
  relayId: RelayId;
  completed: boolean;
}

async function claimKey(app: App, request: Request): Promise<Claim> {
  const ref = rows.registrationKey(secretHash(request.secret));
  return decideAndCommit<Claim>(app.table, ref.partition, async () => {
    const key = await read(app.table, ref);
    if (key === undefined) {
      throw new ApiError({
        code: 'US1104',
        httpStatus: 403,
        message: 'this registration key is not known here',
        possibleCauses: 'The key was made by another app or expired long ago, or its text was cut.',
        recommendedAction: drawNewKey,
      });
    }
    const { vaultId, vaultCreatedAt, siteName, expiresAt, usedBy } = key.value;
    const of = { vaultId, vaultCreatedAt, siteName };
    if (usedBy !== undefined) {
      if (usedBy.publicKey !== request.publicKey) {
        throw new ApiError({
          code: 'US1106',
          httpStatus: 409,
          message: 'this registration key was used by another relay; a key registers one relay',
          possibleCauses:
            'The key was copied to a second relay, or the relay lost its identity file after it registered.',
          recommendedAction: drawNewKey,
        });
      }
      return { operations: [], result: { ...of, relayId: usedBy.relayId, completed: usedBy.completed } };
    }
    if (Temporal.Instant.compare(app.systemNow(), Temporal.Instant.from(expiresAt)) >= 0) {
      throw new ApiError({
        code: 'US1105',
        httpStatus: 403,
        message: `this registration key was good until ${expiresAt}`,
        recommendedAction: drawNewKey,
      });
    }
    const relayId = asRelayId(randomUUID());
    return {
      operations: [replace(key, { ...key.value, usedBy: { publicKey: request.publicKey, relayId, completed: false } })],
      result: { ...of, relayId, completed: false },
    };
  });
}

async function completeKey(app: App, request: Request): Promise<void> {
  const ref = rows.registrationKey(secretHash(request.secret));
  await decideAndCommit(app.table, ref.partition, async () => {
    const key = await read(app.table, ref);
    if (key?.value.usedBy === undefined || key.value.usedBy.completed) return { operations: [], result: undefined };
    const usedBy = { ...key.value.usedBy, completed: true };
    return { operations: [replace(key, { ...key.value, usedBy })], result: undefined };
  });
}

async function writeRelay(
  app: App,
  row: Claim & { fabricName: string; publicKey: string; machineName: string; now: string },
): Promise<void> {
  const relay: RegisteredRelay = {
    relayId: row.relayId,
    vaultId: row.vaultId,
    fabricName: row.fabricName,
    publicKey: row.publicKey,
    machineName: row.machineName,
    registeredAt: row.now,
  };
  const ref = rows.relay(row.relayId);
  await app.table.transact(ref.partition, [upsert(ref, relay)]);
}

/**
 * Makes the relay the one that the fabric speaks through. Whom it replaces is noted with that, until they are forgotten: a repeat
 * after a crash goes on from there. The vault's row is part of the condition: a deletion of the vault marks it first.
 */
const writeFabric = (
  app: App,
  row: Claim & { fabricName: string; request: Request; now: string },
): Promise<RelayId[]> =>
  decideAndCommit(app.table, vaultPartition(row.vaultId), async () => {
    const { vaultId, siteName, relayId, fabricName, request, now } = row;
    const ref = rows.fabric(vaultId, fabricName);
    const vault = await requireVault(app, row);
    const before = await read(app.table, ref);
    if (siteName !== undefined) checkSite(siteName, before?.value, request);
    const { replacedRelayIds: unfinished = [], relayId: last } = before?.value ?? {};
    const spokeThrough = [...unfinished, ...(last === undefined ? [] : [last])];
    const replacedRelayIds = [...new Set(spokeThrough)].filter((id) => id !== relayId);
    const fabric: Fabric = {
      fabricName,
      ...(siteName !== undefined && { isSite: true }),
      relayId,
      ...(replacedRelayIds.length > 0 && { replacedRelayIds }),
      inventory: request.inventory,
      inventoryAt: now,
      lastHeartbeatAt: now,
      relayVersion: request.relayVersion,
      registeredAt: now,
      networkMappings: before?.value.networkMappings ?? [],
    };
    const operations = [replace(vault, vault.value), put(ref, before, fabric)];
    // Not where this relay's registration broke off after it, and is repeated.
    if (last !== relayId) operations.push(registeredJob(vault.value, fabric, relayId, now));
    return { operations, result: replacedRelayIds };
  });

/** For the record of who registered what when: no workflow stands behind it. */
function registeredJob(
  { vaultId, armId }: Vault,
  { fabricName, inventory }: Fabric,
  relayId: RelayId,
  now: string,
): RowOperation {
  const jobName = asJobName(timeOrderedUuid({ msecs: Temporal.Instant.from(now).epochMilliseconds }));
  const kind = jobKinds.registerProvider;
  const begun: Job = {
    jobName,
    scenarioName: kind.scenarioName,
    friendlyName: kind.friendlyName,
    state: 'NotStarted',
    tasks: plannedTasks(jobName, kind),
    errors: [],
    createdAt: now,
    targetResourceId: `${armId}/replicationFabrics/${fabricName}/replicationRecoveryServicesProviders/${relayId}`,
    targetObjectName: inventory.vmmServerName,
    intent: { orchestrator: workflowNames.runOperation, input: {} },
  };
  return insert(rows.job(vaultId, jobName), succeedJob(begun, now));
}

/** A site has hosts of one management alone: what is protected in it is known by their ids. */
function checkSite(siteName: string, site: Fabric | undefined, { inventory }: Request): void {
  if (site === undefined) {
    throw new ApiError({
      code: 'US1103',
      httpStatus: 401,
      message: `the Hyper-V site ${siteName} that the registration key is of is not there any more`,
      possibleCauses: 'The site was removed after the key was made.',
      recommendedAction: 'Make a registration key of a site that is there, and register with it.',
    });
  }
  if (site.relayId === undefined || site.inventory.vmmServerId === inventory.vmmServerId) return;
  throw new ApiError({
    code: 'US1109',
    httpStatus: 409,
    message: `the Hyper-V site ${siteName} has a relay of other hosts (${site.inventory.vmmServerId})`,
    possibleCauses: 'The key was meant for another site, or for the relay that this one replaces.',
    recommendedAction: 'Create a site of its own for these hosts, and register with a key of that one.',
  });
}

/** Items of the fabric are the relay's from here on, unless another one was registered for it meanwhile. */
export async function turnItems(
  app: App,
  { vaultId, relayId, fabricName }: Pick<Claim, 'vaultId' | 'relayId'> & { fabricName: string },
): Promise<void> {
  for (const { ref, value } of await list(app.table, rows.items(vaultId))) {
    if (value.fabricName !== fabricName || value.relayId === relayId) continue;
    await decideAndCommit(app.table, ref.partition, async () => {
      const item = await read(app.table, ref);
      const fabric = await read(app.table, rows.fabric(vaultId, fabricName));
      const isOurs = item !== undefined && fabric?.value.relayId === relayId && item.value.relayId !== relayId;
      return { operations: isOurs ? [replace(item, { ...item.value, relayId })] : [], result: undefined };
    });
  }
}

async function forgetReplaced(
  app: App,
  { vaultId, fabricName }: Claim & { fabricName: string },
  replaced: readonly RelayId[],
): Promise<void> {
  if (replaced.length === 0) return;
  for (const relayId of replaced) await forgetRelay(app, relayId);
  const ref = rows.fabric(vaultId, fabricName);
  await decideAndCommit(app.table, ref.partition, async () => {
    const fabric = await read(app.table, ref);
    if (fabric === undefined) return { operations: [], result: undefined };
    const { replacedRelayIds = [], ...rest } = fabric.value;
    const left = replacedRelayIds.filter((relayId) => !replaced.includes(relayId));
    const changed: Fabric = { ...rest, ...(left.length > 0 && { replacedRelayIds: left }) };
    return { operations: [replace(fabric, changed)], result: undefined };
  });
}

/** A VMM server speaks through one relay: the one before must not go on with a key that is still good. */
export async function forgetRelay(app: App, relayId: RelayId): Promise<void> {
  const relay = await read(app.table, rows.relay(relayId));
  if (relay !== undefined) await app.table.transact(relay.ref.partition, [remove(relay)]);
}
