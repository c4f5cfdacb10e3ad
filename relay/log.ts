import { createWriteStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { multistream, pino, type Logger } from 'pino';

/** A log line as pino writes it; ids stand beside the message. */
interface LogLine {
  level: number;
  time: number;
  msg?: string;
  vm?: string;
  [field: string]: unknown;
}

const levelWords: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: '',
  40: 'warning',
  50: 'ERROR',
  60: 'FATAL',
};
const idFields = ['job', 'command', 'code', 'nextAttemptAt'];

/** One line that can be read aloud: time, VM, what happened, and the ids that matter. */
export function readableLine(json: string): string {
  const line = JSON.parse(json) as LogLine;
  const level = levelWords[line.level] ?? String(line.level);
  const ids = idFields.flatMap((field) => (typeof line[field] === 'string' ? [`${field} ${line[field]}`] : []));
  const parts = [
    new Date(line.time).toISOString().slice(11, 19),
    ...(level === '' ? [] : [level]),
    ...(line.vm === undefined ? [] : [`${line.vm}:`]),
    line.msg ?? '',
    ...(ids.length === 0 ? [] : [`(${ids.join(', ')})`]),
  ];
  return `${parts.join(' ')}\n`;
}

/** Readable lines (or JSON) to `output`, and JSON with every id to relay.log in the data folder. */
export function openLog(options: {
  dataFolder: string;
  format: 'text' | 'json';
  /** Least level on `output`; the file holds everything. */
  level: 'debug' | 'info' | 'warn';
  output: NodeJS.WritableStream;
}): Logger {
  mkdirSync(options.dataFolder, { recursive: true });
  const file = createWriteStream(join(options.dataFolder, 'relay.log'), { flags: 'a', mode: 0o600 });
  // A full disk must not stop replication: losing log lines is the smaller harm.
  file.on('error', () => undefined);
  const screen = {
    write: (json: string) => {
      options.output.write(options.format === 'json' ? json : readableLine(json));
    },
  };
  return pino(
    { level: 'debug', base: null },
    multistream([
      { stream: screen, level: options.level },
      { stream: file, level: 'debug' },
    ]),
  );
}
