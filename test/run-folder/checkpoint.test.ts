import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { textDigest } from '../../src/files/file-list.ts';
import {
  type ControllerState,
  checkpointName,
  checkpointNames,
  holdsBestOf,
  pruneCheckpoints,
  putBackCheckpoints,
  readCheckpoint,
  writeCheckpoint,
} from '../../src/run-folder/checkpoint.ts';

const state = (changes: Partial<ControllerState> = {}): ControllerState => ({
  stage: 'joint',
  iteration: 40,
  complete: false,
  success_rate: 0.5,
  progress: { best_success: 0.25 },
  written: { metrics: 10, trajectories: 20 },
  seconds: 1.5,
  ...changes,
});

/** Writes a file of so many bytes, as a model would its weights. */
const save = (bytes: number) => async (to: string) => {
  await mkdir(join(to, 'deeper'), { recursive: true });
  await writeFile(join(to, 'deeper', 'weights'), Buffer.alloc(bytes, 7));
};
const parts = (bytes = 100) => ({ actor: save(bytes), critic: save(bytes), 'best-critic': null });

let folder: string;
let path: string;
beforeEach(async () => {
  folder = join(mkdtempSync(join(tmpdir(), 'genac-checkpoints-')), 'checkpoints');
  mkdirSync(folder);
  path = await writeCheckpoint(folder, checkpointName(state()), state(), parts());
});

describe('the best models', () => {
  it('belong to a checkpoint that lies after them, and to no earlier one', async () => {
    const from = await readCheckpoint(path);
    expect(await holdsBestOf(folder, from)).toBe(false);
    for (const [iteration, kept] of [
      [30, true],
      [40, true],
      [50, false],
    ] as const) {
      await writeCheckpoint(folder, 'best', state({ iteration }), parts());
      expect(await holdsBestOf(folder, from)).toBe(kept);
    }
    await writeCheckpoint(folder, 'best', state({ iteration: 30 }), parts());
    expect(await holdsBestOf(folder, { ...from, stage: 'critic-rl' })).toBe(false);
  });
});

describe('a checkpoint', () => {
  it('is read as it was written', async () => {
    expect(path).toBe(join(folder, 'joint-000040'));
    expect(await readCheckpoint(path)).toEqual({
      ...state(),
      path,
      actor: join(path, 'actor'),
      critic: join(path, 'critic'),
      bestCritic: null,
    });
  });

  it('replaces one of the same name, whole', async () => {
    await writeCheckpoint(folder, 'joint-000040', state({ seconds: 9 }), parts());
    expect((await readCheckpoint(path)).seconds).toBe(9);
    expect(readdirSync(folder)).toEqual(['joint-000040']);
  });

  it('has its name back if the process died before another took its place', async () => {
    renameSync(path, `${path}.old.unfinished`); // and not yet: joint-000040.unfinished to its place
    await putBackCheckpoints(folder);
    expect((await readCheckpoint(path)).iteration).toBe(40);
    // Where the other has taken it, the old one is no checkpoint any more.
    cpSync(path, `${path}.old.unfinished`, { recursive: true });
    await putBackCheckpoints(folder);
    expect(readdirSync(folder).sort()).toEqual(['joint-000040', 'joint-000040.old.unfinished']);
  });

  const weights = () => join(path, 'critic', 'deeper', 'weights');
  const controller = () => join(path, 'controller.json');
  const edited = (text: string) => `${text}\n${textDigest(text)}\n`;
  const json = () =>
    readFileSync(controller(), 'utf8').trimEnd().split('\n').slice(0, -1).join('\n');
  it.each([
    [
      'weights were cut off',
      () => truncateSync(weights(), 50),
      'critic/deeper/weights has 50 bytes instead of 100: it was cut off or edited',
    ],
    [
      'weights were edited',
      () => writeFileSync(weights(), Buffer.alloc(100, 8)),
      'critic/deeper/weights was edited',
    ],
    ['weights are gone', () => execFileSync('rm', [weights()]), 'critic/deeper/weights is missing'],
    [
      'a file was added',
      () => writeFileSync(join(path, 'actor', 'adapter_config.json'), '{}'),
      'actor/adapter_config.json was added',
    ],
    [
      'controller.json was cut off',
      () => truncateSync(controller(), 60),
      'its controller.json was cut off or edited',
    ],
    [
      'controller.json is empty',
      () => truncateSync(controller(), 0),
      'its controller.json was cut off or edited',
    ],
    [
      'controller.json was edited',
      () => writeFileSync(controller(), readFileSync(controller(), 'utf8').replace('0.5', '0.9')),
      'its controller.json was edited',
    ],
    [
      'controller.json lacks something',
      () => writeFileSync(controller(), edited(json().replace('"seconds"', '"second"'))),
      'its controller.json is not valid',
    ],
    [
      'it is of another version',
      () => writeFileSync(controller(), edited(json().replace('"format": 2', '"format": 7'))),
      'it has format 7, written by GenAC 0.1.0; GenAC 0.1.0 reads format 2',
    ],
    [
      'there is no controller.json',
      () => execFileSync('rm', [controller()]),
      'it has no controller.json that can be read',
    ],
  ])('is refused when %s, with what to do', async (_, damage, words) => {
    damage();
    const error = await readCheckpoint(path).catch((e: Error) => e.message);
    expect(error).toContain(`the checkpoint ${path} can't be used: ${words}`);
    expect(error).toContain(
      `Use one before it (they are in ${folder}): genac resume ${join(folder, '..')} --from NAME`,
    );
  });

  it('that is missing is an error that names the others', async () => {
    const none = join(folder, 'critic-sft');
    await expect(readCheckpoint(none)).rejects.toThrow(
      `there is no checkpoint ${none}; in ${folder} there are joint-000040`,
    );
    const nowhere = join(folder, 'no-run', 'checkpoints', 'critic-sft');
    await expect(readCheckpoint(nowhere)).rejects.toThrow(
      `there is no checkpoint ${nowhere}; in ${join(nowhere, '..')} there are no checkpoints`,
    );
  });

  it('of large files is checked by blocks, the first and last included', async () => {
    const large = await writeCheckpoint(folder, 'joint-000041', state(), parts(70 * 2 ** 20));
    const file = join(large, 'actor', 'deeper', 'weights');
    const bytes = readFileSync(file);
    bytes[bytes.length - 1] = 9;
    writeFileSync(file, bytes);
    await expect(readCheckpoint(large)).rejects.toThrow('actor/deeper/weights was edited');
  });
});

