/** .NET's `[d.]hh:mm:ss[.fff]`; undefined when it is none. */
export function parseTimeSpanMs(text: string): number | undefined {
  const match = /^(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7}))?)?$/.exec(text.trim());
  if (match === null) return undefined;
  const [days, hours, minutes, seconds] = match.slice(1, 5).map((part: string | undefined) => Number(part ?? 0));
  const fraction = Number(`0.${match[5] ?? 0}`);
  if (days === undefined || hours === undefined || minutes === undefined || seconds === undefined) return undefined;
  if (minutes > 59 || seconds > 59) return undefined;
  // .NET reads 24:00:00 as 24 days: hours over 23 in a three-part span are days, and minutes become hours.
  if (hours > 23)
    return match[1] === undefined && minutes < 24 ? ((hours * 24 + minutes) * 60 + seconds) * 60_000 : undefined;
  return Math.round((((days * 24 + hours) * 60 + minutes) * 60 + seconds + fraction) * 1000);
}
