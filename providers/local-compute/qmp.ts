import { connect } from 'node:net';
import { createInterface } from 'node:readline';

/** A connection to QEMU's machine protocol (QEMU, "QMP Protocol Specification"): one JSON object a line. */
export interface Qmp {
  /** Resolves with what the command returned; rejects with what QEMU says against it. */
  execute(command: string, args?: object): Promise<unknown>;
  close(): void;
}

type Answer = { return: unknown } | { error: { desc: string } } | { event: string } | { QMP: object };

export async function openQmp(socketPath: string): Promise<Qmp> {
  const socket = connect(socketPath);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  const waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  const fail = (error: Error): void => {
    for (const { reject } of waiting.splice(0)) reject(error);
  };
  socket.on('error', fail);
  socket.on('close', () => {
    fail(new Error('QEMU closed its monitor'));
  });
  createInterface({ input: socket }).on('line', (line) => {
    const answer = JSON.parse(line) as Answer;
    if ('return' in answer) waiting.shift()?.resolve(answer.return);
    else if ('error' in answer) waiting.shift()?.reject(new Error(answer.error.desc));
  });
  const execute = (command: string, args: object = {}): Promise<unknown> =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  await execute('qmp_capabilities');
  return { execute, close: () => socket.destroy() };
}