describe('among checkpoints', () => {
  it('the order is that of the run, and `best` lies beside it', async () => {
    for (const name of [
      'joint-000009',
      'critic-rl',
      'joint',
      'critic-rl-000100',
      'critic-sft',
      'best',
      'joint-1000000',
      'x.unfinished',
    ])
      mkdirSync(join(folder, name));
    expect(await checkpointNames(folder)).toEqual([
      'critic-sft',
      'critic-rl-000100',
      'critic-rl',
      'joint-000009',
      'joint-000040',
      'joint-1000000',
      'joint',
    ]);
  });

  it('the newest `keep` within a stage stay, and all ends of stages', async () => {
    for (const name of [
      'critic-rl',
      'critic-rl-000010',
      'joint-000041',
      'joint-000042',
      'joint-000043.unfinished',
      'best',
    ])
      mkdirSync(join(folder, name));
    await pruneCheckpoints(folder, 'joint', 2);
    expect(readdirSync(folder).sort()).toEqual([
      'best',
      'critic-rl',
      'critic-rl-000010',
      'joint-000041',
      'joint-000042',
    ]);
  });
});

describe('a full disk', () => {
  const disk = mkdtempSync(join(tmpdir(), 'genac-disk-'));
  const mounted = (() => {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk], { stdio: 'ignore' });
      return true;
    } catch {
      return false; // only root can
    }
  })();
  afterAll(() => {
    if (mounted) execFileSync('umount', [disk], { stdio: 'ignore' });
  });

  it.skipIf(!mounted)(
    'is told of; the last checkpoint stays whole, and nothing half written is left',
    async () => {
      const small = join(disk, 'checkpoints');
      mkdirSync(small);
      const first = await writeCheckpoint(
        small,
        'joint-000001',
        state({ iteration: 1 }),
        parts(1000),
      );
      const error = await writeCheckpoint(
        small,
        'joint-000002',
        state({ iteration: 2 }),
        parts(2 ** 20),
      ).catch((e: Error) => e.message);
      expect(error).toMatch(
        /joint-000002 could not be written \(ENOSPC.*\); the last one, .*joint-000001, is whole. Make room, then: genac resume/,
      );
      expect((await readCheckpoint(first)).iteration).toBe(1);
      expect(readdirSync(small)).toEqual(['joint-000001']);
      appendFileSync(join(small, 'room'), 'x'); // there is room again
      expect(existsSync(join(small, 'room'))).toBe(true);
    },
  );
});
