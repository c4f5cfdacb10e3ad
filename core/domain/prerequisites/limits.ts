/**
 * What can be protected: the 2020 support matrix of Hyper-V to Azure (hyper-v-azure-support-matrix, 27 January 2020), where
 * it marks a limit as one that the prerequisites check refuses, and the storage limits of Azure itself.
 */
const gibibyte = 1024 ** 3;

export const limits = {
  osDiskCount: 1,
  osDiskMaxBytesGeneration1: 2048 * gibibyte,
  osDiskMaxBytesGeneration2: 300 * gibibyte,
  dataDiskCountMax: 16,
  /** The matrix: one or two data volumes. */
  dataDiskCountMaxGeneration2: 2,
  dataDiskMaxBytes: 4095 * gibibyte,
  windows32Bit: /\bWindows Server\W+2008\b(?! R2)/i,
  /** Deployment planner: an account's capacity, for a VM and its test failover. */
  premiumTotalMaxBytes: 35 * 1024 * gibibyte,
  unsupportedWindows: /\bNano\b|\bWindows (NT|2000|XP)\b|\bServer (2000|2003)\b/i,
  /** Azure's name of a VM: letters, digits and hyphens; begins and ends with a letter or digit. */
  vmNamePattern: /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i,
  /** Premium page blobs take 100 snapshots, too few for cycles of half a minute. */
  premiumReplicationIntervalMinSeconds: 300,
} as const;
