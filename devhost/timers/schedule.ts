import { CronExpressionParser } from 'cron-parser';
import { DevhostError, toError } from '../errors.js';
import { parseTimeSpanMs } from '../settings/time-span.js';

/** When a timer fires: each occurrence is strictly after the moment asked for. */
export interface Schedule {
  next(afterMs: number): number;
  /** Whether the real host would persist it by default: occurrences at least a minute apart. */
  readonly isMonitored: boolean;
}

const fieldNames = ['second', 'minute', 'hour', 'day', 'month', 'day of week'];
const monthNames = 'JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC';
const dayNames = 'SUN|MON|TUE|WED|THU|FRI|SAT';
/** cron-parser's grammar is larger (L, #, H, ?, 7 for Sunday): what NCRONTAB does not have must not work here. */
const fieldPatterns = ['\\d+', '\\d+', '\\d+', '\\d+', `\\d+|${monthNames}`, `[0-6]|${dayNames}`].map((value) => {
  const item = `(?:\\*|(?:${value})(?:-(?:${value}))?)(?:/\\d+)?`;
  return new RegExp(`^${item}(?:,${item})*$`, 'i');
});
const minuteMs = 60_000;
const dayMs = 24 * 3_600_000;

/** `schedule` of a timer trigger: six-field NCRONTAB, seconds first, or a time span for a constant interval. */
export function parseSchedule(text: string, timeZone: string): Schedule {
  const intervalMs = parseTimeSpanMs(text);
  if (intervalMs !== undefined) {
    if (intervalMs <= 0) throw badSchedule(text, 'the interval must be longer than nothing');
    return { next: (afterMs) => afterMs + intervalMs, isMonitored: intervalMs >= minuteMs };
  }
  return parseNcrontab(text, timeZone);
}

const badSchedule = (text: string, why: string) =>
  new DevhostError('badSchedule', `'${text}' is no timer schedule: ${why}`);

function parseNcrontab(text: string, timeZone: string): Schedule {
  const fields = text.trim().split(/\s+/);
  if (fields.length !== fieldNames.length) {
    throw badSchedule(text, `NCRONTAB has six fields (${fieldNames.join(', ')}), this has ${fields.length}`);
  }
  const bad = fields.findIndex((field, index) => fieldPatterns[index]?.test(field) !== true);
  if (bad >= 0) throw badSchedule(text, `the ${fieldNames[bad] ?? ''} '${fields[bad] ?? ''}' is not NCRONTAB`);
  const [second, minute, hour, day = '*', month, weekday = '*'] = fields;
  // Where both days are given, NCRONTAB wants both to match; cron-parser, as cron, takes either.
  const wantsBoth = day !== '*' && weekday !== '*';
  const expression = [second, minute, hour, day, month, wantsBoth ? '*' : weekday].join(' ');
  let weekdays: Set<number>;
  try {
    weekdays = new Set(CronExpressionParser.parse(`* * * * * ${weekday}`).fields.dayOfWeek.values.map(Number));
    CronExpressionParser.parse(expression, { tz: timeZone });
  } catch (error) {
    throw badSchedule(text, toError(error).message);
  }
  const next = (afterMs: number): number => {
    let fromMs = afterMs;
    for (;;) {
      const found = CronExpressionParser.parse(expression, { currentDate: new Date(fromMs), tz: timeZone }).next();
      if (!wantsBoth || weekdays.has(found.getDay())) return found.getTime();
      found.setEndOfDay();
      fromMs = found.getTime();
      if (fromMs > afterMs + 366 * 30 * dayMs) throw badSchedule(text, 'no day matches it');
    }
  };
  const sampleMs = next(Date.UTC(2026, 0, 1));
  return { next, isMonitored: next(sampleMs) - sampleMs >= minuteMs };
}
