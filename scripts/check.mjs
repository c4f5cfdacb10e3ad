// Runs the named npm scripts side by side, as many at a time as there are processors, and prints each one's words once it is over.
import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';

const waiting = process.argv.slice(2);
let exitCode = 0;

async function work() {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const startedAt = performance.now();
    const { error, output } = await new Promise((resolve) => {
      execFile('npm', ['run', '--silent', name], { maxBuffer: 64 * 2 ** 20 }, (failure, stdout, stderr) => {
        resolve({ error: failure, output: stdout + stderr });
      });
    });
    process.stdout.write(output);
    console.log(`${name}: ${error ? 'failed' : 'ok'} (${Math.round((performance.now() - startedAt) / 1000)} s)`);
    if (error) exitCode = 1;
  }
}

await Promise.all(Array.from({ length: availableParallelism() }, work));
process.exit(exitCode);
