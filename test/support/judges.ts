import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { z } from 'zod';

/** Programs and files that are not ours and judge what we made. */
export type JudgeName = 'qemu-img' | 'sample-disks';

type Reporter = Pick<TestContext, 'diagnostic'>;

const run = promisify(execFile);
const missed = new Map<JudgeName, number>();
let qemuImgFound: string | undefined | null = null;

/** The qemu-img to call, or undefined where it is not installed. */
export function qemuImg(): string | undefined {
  if (qemuImgFound === null) {
    qemuImgFound = spawnSync('qemu-img', ['--version']).status === 0 ? 'qemu-img' : undefined;
  }
  return qemuImgFound;
}

/** The folder of disks that other programs wrote, named by UNDERSTUDY_SAMPLE_DISKS. */
export function sampleDisks(): string | undefined {
  const folder = process.env.UNDERSTUDY_SAMPLE_DISKS;
  return folder !== undefined && folder !== '' && existsSync(folder) ? folder : undefined;
}

/**
 * Runs `verdict` with the judge (the command's name or the folder). Where the judge is missing it says so and passes;
 * with UNDERSTUDY_REQUIRE_JUDGES=1 a missing qemu-img fails the test. Sample disks are never required: they are not
 * part of the repository.
 */
export async function judge(
  t: Reporter,
  name: JudgeName,
  verdict: (judge: string) => Promise<void> | void,
): Promise<void> {
  const found = name === 'qemu-img' ? qemuImg() : sampleDisks();
  if (found !== undefined) {
    await verdict(found);
    return;
  }
  if (name === 'qemu-img' && process.env.UNDERSTUDY_REQUIRE_JUDGES === '1') {
    throw new Error(`judge missing: ${name} is not installed and UNDERSTUDY_REQUIRE_JUDGES=1 asks for it`);
  }
  missed.set(name, (missed.get(name) ?? 0) + 1);
  t.diagnostic(`judge missed: ${name} (${missed.get(name) ?? 0} in this file)`);
}

export interface Image {
  path: string;
  /** qemu-img's name of the format; a fixed VHD is 'vpc'. */
  format: 'vhdx' | 'vpc' | 'raw';
}

/** Throws unless qemu-img finds the same size and the same guest bytes in both; how they are allocated may differ. */
export async function compareImages(a: Image, b: Image): Promise<void> {
  const program = qemuImg();
  if (program === undefined) throw new Error('qemu-img is not installed: call compareImages inside judge()');
  const [sizeOfA, sizeOfB] = await Promise.all([a, b].map((image) => virtualSizeBytes(program, image)));
  if (sizeOfA !== sizeOfB) {
    throw new Error(`${a.path} (${a.format}) has ${sizeOfA} bytes and ${b.path} (${b.format}) has ${sizeOfB}`);
  }
  try {
    await run(program, ['compare', '--image-opts', imageOptions(a), imageOptions(b)]);
  } catch (error) {
    const said = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    throw new Error(`${a.path} (${a.format}) and ${b.path} (${b.format}) differ: ${said.trim()}`, { cause: error });
  }
}

async function virtualSizeBytes(program: string, image: Image): Promise<number> {
  const { stdout } = await run(program, ['info', '--output', 'json', '--image-opts', imageOptions(image)]);
  return z.object({ 'virtual-size': z.number() }).parse(JSON.parse(stdout))['virtual-size'];
}

function imageOptions(image: Image): string {
  const file = `file.driver=file,file.filename=${image.path.replaceAll(',', ',,')}`;
  // Else qemu-img takes a VHD's size from its CHS geometry, which is coarser than the size in the footer.
  const driver = image.format === 'vpc' ? 'driver=vpc,force_size_calc=current_size' : `driver=${image.format}`;
  return `${driver},${file}`;
}
