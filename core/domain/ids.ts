/** Branded ids: strings that cannot be swapped by accident. Parse at the edge, cast nowhere else. */
declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** Lower-case ARM id of a vault: /subscriptions/…/vaults/{name}. */
export type VaultId = Branded<'VaultId'>;
/** 32 hex digits derived from vault, fabric, container and item name: the same for every PUT of the same path. */
export type ItemId = Branded<'ItemId'>;
/** GUID drawn each time protection is enabled; blob names and workflow instances hang on it, so that a second life never meets the first. */
export type ProtectionId = Branded<'ProtectionId'>;
/** GUID of a VM, as the site's inventory gives it. */
export type VmId = Branded<'VmId'>;
/** GUID of a virtual disk (page-83 id of a VHDX), as the site's inventory gives it. */
export type DiskId = Branded<'DiskId'>;
/** Job name = orchestration instance id = long-running operation id. Time-ordered (UUID version 7). */
export type JobName = Branded<'JobName'>;
/** GUID given to a relay when it registers. */
export type RelayId = Branded<'RelayId'>;

export const asVaultId = (text: string): VaultId => text.toLowerCase() as VaultId;
export const asItemId = (text: string): ItemId => text as ItemId;
export const asProtectionId = (text: string): ProtectionId => text as ProtectionId;
export const asVmId = (text: string): VmId => text.toLowerCase() as VmId;
export const asDiskId = (text: string): DiskId => text.toLowerCase() as DiskId;
export const asJobName = (text: string): JobName => text as JobName;
export const asRelayId = (text: string): RelayId => text as RelayId;
