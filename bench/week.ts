import { runLong } from '../test/support/fault/week-run.js';

const vmCount = 20;

const print = (line: string): void => {
  console.log(line);
};

/** One unattended simulated week, and what became of it. A process of its own: the simulated machine must come first in it. */
async function printWeek(): Promise<void> {
  const seed = Number(process.env.UNDERSTUDY_FAULT_SEED ?? '1');
  const hours = Number(process.env.UNDERSTUDY_WEEK_HOURS ?? '168');
  const run = await runLong({ seed, vmCount, hours, replicationIntervalSeconds: 900, faultEveryMinutes: 60, print });
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ');
  print(`seed                  ${seed}`);
  print(`virtual machines      ${vmCount} at 900 s`);
  print(`business time         ${run.businessHours.toFixed(1)} h, reached ${run.reached}`);
  print(
    `wall time             ${(run.wallSeconds / 60).toFixed(1)} min: ${(run.cycles / run.wallSeconds).toFixed(1)} cycles/s`,
  );
  print(`cycles applied        ${run.cycles}`);
  print(`points compared       ${run.pointsCompared}, every byte`);
  print(`guest writes          ${run.guestWrites}`);
  print(
    `faults                ${Object.values(run.faults).reduce((sum, count) => sum + count, 0)}: ${list(run.faults)}`,
  );
  print(`what they did         ${list(run.effects)}`);
  print(`marked for a resync   ${list(run.resyncReasons) || 'none'}`);
  print(`resynchronizations    ${list(run.resyncJobs) || 'none'}`);
  print(`worst RPO             ${run.worstRpo.seconds} s, ${run.worstRpo.vmName} at ${run.worstRpo.at}`);
  print(`promises not kept     ${run.problems.length}`);
  for (const problem of run.problems.slice(0, 50)) print(`  ${problem}`);
  if (run.problems.length > 0) print(run.log.slice(-300).join('\n'));
}

await printWeek();
