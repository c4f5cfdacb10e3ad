import { resolve } from 'node:path';
import { Argument, Option, type Command } from 'commander';
import { SiteConnection } from '../../providers/simulated-site/connection.js';
import { writePieceMaxBytes, type VmListing } from '../../providers/simulated-site/api.js';
import { faultKind } from '../../providers/simulated-site/faults.js';
import { openFileReader } from '../../providers/local-files/random-access-file.js';
import { byteCount, positiveNumber, wholeNumber } from './arguments.js';

/** Options of all verbs together; each verb declares the ones it needs as mandatory. */
interface VerbOptions {
  site: string;
  json: boolean;
  vm: string;
  disk: number;
  offset: number;
  size: number;
  file: string;
  rate: number;
  kind?: 'idle' | 'ordered' | 'random';
  cycle: number;
  epoch?: number;
  out: string;
}

type Run = (site: SiteConnection, options: VerbOptions, argument: string) => Promise<unknown>;

export function addVerbs(program: Command): void {
  const verb = (name: string, description: string, run: Run): Command =>
    program
      .command(name)
      .description(description)
      .action(async (...args: unknown[]) => {
        const command = args.at(-1) as Command;
        const options = command.optsWithGlobals<VerbOptions>();
        const argument = typeof args[0] === 'string' ? args[0] : '';
        const result = await run(new SiteConnection(resolve(options.site)), options, argument);
        if (result !== undefined) process.stdout.write(`${present(result, options.json)}\n`);
      });
  const vm = () => new Option('--vm <vm>', 'the VM, by name or id').makeOptionMandatory();
  const disk = () => new Option('--disk <index>', "the VM's disk, from 0").argParser(wholeNumber).makeOptionMandatory();
  const offset = () =>
    new Option('--offset <bytes>', 'where on the disk, a multiple of 512').argParser(byteCount).makeOptionMandatory();
  const file = () =>
    new Option('--file <file>', 'what to write; padded with zeros to whole sectors').makeOptionMandatory();
  const size = (what: string) => new Option('--size <bytes>', what).argParser(byteCount).makeOptionMandatory();

  verb('list', 'Show the VMs, their disks, guests and replication, and the active faults.', (site) =>
    site.call('list', {}),
  );
  verb('write', 'Write a file to a disk, as the guest would: it is tracked.', (site, options) =>
    writeFile(options, (piece) => site.call('write', piece)),
  )
    .addOption(vm())
    .addOption(disk())
    .addOption(offset())
    .addOption(file());
  verb('offline-write', 'Write a file to a disk of a VM that is off, past the tracker.', (site, options) =>
    writeFile(options, (piece) => site.call('offlineWrite', piece)),
  )
    .addOption(vm())
    .addOption(disk())
    .addOption(offset())
    .addOption(file());
  verb(
    'guest',
    'Set how a guest writes. It runs on system time, whatever --speed is.',
    (site, { vm: name, rate, kind }) =>
      quietly(site.call('guest', { vm: name, writesPerSecond: rate, ...(kind && { kind }) })),
  )
    .addOption(vm())
    .addOption(
      new Option('--rate <writes>', 'writes a second, of 4 to 64 KiB each')
        .argParser(positiveNumber)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--kind <kind>', 'ordered: numbered records in turn to all disks; random: anywhere').choices([
        'idle',
        'ordered',
        'random',
      ]),
    );
  verb('remove', 'Delete a VM with its disks, as if the site had lost it.', (site, options) =>
    quietly(site.call('removeVm', { vm: options.vm })),
  ).addOption(vm());
  verb('power', 'Start a VM or shut it down.', (site, options, state) =>
    quietly(site.call('power', { vm: options.vm, powerState: state === 'on' ? 'running' : 'off' })),
  )
    .addArgument(new Argument('<state>').choices(['on', 'off']))
    .addOption(vm());
  verb('checkpoint', "Save a copy of the VM's disks, for revert.", (site, options) =>
    quietly(site.call('saveDisks', { vm: options.vm })),
  ).addOption(vm());
  verb('revert', 'Bring the saved disks back; the VM must be off. Replication then needs a resync.', (site, options) =>
    quietly(site.call('revert', { vm: options.vm })),
  ).addOption(vm());
  verb('resize', 'Make a disk larger; the VM must be off.', (site, options) =>
    quietly(site.call('resize', { vm: options.vm, diskIndex: options.disk, sizeBytes: options.size })),
  )
    .addOption(vm())
    .addOption(disk())
    .addOption(size('the new size, whole MiB'));
  verb('add-disk', 'Add an empty disk. It is not replicated with the others.', (site, options) =>
    site.call('addDisk', { vm: options.vm, sizeBytes: options.size }),
  )
    .addOption(vm())
    .addOption(size('its size, whole MiB'));
  verb(
    'disk-at',
    "Rebuild the disks as they were at a cycle, from the judges' journal, as raw images. The base cycle is the checkpoint.",
    (site, { vm: name, cycle, epoch, out }) =>
      site.call('diskAt', { vm: name, cycle, ...(epoch !== undefined && { epoch }), outFolder: resolve(out) }),
  )
    .addOption(vm())
    .addOption(new Option('--cycle <number>', 'the cycle').argParser(wholeNumber).makeOptionMandatory())
    .addOption(
      new Option('--epoch <number>', 'of this epoch; without it, the newest that closed the cycle').argParser(
        wholeNumber,
      ),
    )
    .addOption(new Option('--out <folder>', 'where the images go, as <disk>.raw').makeOptionMandatory());
  verb('fault', 'Switch a fault on; it stays until "clear".', (site, options, kind) =>
    quietly(site.call('addFault', { kind: faultKind.parse(kind), ...(options.vm && { vm: options.vm }) })),
  )
    .addArgument(new Argument('<kind>').choices(faultKind.options))
    .option('--vm <vm>', 'only for this VM');
  verb('clear', 'Switch all faults off.', (site) => quietly(site.call('clearFaults', {})));
}

