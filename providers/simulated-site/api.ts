import { z } from 'zod';
import { asDiskId } from '../../core/domain/ids.js';
import { siteInventory, siteVm } from '../../core/domain/site/inventory.js';
import { faultKind, siteFault } from './faults.js';
import { guestSettings } from './site-file.js';

/**
 * What the site process takes: `POST /v1/<operation>` with JSON, on loopback, with the token of run.json as bearer.
 * Both ends parse by these schemas. An error is `{ error: { code, message, … } }` with the status of the failure.
 */
const nothing = z.object({});
const consistency = z.enum(['crashConsistent', 'applicationConsistent']);
const diskId = z.string().transform(asDiskId);
const count = z.number().int().min(0);
const ofVm = z.object({ vmId: z.string() });
const ofProtection = ofVm.extend({ protectionId: z.string().min(1) });
const ofLock = ofProtection.extend({ lockId: z.string().min(1) });
/** A VM by its name or id, as a person types it. */
const byName = z.object({ vm: z.string().min(1) });
const ofDisk = byName.extend({ diskIndex: count });
/** One piece of a write; longer ones are cut by the client. */
export const writePieceMaxBytes = 1024 * 1024;
const pieceBase64 = z.base64().max(Math.ceil(writePieceMaxBytes / 3) * 4);

const ofSideImage = ofVm.extend({ lockId: z.string().min(1), diskId: z.string() });

const checkpoint = z.object({
  checkpointId: z.string(),
  epoch: z.number().int(),
  takenAt: z.string(),
  disks: z.array(z.object({ diskId, sizeBytes: z.number().int() })),
});

const closedCycle = z.object({
  cycle: z.number().int(),
  takenAt: z.string(),
  consistency,
  freezeFailure: z.string().optional(),
  logs: z.array(z.object({ diskId, lengthBytes: count, entryCount: count })),
});

const trackingStatus = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('notReplicated') }),
  z.object({
    kind: z.literal('tracking'),
    lastClosedCycle: count,
    openLogBytes: count,
    closedLogBytes: count,
    checkpointId: z.string().optional(),
    lockId: z.string().optional(),
  }),
  z.object({
    kind: z.literal('resyncRequired'),
    reason: z.enum([
      'hostCrash',
      'logTooLarge',
      'logWriteFailure',
      'logCorrupt',
      'diskChangedOffline',
      'reverted',
      'diskFull',
    ]),
    message: z.string(),
    at: z.string(),
    checkpointId: z.string().optional(),
    lockId: z.string().optional(),
  }),
]);

const failbackStatus = z.union([
  z.object({ kind: z.literal('none') }),
  z.object({ kind: z.enum(['preparing', 'prepared', 'replaced']), lockId: z.string() }),
]);

const vmListing = z.object({
  vmId: z.string(),
  name: z.string(),
  powerState: z.string(),
  guest: guestSettings,
  writesDone: count,
  disks: z.array(z.object({ diskId: z.string(), name: z.string(), sizeBytes: count })),
  protectionId: z.string().optional(),
  epoch: count.optional(),
  tracking: trackingStatus,
});
export type VmListing = z.infer<typeof vmListing>;

export const siteOperations = {
  inventory: { request: nothing, response: siteInventory },
  createReplicationRelationship: { request: ofProtection, response: nothing },
  removeReplicationRelationship: { request: ofProtection, response: nothing },
  startInitialReplication: {
    request: ofProtection.extend({ epoch: z.number().int().min(1), baseCycle: count }),
    response: checkpoint,
  },
  startResynchronization: {
    request: ofProtection.extend({
      epoch: z.number().int().min(1),
      baseCycle: count,
      changedSince: z.object({ epoch: z.number().int().min(1), cycle: count }).optional(),
    }),
    response: checkpoint,
  },
  releaseCheckpoint: { request: ofVm.extend({ checkpointId: z.string() }), response: nothing },
  switchLogs: {
    request: ofProtection.extend({ cycle: z.number().int().min(1), consistency }),
    response: closedCycle,
  },
  closedCycles: { request: ofProtection, response: z.object({ cycles: z.array(closedCycle) }) },
  discardCyclesThrough: { request: ofProtection.extend({ cycle: count }), response: nothing },
  tracking: { request: ofProtection, response: trackingStatus },
  shutDown: { request: ofVm, response: nothing },
  lockSource: { request: ofLock, response: nothing },
  unlockSource: { request: ofLock, response: nothing },
  prepareFailback: {
    request: ofLock.extend({ create: z.object({ hostId: z.string(), vm: siteVm }).optional() }),
    response: nothing,
  },
  writeSideImage: {
    request: ofSideImage.extend({ offsetBytes: count, dataBase64: pieceBase64 }),
    response: nothing,
  },
  flushSideImage: { request: ofSideImage, response: nothing },
  replaceDisks: {
    request: ofLock.extend({ epoch: z.number().int().min(1), baseCycle: count, startAfterwards: z.boolean() }),
    response: nothing,
  },
  abandonFailback: { request: ofProtection, response: nothing },
  failbackStatus: { request: ofProtection, response: failbackStatus },

  list: { request: nothing, response: z.object({ vms: z.array(vmListing), faults: z.array(siteFault) }) },
  read: {
    request: ofDisk.extend({ offsetBytes: count, lengthBytes: z.number().int().min(1).max(writePieceMaxBytes) }),
    response: z.object({ dataBase64: z.string() }),
  },
  write: { request: ofDisk.extend({ offsetBytes: count, dataBase64: pieceBase64 }), response: nothing },
  offlineWrite: { request: ofDisk.extend({ offsetBytes: count, dataBase64: pieceBase64 }), response: nothing },
  guest: {
    request: byName.extend({
      kind: guestSettings.shape.kind.optional(),
      writesPerSecond: z.number().min(0).max(10_000),
    }),
    response: nothing,
  },
  power: { request: byName.extend({ powerState: z.enum(['running', 'off']) }), response: nothing },
  removeVm: { request: byName, response: nothing },
  saveDisks: { request: byName, response: nothing },
  revert: { request: byName, response: nothing },
  resize: { request: ofDisk.extend({ sizeBytes: z.number().int().positive() }), response: nothing },
  addDisk: {
    request: byName.extend({ sizeBytes: z.number().int().positive() }),
    response: z.object({ diskId: z.string() }),
  },
  diskAt: {
    request: byName.extend({ cycle: count, epoch: z.number().int().min(1).optional(), outFolder: z.string().min(1) }),
    response: z.object({ disks: z.array(z.object({ disk: z.string(), path: z.string() })) }),
  },
  addFault: { request: z.object({ kind: faultKind, vm: z.string().optional() }), response: nothing },
  clearFaults: { request: nothing, response: nothing },
} as const;

export type SiteOperation = keyof typeof siteOperations;
export type SiteRequest<Name extends SiteOperation> = z.infer<(typeof siteOperations)[Name]['request']>;
export type SiteResponse<Name extends SiteOperation> = z.infer<(typeof siteOperations)[Name]['response']>;
export type SiteHandlers = { [Name in SiteOperation]: (request: SiteRequest<Name>) => Promise<SiteResponse<Name>> };

export const siteErrorBody = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    recommendedAction: z.string(),
    possibleCauses: z.string(),
    retry: z.enum(['now', 'later', 'never']),
    details: z.record(z.string(), z.unknown()),
  }),
});
