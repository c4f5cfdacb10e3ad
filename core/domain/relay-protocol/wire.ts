import { z } from 'zod';
import { siteInventory, siteVm } from '../site/inventory.js';

/**
 * Relay protocol, version 4: what the relay sends to /relay/v1 and what it gets back. JSON; times are ISO-8601 instants
 * of business time; byte counts are integers.
 *
 * Versions:
 *   1  first
 *   2  resynchronization (phase, baseStarted with scopes, digests, segments without a log), resumedCount and resyncRequired
 *      in assignments, missed cycles and failed freezes in manifests, blocking errors and progress in reports
 *   3  planned failover: sourceLock in assignments, the order prepareFailover, finalOf in manifests instead of final
 *   4  failback: phase, failback in assignments, disks and failback of items; recovery plans: the order runScript
 */
export const relayProtocolVersion = 4;

const epoch = z.number().int().min(1);
const cycle = z.number().int().min(0);
const bytes = z.number().int().min(0);
const instant = z.iso.datetime({ offset: true });
const digest = z.string().regex(/^[0-9a-f]{64}$/, '64 lower-case hex digits');

/** POST /relay/v1/register. Not signed: proves itself by the key's secret. Repeating it with the same key and public key gives the same answer. */
export const registerRequest = z.object({
  protocolVersion: z.literal(relayProtocolVersion),
  secret: z.string().min(1),
  /** Ed25519 SubjectPublicKeyInfo, DER, base64. */
  publicKey: z.string().min(1),
  relayVersion: z.string(),
  machineName: z.string(),
  inventory: siteInventory,
});
export const registerResponse = z.object({ relayId: z.string(), vaultId: z.string(), fabricName: z.string() });

/** PUT /relay/v1/inventory, at start and whenever it changed. */
export const inventoryRequest = siteInventory;

/** What one item is doing on-premises. */
export const itemReport = z.object({
  itemId: z.string(),
  protectionId: z.string(),
  epoch,
  activity: z.enum([
    'idle',
    'initialReplication',
    'resynchronization',
    'failback',
    'sending',
    'waitingToRetry',
    'paused',
    'stopped',
    'resyncRequired',
  ]),
  /** Logged on-premises and not acknowledged yet, the open logs included. */
  backlogBytes: bytes,
  initialReplication: z.object({ sentBytes: bytes, totalBytes: bytes }).optional(),
  /** `comparedBytes` of `totalBytes` are done; `sentBytes` of them differed. Of a failback: were fetched. */
  resynchronization: z.object({ comparedBytes: bytes, totalBytes: bytes, sentBytes: bytes }).optional(),
  /** Intervals that passed without a cycle of their own since the last one was announced. */
  missedCycleCount: z.number().int().min(0).optional(),
  lastError: z
    .object({
      code: z.string(),
      message: z.string(),
      recommendedAction: z.string(),
      at: instant,
      nextAttemptAt: instant.optional(),
      /** It does not pass by itself and is not tried again before an operator acts. */
      blocking: z.boolean().optional(),
    })
    .optional(),
});
export type ItemReport = z.infer<typeof itemReport>;

/** POST /relay/v1/heartbeat, every heartbeatIntervalSeconds. */
export const heartbeatRequest = z.object({
  relayVersion: z.string(),
  memoryRssBytes: bytes,
  items: z.array(itemReport),
});
export const heartbeatIntervalSeconds = 30;

/** What the app wants the relay to do for one item; the relay reconciles against it again and again. */
export const assignment = z.object({
  itemId: z.string(),
  protectionId: z.string(),
  vmId: z.string(),
  vmName: z.string(),
  epoch,
  /**
   * idle: the relationship may exist, nothing is sent. initialReplication: send the base, closing and sending cycles meanwhile.
   * resynchronization: the same, but of the base only what differs from the replica. delta: send cycles. stopped: the cloud
   * took over or protection ends; keep logs, send nothing. failback: fetch what differs in Azure, as `failback` says.
   * stopped, by `failedBack`: the VM is the site's again; its lock is lifted, which starts it if it is to run.
   */
  phase: z.enum(['idle', 'initialReplication', 'resynchronization', 'delta', 'stopped', 'failback']),
  stopReason: z.string().optional(),
  paused: z.boolean(),
  /** The app takes no cycle until the item is resynchronized: close and send nothing, go on tracking. */
  resyncRequired: z.boolean(),
  /** Grows when an operator resumes replication: whatever waits after a failure is tried at once. */
  resumedCount: z.number().int().min(0),
  /**
   * The planned failover that is under way: the site's lock may carry this id. A lock that it does not name is lifted, and the
   * VM started if it ran before; but not after a failover, when the VM runs in Azure.
   */
  sourceLock: z.string().optional(),
  /** The VM is locked under `lockId` all the time. A failback that stands at the site and is not named here is given up. */
  failback: z
    .object({
      lockId: z.string(),
      create: z.object({ hostId: z.string(), vm: siteVm }).optional(),
      /** A round is under way, of this epoch: `digestedThroughBytes` of the disks are to be compared and fetched. */
      isCopying: z.boolean(),
      /** Every side image is what it is to be: the disks are replaced, and cycles follow `receivedCycle`. */
      replace: z.object({ startAfterwards: z.boolean() }).optional(),
    })
    .optional(),
  /** Of a resynchronization: what the replica holds whole, where the site's record of changed chunks may be used. */
  changedSince: z.object({ epoch, cycle }).optional(),
  replicationIntervalSeconds: z.number().int().positive(),
  /** 0 is off. */
  appConsistentFrequencyHours: z.number().int().min(0),
  /** Last cycle whose manifest is committed; the next must be this plus 1. */
  receivedCycle: cycle,
  disks: z.array(
    z.object({
      diskId: z.string(),
      sizeBytes: bytes,
      /** Of the base: the disk's bytes below this offset are received (and applied, or will be). */
      receivedThroughBytes: bytes,
      /** Of the base: the disk's bytes below this offset are applied. */
      appliedThroughBytes: bytes,
      /** Resynchronization: the replica's checksums of the bytes below this offset can be read. */
      digestedThroughBytes: bytes,
    }),
  ),
});
export type Assignment = z.infer<typeof assignment>;

