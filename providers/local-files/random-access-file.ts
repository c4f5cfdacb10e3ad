import { open, type FileHandle } from 'node:fs/promises';
import type { RandomReader, RandomWriter } from '../../core/dataplane/random-access.js';
import { UnderstudyError } from '../../core/domain/errors.js';

/** A random reader over a file. Whoever opens it closes it. */
export interface FileReader extends RandomReader {
  readonly path: string;
  close(): Promise<void>;
}

/** A random writer over a file. `flush` is fdatasync. Whoever opens it closes it; closing does not flush. */
export interface FileWriter extends RandomWriter {
  readonly path: string;
  close(): Promise<void>;
}

export async function openFileReader(path: string): Promise<FileReader> {
  const handle = await open(path, 'r');
  return new HandleReader(path, handle, await sizeOrClose(handle));
}

/**
 * `create` makes a new file and fails if it is there already; `truncate` makes an empty one in any case;
 * `existing` (default) opens what is there.
 */
export async function openFileWriter(
  path: string,
  options: { mode?: 'existing' | 'create' | 'truncate' } = {},
): Promise<FileWriter> {
  const flags = { existing: 'r+', create: 'wx+', truncate: 'w+' }[options.mode ?? 'existing'];
  const handle = await open(path, flags);
  return new HandleWriter(path, handle, await sizeOrClose(handle));
}

async function sizeOrClose(handle: FileHandle): Promise<number> {
  try {
    return (await handle.stat()).size;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

class HandleReader implements FileReader {
  constructor(
    readonly path: string,
    protected readonly handle: FileHandle,
    protected sizeBytes: number,
  ) {}

  get lengthBytes(): number {
    return this.sizeBytes;
  }

  async read(offsetBytes: number, lengthBytes: number, into?: Buffer): Promise<Buffer> {
    const buffer = into?.subarray(0, lengthBytes) ?? Buffer.allocUnsafeSlow(lengthBytes);
    let done = 0;
    while (done < lengthBytes) {
      const { bytesRead } = await this.handle.read(buffer, done, lengthBytes - done, offsetBytes + done);
      if (bytesRead === 0) throw shortRead(this.path, offsetBytes, lengthBytes, done);
      done += bytesRead;
    }
    return buffer;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

class HandleWriter extends HandleReader implements FileWriter {
  async write(offsetBytes: number, data: Buffer): Promise<void> {
    let done = 0;
    while (done < data.length) {
      const { bytesWritten } = await this.handle.write(data, done, data.length - done, offsetBytes + done);
      done += bytesWritten;
    }
    this.sizeBytes = Math.max(this.sizeBytes, offsetBytes + data.length);
  }

  async resize(lengthBytes: number): Promise<void> {
    await this.handle.truncate(lengthBytes);
    this.sizeBytes = lengthBytes;
  }

  async flush(): Promise<void> {
    await this.handle.datasync();
  }
}

function shortRead(path: string, offsetBytes: number, lengthBytes: number, foundBytes: number): UnderstudyError {
  return new UnderstudyError({
    code: 'US2001',
    message: `${path} ends too early: ${lengthBytes} bytes wanted at offset ${offsetBytes}, ${foundBytes} found`,
    possibleCauses: 'The file was cut short, or another process changed it while it was read.',
    recommendedAction: 'Check that nothing else writes the file, then bring it back from its source or resynchronize.',
    details: { path, offsetBytes, lengthBytes, foundBytes },
  });
}
