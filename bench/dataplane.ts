import { randomFillSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { coalesceLogs } from '../core/dataplane/blocks/coalesce.js';
import { readDiskChunks } from '../core/dataplane/disk-chunk.js';
import { zeroGuid } from '../core/dataplane/guid.js';
import { openHrlReader } from '../core/dataplane/hrl/reader.js';
import { HrlWriter } from '../core/dataplane/hrl/writer.js';
import type { TransferLogHeader } from '../core/dataplane/transfer-log/layout.js';
import { readPageOperations } from '../core/dataplane/transfer-log/page-operations.js';
import { readTransferLogIndex } from '../core/dataplane/transfer-log/reader.js';
import { writeTransferLog } from '../core/dataplane/transfer-log/writer.js';
import { createVhdx } from '../core/dataplane/vhdx/create.js';
import { openVhdxReader } from '../core/dataplane/vhdx/reader.js';
import { openVhdxWriter } from '../core/dataplane/vhdx/writer.js';
import { openFileReader, openFileWriter } from '../providers/local-files/random-access-file.js';

const mib = 1024 * 1024;
const diskBytes = 512 * mib;
const timeMs = Date.UTC(2026, 0, 1);
const header: TransferLogHeader = {
  kind: 'base',
  protectionId: zeroGuid,
  diskId: zeroGuid,
  epoch: 1,
  cycle: 0,
  diskSizeBytes: diskBytes,
  fromBytes: 0,
  toBytes: diskBytes,
};

/** Throughput of the formats alone, from and to local files: no storage service, no network. One process. */
export async function benchDataplane(print: (line: string) => void = console.log): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-bench-'));
  const measure = async (name: string, bytes: number, step: () => Promise<string>): Promise<void> => {
    const start = performance.now();
    const note = await step();
    const seconds = (performance.now() - start) / 1000;
    const rate = (bytes / 1e6 / seconds).toFixed(0).padStart(6);
    print(`${name.padEnd(44)} ${rate} MB/s  ${seconds.toFixed(2).padStart(6)} s  ${note}`);
  };
  try {
    const diskPath = join(folder, 'disk.vhdx');
    const logPath = join(folder, 'transfer-log');
    print(`data plane: a disk of ${diskBytes / mib} MiB, half zeros, the rest text and noise in turns`);
    await measure('VHDX write, sequential, 1 MiB', diskBytes / 2, () => makeDisk(diskPath));
    await measure('VHDX read, sequential, 1 MiB', diskBytes, () => readDisk(diskPath));
    await measure('transfer log encode (base)', diskBytes, () => encodeDisk(diskPath, logPath));
    await measure('transfer log decode to page operations', diskBytes, () => decodeLog(logPath));
    for (const { writeBytes, writeCount } of [
      { writeBytes: 64 * 1024, writeCount: 4096 },
      { writeBytes: 4096, writeCount: 32768 },
    ]) {
      const bytes = writeBytes * writeCount;
      const path = join(folder, `${writeBytes}.hrl`);
      const what = `${writeCount} scattered writes of ${writeBytes / 1024} KiB`;
      await measure(`replica log append, ${writeBytes / 1024} KiB`, bytes, () => makeLog(path, writeBytes, writeCount));
      await measure(
        `coalesce and read, ${writeBytes / 1024} KiB`,
        bytes,
        async () => `${what}; ${await coalesce(path)}`,
      );
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Every second MiB is zeros; of the rest every second one is noise, which does not compress. */
async function makeDisk(path: string): Promise<string> {
  const noise = randomFillSync(Buffer.alloc(mib));
  const text = Buffer.alloc(mib);
  for (let at = 0; at < mib; at += 64) text.write(`record ${at * 7919} of the understudy bench, ${at % 977}\n`, at);
  const file = await openFileWriter(path, { mode: 'create' });
  await createVhdx(file, { sizeBytes: diskBytes, kind: 'dynamic' });
  const disk = await openVhdxWriter(file);
  for (let at = 0; at < diskBytes; at += 2 * mib) await disk.write(at, (at / mib) % 4 === 0 ? noise : text);
  await disk.close();
  await file.close();
  return '';
}

async function readDisk(path: string): Promise<string> {
  const file = await openFileReader(path);
  const disk = await openVhdxReader(file);
  let bytes = 0;
  for await (const chunk of readDiskChunks(disk, 0, disk.sizeBytes)) {
    bytes += chunk.kind === 'data' ? chunk.data.length : chunk.lengthBytes;
  }
  await file.close();
  return `${bytes / mib} MiB`;
}

async function encodeDisk(diskPath: string, logPath: string): Promise<string> {
  const source = await openFileReader(diskPath);
  const target = await openFileWriter(logPath, { mode: 'create' });
  const disk = await openVhdxReader(source);
  const log = writeTransferLog(header, readDiskChunks(disk, 0, disk.sizeBytes));
  let at = 0;
  for await (const part of log.bytes) {
    await target.write(at, part);
    at += part.length;
  }
  await target.close();
  await source.close();
  const { frameCount, payloadBytes } = log.summary();
  return `${frameCount} frames, ${(payloadBytes / mib).toFixed(0)} MiB of payload`;
}

async function decodeLog(path: string): Promise<string> {
  const file = await openFileReader(path);
  const index = await readTransferLogIndex(file);
  let writes = 0;
  let clears = 0;
  for await (const operation of readPageOperations(file, index)) {
    if (operation.kind === 'write') writes += 1;
    else clears += 1;
  }
  await file.close();
  return `${writes} writes, ${clears} clears`;
}

async function makeLog(path: string, writeBytes: number, writeCount: number): Promise<string> {
  const file = await openFileWriter(path, { mode: 'create' });
  const ids = { uniqueId: zeroGuid, previousUniqueId: zeroGuid, dataWriteGuid: zeroGuid };
  const log = await HrlWriter.create(file, { ...ids, timeMs });
  const data = randomFillSync(Buffer.alloc(writeBytes));
  const places = diskBytes / writeBytes;
  for (let index = 0; index < writeCount; index++) {
    await log.append({ offsetBytes: ((index * 7919) % places) * writeBytes, data, timeMs });
  }
  await log.close();
  await file.close();
  return '';
}

async function coalesce(path: string): Promise<string> {
  const file = await openFileReader(path);
  const coalesced = await coalesceLogs([await openHrlReader(file)], diskBytes);
  let chunks = 0;
  for await (const chunk of coalesced.chunks()) chunks += chunk.kind === 'data' ? 1 : 0;
  await file.close();
  return `${chunks} chunks`;
}
