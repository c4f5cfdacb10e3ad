/**
 * How often a test kills a real process. `npm test` makes at most 30 such kills in all, so that it stays short
 * (docs/faults.md counts them); `npm run test:long` sets UNDERSTUDY_LONG and makes the full number.
 */
export function killCount(kills: { short: number; long: number }): number {
  return process.env.UNDERSTUDY_LONG === '1' ? kills.long : kills.short;
}