async function quietly(call: Promise<unknown>): Promise<undefined> {
  await call;
}

interface Piece {
  vm: string;
  diskIndex: number;
  offsetBytes: number;
  dataBase64: string;
}

async function writeFile(options: VerbOptions, write: (piece: Piece) => Promise<unknown>): Promise<undefined> {
  const source = await openFileReader(options.file);
  try {
    for (let at = 0; at < source.lengthBytes; at += writePieceMaxBytes) {
      const data = await source.read(at, Math.min(writePieceMaxBytes, source.lengthBytes - at));
      const padded = Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
      await write({
        vm: options.vm,
        diskIndex: options.disk,
        offsetBytes: options.offset + at,
        dataBase64: padded.toString('base64'),
      });
    }
  } finally {
    await source.close();
  }
}

function present(result: unknown, json: boolean): string {
  if (json || !isListing(result)) return JSON.stringify(result, undefined, 2);
  const rows = [['VM', 'power', 'guest', 'writes', 'disks', 'replication']];
  for (const listed of result.vms) {
    const disks = listed.disks.map((disk) => `${disk.name} ${disk.sizeBytes / 1024 ** 2} MiB`).join(', ');
    const guest = `${listed.guest.kind} ${listed.guest.writesPerSecond}/s`;
    rows.push([listed.name, listed.powerState, guest, String(listed.writesDone), disks, trackingText(listed)]);
  }
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const faults = result.faults.map((fault) => `fault: ${fault.kind}${fault.vmId ? ` (${fault.vmId})` : ''}`);
  return [...lines, ...faults].join('\n');
}

interface Listing {
  vms: VmListing[];
  faults: { kind: string; vmId?: string | undefined }[];
}
const isListing = (result: unknown): result is Listing =>
  typeof result === 'object' && result !== null && 'vms' in result && 'faults' in result;

function trackingText({ tracking }: VmListing): string {
  switch (tracking.kind) {
    case 'notReplicated':
      return 'not replicated';
    case 'tracking':
      return `tracking, cycle ${tracking.lastClosedCycle} closed, ${tracking.openLogBytes + tracking.closedLogBytes} bytes logged`;
    case 'resyncRequired':
      return `resync required: ${tracking.message}`;
  }
}
