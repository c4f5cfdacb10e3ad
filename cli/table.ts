/** Rows as aligned text columns: headings in upper case, numbers to the right. */
export function formatTable<Row extends Record<string, string | number | undefined>>(
  rows: readonly Row[],
  columns: readonly (keyof Row & string)[],
): string {
  const cells = rows.map((row) => columns.map((column) => String(row[column] ?? '')));
  const headings = columns.map((column) => column.toUpperCase());
  const widths = columns.map((_, index) => Math.max(...[headings, ...cells].map((line) => line[index]?.length ?? 0)));
  const toTheRight = columns.map((column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'));
  return [headings, ...cells]
    .map((line) =>
      line
        .map((cell, index) => {
          const width = widths[index] ?? 0;
          return toTheRight[index] ? cell.padStart(width) : cell.padEnd(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** An instant as tables show it: UTC, to the second. */
export const time = (value: Date | undefined): string => value?.toISOString().replace('T', ' ').slice(0, 19) ?? '';