/** Of a script: a plain file name. */
export const scriptNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** A one-shot order that a workflow waits for. Carried out at least once; the relay must be idempotent by commandId. */
export const relayCommand = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('createReplicationRelationship'),
    commandId: z.string(),
    vmId: z.string(),
    protectionId: z.string(),
  }),
  z.object({
    kind: z.literal('removeReplicationRelationship'),
    commandId: z.string(),
    vmId: z.string(),
    protectionId: z.string(),
  }),
  z.object({ kind: z.literal('shutDownVm'), commandId: z.string(), vmId: z.string() }),
  /** Locks the VM against start, shuts it down, and makes the next cycle the final one of this lock. */
  z.object({
    kind: z.literal('prepareFailover'),
    commandId: z.string(),
    vmId: z.string(),
    protectionId: z.string(),
    lockId: z.string(),
  }),
  /** Of a recovery plan: a file of the relay's own scripts folder, by its name. */
  z.object({
    kind: z.literal('runScript'),
    commandId: z.string(),
    scriptName: z.string().regex(scriptNamePattern),
    timeoutSeconds: z.number().int().min(1),
    planName: z.string(),
    groupId: z.string(),
  }),
]);
export type RelayCommand = z.infer<typeof relayCommand>;

/** POST /relay/v1/commands/{commandId}/result. */
export const commandResult = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('succeeded'),
    /** Of shutDownVm: the item's last cycle that was closed by then. What the VM wrote last is in the next one at the latest. */
    lastClosedCycle: cycle.optional(),
  }),
  z.object({
    kind: z.literal('failed'),
    code: z.string(),
    message: z.string(),
    possibleCauses: z.string(),
    recommendedAction: z.string(),
  }),
]);
export type CommandResult = z.infer<typeof commandResult>;

/**
 * GET /relay/v1/assignments?version=V&waitSeconds=S. Answers at once when `version` is not the current one or commands wait,
 * else when something changes or after S (at most 25) seconds.
 */
export const assignmentsResponse = z.object({
  version: z.string(),
  assignments: z.array(assignment),
  commands: z.array(relayCommand),
});
export type AssignmentsResponse = z.infer<typeof assignmentsResponse>;

/** What a transfer log holds: the changes of one disk in one cycle, or a piece of the disk's base. */
const uploadTarget = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('cycle'), cycle: cycle.min(1), diskId: z.string() }),
  z.object({ kind: z.literal('segment'), fromBytes: bytes, diskId: z.string() }),
]);
export type UploadTarget = z.infer<typeof uploadTarget>;

/** POST /relay/v1/items/{itemId}/uploads: a SAS for one blob that the app names. With `uploadId` a running upload's SAS is renewed. */
export const uploadRequest = z.object({
  protectionId: z.string(),
  epoch,
  target: uploadTarget,
  uploadId: z.string().optional(),
});
export const uploadResponse = z.object({ uploadId: z.string(), url: z.string(), expiresAt: instant });

/** A transfer log that lies complete in blob storage. */
export const transferLogRef = z.object({
  uploadId: z.string(),
  lengthBytes: bytes,
  /** Of the transfer log's header and index, which hold the digests of all frames (docs/formats/transfer-log.md). */
  digest,
  etag: z.string().min(1),
  /** Bytes of the disk that it changes. */
  changedBytes: bytes,
  frameCount: z.number().int().min(0),
});
export type TransferLogRef = z.infer<typeof transferLogRef>;

/**
 * POST /relay/v1/items/{itemId}/digests: a SAS to read the checksums of one region of a replica disk
 * (docs/formats/digest-file.md). `fromBytes` is the region's first byte.
 */
