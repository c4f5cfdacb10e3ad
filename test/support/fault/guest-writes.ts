import type { SiteOperation, SiteRequest, SiteResponse, VmListing } from '../../../providers/simulated-site/api.js';
import {
  fillCompressible,
  nextSequence,
  orderedRecord,
  xorshift,
  type OrderedLayout,
} from '../../../providers/simulated-site/guests/ordered-records.js';
import type { SeededRandom } from './random.js';

const turningBackShare = 0.1;

type CallSite = <Name extends SiteOperation>(name: Name, request: SiteRequest<Name>) => Promise<SiteResponse<Name>>;

/** A VM's guest, driven by the test: each call of `writeOnce` is one write; VMs with two disks keep an ordered history. */
export class GuestWrites {
  readonly layout: OrderedLayout;
  readonly isOrdered: boolean;
  #sequence: number | undefined;
  writes = 0;
  /** What stood where the guest wrote, to be written there again: a chunk that was changed may be what it once was. */
  #earlier: { offsetBytes: number; data: Buffer } | undefined;
  readonly #turning: SeededRandom;

  constructor(
    private readonly vm: VmListing,
    private readonly random: SeededRandom,
    private readonly call: CallSite,
  ) {
    this.#turning = random.stream('turning back');
    this.layout = {
      diskSizes: vm.disks.map(({ sizeBytes }) => sizeBytes),
      tag: Number.parseInt(vm.vmId.slice(0, 8), 16),
    };
    this.isOrdered = vm.disks.length > 1;
  }

  /** A write that the host did not take is tried again later, as after a restart. */
  async writeOnce(): Promise<void> {
    try {
      await (this.isOrdered ? this.#writeRecord() : this.#writeAnywhere());
      this.writes++;
    } catch {
      this.#sequence = undefined;
    }
  }

  async #writeRecord(): Promise<void> {
    this.#sequence ??= await nextSequence(
      this.layout,
      this.layout.diskSizes.map(
        (_, diskIndex) => (offsetBytes, lengthBytes) => this.#read(diskIndex, offsetBytes, lengthBytes),
      ),
    );
    const { diskIndex, offsetBytes, data } = orderedRecord(this.layout, this.#sequence);
    await this.#write(diskIndex, offsetBytes, data);
    this.#sequence++;
  }

  async #writeAnywhere(): Promise<void> {
    if (this.#turning.chance(turningBackShare) && this.#earlier !== undefined) {
      const { offsetBytes, data } = this.#earlier;
      this.#earlier = undefined;
      return this.#write(0, offsetBytes, data);
    }
    const sectors = Math.floor((this.layout.diskSizes[0] ?? 0) / 512);
    const data = Buffer.alloc(this.random.between(1, 16) * 512);
    // Some writes free what stood there.
    if (!this.random.chance(0.1)) fillCompressible(data, xorshift(this.random.below(2 ** 31)));
    const offsetBytes = this.random.below(sectors - data.length / 512) * 512;
    this.#earlier ??= { offsetBytes, data: await this.#read(0, offsetBytes, data.length) };
    await this.#write(0, offsetBytes, data);
  }

  async #read(diskIndex: number, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const { dataBase64 } = await this.call('read', { vm: this.vm.name, diskIndex, offsetBytes, lengthBytes });
    return Buffer.from(dataBase64, 'base64');
  }

  async #write(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void> {
    await this.call('write', { vm: this.vm.name, diskIndex, offsetBytes, dataBase64: data.toString('base64') });
  }
}
