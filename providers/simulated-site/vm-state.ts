import { z } from 'zod';
import { readJson, writeJsonWhole } from './durable-file.js';
import { vmPaths } from './site-file.js';

/** state.json in a VM's folder: replaced whole at each change, so that it is always of one instant. */
const resyncReason = z.enum([
  'hostCrash',
  'logTooLarge',
  'logWriteFailure',
  'logCorrupt',
  'diskChangedOffline',
  'reverted',
  'diskFull',
]);

const replicationState = z.object({
  protectionId: z.string().min(1),
  /** The disks at the time of the relationship; one that is added later is not replicated. */
  disks: z.array(z.object({ diskId: z.string(), name: z.string(), sizeBytes: z.number().int().positive() })),
  /** 0: initial replication was never started. */
  epoch: z.number().int().min(0),
  tracking: z.discriminatedUnion('kind', [
    /** No logs; what lies in the folder from before is dropped at start. */
    z.object({ kind: z.literal('off') }),
    /** Every disk has an active log. */
    z.object({ kind: z.literal('on') }),
    z.object({
      kind: z.literal('resyncRequired'),
      reason: resyncReason,
      message: z.string(),
      at: z.string(),
      /** The record of changed chunks took the place of all logs; the commits of the closed cycles stay, to be told again. */
      logsGone: z.literal(true).optional(),
    }),
  ]),
  /** At least the last discarded cycle; cycle files raise it. */
  lastClosedCycle: z.number().int().min(0),
  checkpoint: z
    .object({
      checkpointId: z.guid(),
      epoch: z.number().int().min(1),
      takenAt: z.string(),
      /** From here on the disks are not frozen any more; the merge is carried to its end, after a restart too. */
      releasing: z.boolean(),
    })
    .optional(),
  /** Data write GUID of each disk when the site last opened it: another one means an offline change. */
  dataWriteGuids: z.record(z.string(), z.string()),
});
export type ReplicationState = z.infer<typeof replicationState>;

const sourceLock = z.object({ protectionId: z.string(), lockId: z.string(), wasRunning: z.boolean() });

const failbackState = z.object({
  protectionId: z.string(),
  lockId: z.string(),
  /** With the data write GUIDs that they had when it began: another one means that somebody wrote to the disk since. */
  disks: z.array(z.object({ diskId: z.string(), name: z.string(), dataWriteGuid: z.string() })),
  /** Of before: a failback that is given up gives it back. */
  lockBefore: sourceLock.optional(),
  /** Every disk has its whole image: one that is missing from here on was lost, with what was written to it. */
  imagesMade: z.literal(true).optional(),
  /** The VM was made for this failback. */
  createdHere: z.literal(true).optional(),
  /** The commit point: the images take the disks' places, whatever dies. */
  swap: z
    .object({
      epoch: z.number().int().min(1),
      baseCycle: z.number().int().min(0),
      startAfterwards: z.boolean(),
    })
    .optional(),
});
export type FailbackState = z.infer<typeof failbackState>;

const vmState = z.object({
  version: z.literal(1),
  powerState: z.enum(['running', 'off']),
  replication: replicationState.optional(),
  /** Locked against every start by a planned failover or a failback; on disk before the guest is asked to shut down. */
  lock: sourceLock.optional(),
  /** From its preparation until the disks are replaced or it is given up. */
  failback: failbackState.optional(),
  /** The failback, by its lock, that the present disks come from. */
  replacedBy: z.string().optional(),
});
export type VmState = z.infer<typeof vmState>;

export const readVmState = (folder: string): Promise<VmState | undefined> =>
  readJson(vmPaths.stateFile(folder), vmState);

export const writeVmState = (folder: string, state: VmState): Promise<void> =>
  writeJsonWhole(vmPaths.stateFile(folder), state);
