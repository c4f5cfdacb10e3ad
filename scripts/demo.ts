import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runDemo } from './demo/run-demo.js';

/** Everything happens in a fresh folder and on free ports: a demo never touches `.understudy`. */
const folder = await mkdtemp(join(tmpdir(), 'understudy-demo-'));
const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    abort.abort(new Error(`stopped by ${signal}`));
  });
}
try {
  const passed = await runDemo({
    folder,
    signal: abort.signal,
    tell: (message) => {
      console.log(message);
    },
  });
  process.exitCode = passed ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  if (process.exitCode === 0) await rm(folder, { recursive: true, force: true });
  else console.error(`left for inspection: ${folder} (logs are in data/logs)`);
}
