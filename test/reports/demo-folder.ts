/**
 * A demo's folder in small, written by hand: two evaluations of each joint run, three responses.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const root = mkdtempSync(join(tmpdir(), 'genac-demo-'));
afterAll(() => rmSync(root, { recursive: true }));

type Line = Record<string, unknown>;

const lines = (all: readonly Line[]) => all.map((line) => `${JSON.stringify(line)}\n`).join('');
export const at = (
  type: string,
  stage: string,
  iteration: number,
  seconds: number,
  metrics: Line,
): Line => ({
  type,
  stage,
  iteration,
  seconds,
  ...metrics,
});

export const critic: readonly Line[] = [
  at('evaluation', 'critic-sft', 50, 5, { 'critic/rationale_loss': 0.5 }),
  at('evaluation', 'critic-sft', 100, 9, {
    'critic/heldout_mse': 0.09,
    'critic/heldout_mse_of_constant': 0.16,
  }),
  at('evaluation', 'critic-rl', 0, 0.5, {
    'critic/heldout_mse': 0.09,
    'critic/heldout_mse_of_constant': 0.16,
  }),
  at('evaluation', 'critic-rl', 10, 6, {
    'critic/heldout_mse': 0.04,
    'critic/heldout_mse_of_constant': 0.16,
  }),
  at('evaluation', 'critic-rl', 20, 11, {
    'critic/heldout_mse': 0.05,
    'critic/heldout_mse_of_constant': 0.16,
  }),
];

const iteration = (n: number, seconds: number, metrics: Line): Line =>
  at('iteration', 'joint', n, seconds, metrics);
const evaluation = (n: number, seconds: number, success: number, mse?: number): Line =>
  at('evaluation', 'joint', n, seconds, {
    'evaluation/success': success,
    ...(mse !== undefined && {
      'critic/heldout_mse': mse,
      'critic/heldout_mse_of_constant': 2 * mse,
    }),
  });

/**
 * 1000 + 3000 actor tokens, of which half lies nearest to the evaluation at 1000; 6000 critic
 * tokens.
 */
export const genac: readonly Line[] = [
  at('evaluation', 'joint', 0, 1, { 'gate/mse': 0.03, 'gate/mse_of_constant': 0.06 }),
  evaluation(0, 2, 0.2, 0.03),
  iteration(0, 3, {
    'actor/tokens': 1000,
    'critic/tokens': 2000,
    'value/last_right': 0.6,
    'value/last_wrong': 0.3,
    'gate/fallback': 1,
  }),
  evaluation(1, 4, 0.4, 0.02),
  iteration(1, 6, {
    'actor/tokens': 3000,
    'critic/tokens': 4000,
    'value/last_right': 0.8,
    'value/last_wrong': 0.1,
  }),
  evaluation(2, 7, 0.75, 0.01),
];

/** 1000 + 1000 + 2000 actor tokens: half is exactly the evaluation at 2000. */
export const groupMean: readonly Line[] = [
  evaluation(0, 1, 0.2),
  iteration(0, 2, { 'actor/tokens': 1000 }),
  evaluation(1, 2.5, 0.25),
  iteration(1, 3, { 'actor/tokens': 1000 }),
  evaluation(2, 3.5, 0.3),
  iteration(2, 4, { 'actor/tokens': 2000 }),
  evaluation(3, 5, 0.5),
];

const segment = (
  text: string,
  value: number,
  advantage: number,
  rationale: string,
  used = value,
): Line => ({
  text,
  tokens: 2,
  value,
  used_value: used,
  advantage,
  parsed: 'ok',
  rationale,
});

export const trajectories: readonly Line[] = [
  {
    iteration: 0,
    problem: 'p0',
    prompt: '1 | a +1 | >',
    response: 'a 3</script><script>alert(1)</script>',
    reward: 0,
    segments: [
      segment(
        'a 3</script><script>alert(1)</script>',
        0.9,
        -0.5,
        'a +1 2 3 N <b>left</b> & "0"',
        0.5,
      ),
    ],
  },
  {
    iteration: 1,
    problem: 'p1',
    prompt: '2 | a +1 | b +1 | >',
    response: 'a 3 b 4 .',
    reward: 1,
    segments: [
      segment('a 3', 0.6, 0.2, 'left 2'),
      segment(' b 4 .', 0.8, 0.2, 'a +1 3 3 Y left 1'),
    ],
  },
  {
    iteration: 1,
    problem: 'p2',
    prompt: '2 | a +1 | b +1 | >',
    response: 'a 3 b 5 .',
    reward: 1,
    segments: [
      segment('a 3', 0.4, 0.6, 'left 2'),
      segment(' b 5 .', 0.2, 0.8, 'a +1 3 3 Y left 1'),
    ],
  },
];

export interface DemoParts {
  readonly demo?: Line | null;
  readonly critic?: readonly Line[] | null;
  readonly genac?: readonly Line[] | null;
  readonly groupMean?: readonly Line[] | null;
}

/** null leaves a part out. */
export function writeDemo(parts: DemoParts = {}): string {
  const folder = mkdtempSync(join(root, 'demo-'));
  const demo = parts.demo === undefined ? { seed: 3, seconds: 61.4 } : parts.demo;
  if (demo) writeFileSync(join(folder, 'demo.json'), JSON.stringify(demo));
  const runs = {
    critic: parts.critic ?? critic,
    genac: parts.genac ?? genac,
    'group-mean': parts.groupMean ?? groupMean,
  };
  const left = {
    critic: parts.critic === null,
    genac: parts.genac === null,
    'group-mean': parts.groupMean === null,
  };
  const write = (name: string, metrics: readonly Line[]) => {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'metrics.jsonl'), lines(metrics));
  };
  // Stages 1 and 2 are runs of their own.
  for (const stage of left.critic ? [] : ['critic-sft', 'critic-rl']) {
    write(
      stage,
      runs.critic.filter((line) => line.stage === stage),
    );
  }
  if (!left.genac) write('genac', runs.genac);
  if (!left['group-mean']) write('group-mean', runs['group-mean']);
  if (!left.genac) writeFileSync(join(folder, 'genac', 'trajectories.jsonl'), lines(trajectories));
  return folder;
}