export const digestRequest = z.object({ protectionId: z.string(), epoch, diskId: z.string(), fromBytes: bytes });
export const digestResponse = z.object({ url: z.string(), expiresAt: instant });

/** POST /relay/v1/items/{itemId}/disks: a SAS to read a disk of the VM in Azure as a failback's round holds it, a fixed VHD. */
export const diskRequest = z.object({ protectionId: z.string(), epoch, diskId: z.string() });
export const diskResponse = z.object({ url: z.string(), expiresAt: instant });

/**
 * POST /relay/v1/items/{itemId}/failback: `prepared`: the VM is locked and has its side images. `copied`: the side images equal the disks of this epoch's round, so many bytes of which
 * were fetched. `replaced`: they took the disks' places. `started`: the VM's lock is lifted, and with it the VM was started.
 */
export const failbackReport = z.object({
  protectionId: z.string(),
  epoch,
  state: z.enum(['prepared', 'copied', 'replaced', 'started']),
  fetchedBytes: bytes,
});
export type FailbackReport = z.infer<typeof failbackReport>;

/**
 * POST /relay/v1/items/{itemId}/segments: a piece of a disk's base, in ascending order without gaps, one disk after the other.
 * `log` is null where nothing of a resynchronization's piece differs.
 */
export const segmentRequest = z.object({
  protectionId: z.string(),
  epoch,
  diskId: z.string(),
  fromBytes: bytes,
  toBytes: bytes,
  log: transferLogRef.nullable(),
});
export type SegmentAnnouncement = z.infer<typeof segmentRequest>;
export const segmentResponse = z.object({ receivedThroughBytes: bytes, appliedThroughBytes: bytes });

/** POST /relay/v1/items/{itemId}/cycles: the manifest of a closed cycle. Accepted only as last + 1 or as an identical repeat. */
export const cycleManifest = z.object({
  protectionId: z.string(),
  epoch,
  cycle: cycle.min(1),
  /** Business time of the log switch at the source: what the cycle's disks look like is their content at this instant. */
  takenAt: instant,
  consistency: z.enum(['crashConsistent', 'applicationConsistent']),
  /** The first cycle closed after the base's last segment: with it applied, the disks are a state of the VM. */
  closesBase: z.boolean(),
  /** The lock under which the VM was off before this cycle was closed: it holds the VM's last writes, and nothing follows. */
  finalOf: z.string().optional(),
  /** One entry for each replicated disk; `log` is null for a disk without a change. */
  disks: z.array(z.object({ diskId: z.string(), log: transferLogRef.nullable() })).min(1),
  /** Intervals that passed without a cycle of their own before this one, because one before it was late. */
  missedCycleCount: z.number().int().min(0).optional(),
  /** An application-consistent point was due, but the guest could not be frozen: why. */
  freezeFailure: z.string().max(1000).optional(),
});
export type CycleManifest = z.infer<typeof cycleManifest>;
export const cycleResponse = z.object({ receivedCycle: cycle, appliedCycle: cycle });

/** POST /relay/v1/items/{itemId}/resyncRequired: the site can no longer vouch for its change logs. */
export const resyncRequiredRequest = z.object({
  protectionId: z.string(),
  epoch,
  reason: z.string(),
  message: z.string(),
  at: instant,
});

/**
 * What of a disk a resynchronization looks at: a bitmap of groups of `groupBytes`, bit i of byte i >> 3, base64. The groups
 * that are not set are the same at both sides, by the site's record of changed chunks.
 */
const resyncScope = z.object({ diskId: z.string(), groupBytes: bytes, bitmap: z.base64().max(32 * 1024) });
export type ResyncScope = z.infer<typeof resyncScope>;

/**
 * POST /relay/v1/items/{itemId}/baseStarted: logs and checkpoint exist, and the checkpoint's instant is the cycle that was
 * received last. Without `scopes` a resynchronization compares everything.
 */
export const baseStartedRequest = z.object({
  protectionId: z.string(),
  epoch,
  checkpointAt: instant,
  scopes: z.array(resyncScope).optional(),
});

/** Error body of every refusal. */
export const relayError = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    recommendedAction: z.string().optional(),
    details: z.record(z.string(), z.unknown()).optional(),
  }),
});

/**
 * Signature of a relay's request: headers `x-understudy-relay` (relayId), `x-understudy-date` (ISO instant of system time),
 * `x-understudy-nonce` (128 random bits, hex), `x-understudy-signature` (base64 of Ed25519 over this text).
 */
export function textToSign(request: {
  method: string;
  /** Path with query, as sent. */
  target: string;
  date: string;
  nonce: string;
  bodySha256Hex: string;
}): string {
  return [
    'understudy-relay-1',
    request.method.toUpperCase(),
    request.target,
    request.date,
    request.nonce,
    request.bodySha256Hex,
  ].join('\n');
}
