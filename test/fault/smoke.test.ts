import { runFaults } from '../support/fault/fault-run.js';
import { faultNames, type FaultName } from '../support/fault/fault-kinds.js';
const wanted = (process.argv[2] ?? 'all').split(',') as FaultName[];
const from = Number(process.argv[3] ?? 1);
const count = Number(process.argv[4] ?? 1);
for (const kind of wanted[0] === ('all' as string) ? faultNames : wanted)
  for (let seed = from; seed < from + count; seed++) {
    const t0 = Date.now();
    try {
      const run = await runFaults({ seed, kinds: (kind as string) === 'mixed' ? faultNames : [kind] });
      console.log(
        kind,
        seed,
        `${Date.now() - t0} ms`,
        'faults',
        run.injected,
        'cycles',
        run.cycles,
        'points',
        run.pointsCompared,
        JSON.stringify(run.waiting),
        JSON.stringify(run.effects),
        run.problems.length === 0 ? 'ok' : run.problems.slice(0, 8).join('\n   '),
      );
      if (process.env.SHOW === '1') console.log(run.log.join('\n'));
    } catch (error) {
      console.log(kind, seed, `${Date.now() - t0} ms`, 'THREW', error);
    }
  }
