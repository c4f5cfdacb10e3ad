export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'none'] as const;
export type LogLevel = (typeof logLevels)[number];

type Fields = Record<string, unknown>;

export interface Log {
  write(level: LogLevel, message: string, fields?: Fields): void;
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

/** Lines for people, or one JSON object a line. Below `threshold` nothing is written. */
export function createLog(options: { json: boolean; threshold: LogLevel; write: (line: string) => void }): Log {
  const lowest = logLevels.indexOf(options.threshold);
  const write = (level: LogLevel, message: string, fields: Fields = {}) => {
    if (level === 'none' || logLevels.indexOf(level) < lowest) return;
    const time = new Date().toISOString();
    options.write(
      options.json
        ? JSON.stringify({ time, level, message, ...fields })
        : `${time} ${level.padEnd(5)} ${message}${text(fields)}`,
    );
  };
  return {
    write,
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
  };
}

function text(fields: Fields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('');
}

export const silentLog: Log = createLog({ json: false, threshold: 'none', write: () => undefined });

/** The Functions host's names of levels, in host.json and in the worker protocol. */
export function fromFunctionsLevel(level: string): LogLevel {
  switch (level.toLowerCase()) {
    case 'trace':
      return 'trace';
    case 'debug':
      return 'debug';
    case 'warning':
      return 'warn';
    case 'error':
    case 'critical':
      return 'error';
    case 'none':
      return 'none';
    default:
      return 'info';
  }
}
