import { rename, rm } from 'node:fs/promises';
import type { DiskReader } from '../../core/dataplane/random-access.js';
import { openVhdxReader, type VhdxReader } from '../../core/dataplane/vhdx/reader.js';
import { openVhdxWriter, type VhdxWriter } from '../../core/dataplane/vhdx/writer.js';
import { openFileReader, openFileWriter, type FileReader, type FileWriter } from '../local-files/random-access-file.js';
import { flushFolder, isAbsent } from './durable-file.js';
import { RedirectFile } from './redirect-file.js';
import { vmPaths } from './site-file.js';

/** A checkpoint as it concerns one disk. */
interface DiskCheckpoint {
  checkpointId: string;
  releasing: boolean;
}

type Layers =
  /** The guest's writes go to the VHDX. */
  | { kind: 'direct'; file: FileWriter; disk: VhdxWriter }
  /** The VHDX is frozen: it is open for reading only, and writes go to the side file. */
  | {
      kind: 'frozen';
      checkpointId: string;
      file: FileReader;
      disk: VhdxReader;
      sideFile: FileWriter;
      side: RedirectFile;
    }
  /** The side file is being merged: the VHDX takes its pages, guests still write to the side file. */
  | {
      kind: 'merging';
      checkpointId: string;
      file: FileWriter;
      disk: VhdxWriter;
      sideFile: FileWriter;
      side: RedirectFile;
    };

type FrozenLayers = Extract<Layers, { kind: 'frozen' }>;

export interface PreparedFreeze {
  readonly layers: FrozenLayers;
  discard(): Promise<void>;
}

/**
 * One disk of a VM as its guest sees it. Not safe for concurrent calls: the VM runs them one after the other.
 *
 * A checkpoint's life: `prepareFreeze` on all disks, the VM commits the checkpoint, `freeze` switches over; the VM
 * commits the release, `beginMerge` takes the frozen view away (the side file's name changes first, so that a reader of
 * the frozen disk can tell), `mergeStep` until it `isMerged`, the VM commits the end, `endMerge` drops the side file.
 */
export class VirtualDisk {
  private constructor(
    private readonly folder: string,
    readonly name: string,
    readonly sizeBytes: number,
    private layers: Layers,
  ) {}

  static async open(folder: string, name: string, checkpoint?: DiskCheckpoint): Promise<VirtualDisk> {
    const path = vmPaths.disk(folder, name);
    if (checkpoint === undefined) {
      const layers = await openDirect(path);
      return new VirtualDisk(folder, name, layers.disk.sizeBytes, layers);
    }
    const layers = checkpoint.releasing
      ? await openMerging(folder, name, checkpoint.checkpointId)
      : await openFrozen(folder, name, checkpoint.checkpointId);
    return new VirtualDisk(folder, name, layers.disk.sizeBytes, layers);
  }

  get dataWriteGuid(): string {
    return this.layers.disk.dataWriteGuid;
  }

  /** Draws this opening's data write GUID now, so that the caller can record it. A frozen disk keeps the one it has. */
  async prepareToWrite(): Promise<void> {
    if (this.layers.kind !== 'frozen') await this.layers.disk.prepareToWrite();
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const { layers } = this;
    return layers.kind === 'direct'
      ? layers.disk.read(offsetBytes, lengthBytes)
      : layers.side.read(layers.disk, offsetBytes, lengthBytes);
  }

  write(offsetBytes: number, data: Buffer): Promise<void> {
    const { layers } = this;
    return layers.kind === 'direct'
      ? layers.disk.write(offsetBytes, data)
      : layers.side.write(layers.disk, offsetBytes, data);
  }

  async flush(): Promise<void> {
    if (this.layers.kind !== 'frozen') await this.layers.disk.flush();
    if (this.layers.kind !== 'direct') await this.layers.side.flush();
  }

  /** Flushes the disk, makes the side file and opens both. Nothing changes for the guest yet. */
  async prepareFreeze(checkpointId: string): Promise<PreparedFreeze> {
    if (this.layers.kind !== 'direct') throw new Error(`disk ${this.name} has a checkpoint already`);
    await this.flush();
    const path = vmPaths.redirect(this.folder, this.name, checkpointId);
    const file = await openFileWriter(path, { mode: 'truncate' });
    try {
      await RedirectFile.create(file, this.sizeBytes);
    } finally {
      await file.close();
    }
    const layers = await openFrozen(this.folder, this.name, checkpointId);
    const discard = async () => {
      await layers.file.close();
      await layers.sideFile.close();
      await rm(path, { force: true });
    };
    return { layers, discard };
  }

