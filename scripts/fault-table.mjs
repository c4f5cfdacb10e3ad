import { existsSync, readFileSync } from 'node:fs';

/** The table of a fault suite's outcomes: a row for each kind of fault, out of the lines that its runs left in `file`. */
export function faultTable(file) {
  if (!existsSync(file)) return [];
  const runs = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const sum = (of) => of.reduce((total, value) => total + value, 0);
  const rows = [...new Set(runs.map(({ kind }) => kind))].map((kind) => {
    const own = runs.filter((run) => run.kind === kind);
    const failed = own.filter(({ isOk }) => !isOk).length;
    const effects = new Map();
    for (const [name, count] of own.flatMap(({ effects }) => Object.entries(effects))) {
      effects.set(name, (effects.get(name) ?? 0) + count);
    }
    return [
      kind,
      own.length,
      failed === 0 ? 'all kept' : `${failed} FAILED`,
      sum(own.map(({ injected }) => injected)),
      sum(own.map(({ cycles }) => cycles)),
      sum(own.map(({ points }) => points)),
      sum(own.map(({ resyncs }) => resyncs.length)),
      [...effects].map(([name, count]) => `${count} ${name}`).join(', '),
    ].map(String);
  });
  const header = [
    'fault',
    'runs',
    'promises',
    'injected',
    'cycles',
    'points compared',
    'resyncs',
    'what the faults did',
  ];
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
}