  /** From here on writes go to the side file. Cannot fail: the checkpoint is committed. Resolves with what to let go of. */
  freeze({ layers }: PreparedFreeze): () => Promise<void> {
    const { file } = this.layers;
    this.layers = layers;
    return () => file.close();
  }

  async beginMerge(): Promise<void> {
    if (this.layers.kind !== 'frozen') return;
    const frozen = this.layers;
    await renameSideFile(this.folder, this.name, frozen.checkpointId);
    const { file, disk } = await openDirect(vmPaths.disk(this.folder, this.name));
    this.layers = { ...frozen, kind: 'merging', file, disk };
    await frozen.file.close();
  }

  get isMerged(): boolean {
    return this.layers.kind === 'direct' || (this.layers.kind === 'merging' && this.layers.side.isMerged);
  }

  /** Resolves with how many bytes it copied, not much more than the budget. */
  async mergeStep(budgetBytes: number): Promise<number> {
    return this.layers.kind === 'merging' ? this.layers.side.mergeStep(this.layers.disk, budgetBytes) : 0;
  }

  /** The merge is flushed and its end committed: writes go to the disk again. Cannot fail. Resolves with what to clean up. */
  endMerge(): () => Promise<void> {
    if (this.layers.kind !== 'merging') return async () => undefined;
    const { file, disk, sideFile, checkpointId } = this.layers;
    this.layers = { kind: 'direct', file, disk };
    return async () => {
      await sideFile.close();
      await rm(vmPaths.merging(this.folder, this.name, checkpointId), { force: true });
    };
  }

  /** The frozen view, for as long as the disk stays frozen. */
  frozenView(): DiskReader | undefined {
    return this.layers.kind === 'frozen' ? this.layers.disk : undefined;
  }

  async close(): Promise<void> {
    await this.flush();
    if (this.layers.kind !== 'frozen') await this.layers.disk.close();
    await this.abandon();
  }

  /** Lets go of the files as a crash would: nothing is flushed or finished. */
  async abandon(): Promise<void> {
    await this.layers.file.close();
    if (this.layers.kind !== 'direct') await this.layers.sideFile.close();
  }
}

/** A repeat finds the file renamed already. */
async function renameSideFile(folder: string, name: string, checkpointId: string): Promise<void> {
  const [from, to] = [vmPaths.redirect(folder, name, checkpointId), vmPaths.merging(folder, name, checkpointId)];
  await rename(from, to).catch((error: unknown) => {
    if (!isAbsent(error)) throw error;
  });
  await flushFolder(folder);
}

async function openDirect(path: string): Promise<Extract<Layers, { kind: 'direct' }>> {
  const file = await openFileWriter(path);
  try {
    return { kind: 'direct', file, disk: await openVhdxWriter(file) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openFrozen(folder: string, name: string, checkpointId: string): Promise<FrozenLayers> {
  const file = await openFileReader(vmPaths.disk(folder, name));
  try {
    const disk = await openVhdxReader(file);
    const opened = await openSide(vmPaths.redirect(folder, name, checkpointId), disk.sizeBytes);
    return { kind: 'frozen', checkpointId, file, disk, ...opened };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openMerging(
  folder: string,
  name: string,
  checkpointId: string,
): Promise<Extract<Layers, { kind: 'merging' | 'direct' }>> {
  await renameSideFile(folder, name, checkpointId);
  const direct = await openDirect(vmPaths.disk(folder, name));
  try {
    const opened = await openSide(vmPaths.merging(folder, name, checkpointId), direct.disk.sizeBytes);
    return { ...direct, kind: 'merging', checkpointId, ...opened };
  } catch (error) {
    await direct.file.close();
    throw error;
  }
}

async function openSide(path: string, diskSizeBytes: number): Promise<{ sideFile: FileWriter; side: RedirectFile }> {
  const sideFile = await openFileWriter(path);
  try {
    return { sideFile, side: await RedirectFile.open(sideFile, path, diskSizeBytes) };
  } catch (error) {
    await sideFile.close();
    throw error;
  }
}
