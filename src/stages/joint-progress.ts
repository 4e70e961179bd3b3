/** The bookkeeping of joint training: checkpoints, evaluations, metrics and records. */
import type { CreditAssignment } from '../credit.ts';
import { evaluate, knownSuccessRate, passGate } from '../evaluation/held-out.ts';
import type { SegmentedBatch, Valuations } from '../iteration/batch.ts';
import {
  boundary,
  checkpoint,
  checkpointIfDue,
  endStage,
  type StageState,
  type Training,
} from '../iteration/context.ts';
import { smoothSuccessRate } from '../math/success-rate.ts';
import type { Metrics } from '../run-folder/events.ts';
import { recordTrajectories, rolloutMetrics } from '../run-folder/iteration-record.ts';

/** What an iteration made. */
export interface JointIteration {
  readonly segmented: SegmentedBatch;
  readonly valuations: Valuations;
  readonly assignment: CreditAssignment;
  /** Of the updates. */
  readonly metrics: Metrics;
}

export class JointProgress {
  readonly #training: Training;
  readonly #iterations: number;
  #began = 0;
  #best: number;
  /** Was the boundary before the iteration passed already, ahead of the gate? */
  #passed = false;
  /** The current iteration, from 0. */
  iteration: number;
  /** The actor's smoothed success rate in [0, 1]; null: not known yet. */
  successRate: number | null;

  private constructor(training: Training, start: StageState, successRate: number | null) {
    this.#training = training;
    this.#iterations = training.config.joint.steps;
    this.#best = start.progress.best_success ?? Number.NEGATIVE_INFINITY;
    this.iteration = start.iteration;
    this.successRate = successRate;
  }

  /**
   * At the stage's beginning, or where a checkpoint left it. @throws UserError if the gate is
   * closed
   */
  static async begin(training: Training, start: StageState): Promise<JointProgress> {
    const { steps } = training.config.joint;
    const { iteration } = start;
    training.emit({ type: 'stage', stage: 'joint', iterations: steps, from: start.iteration });
    // What holds from the first iteration on holds for the gate, too.
    const goesOn = iteration > 0 || (await boundary(training, { stage: 'joint', iteration }));
    const rate = goesOn ? await knownSuccessRate(training, start) : start.successRate;
    const progress = new JointProgress(training, start, rate);
    progress.#passed = iteration === 0;
    reportTruncation(training);
    const isNew = !training.folder.wasMeasured({ stage: 'joint', iteration }, 'gate/mse');
    if (iteration === 0 && goesOn && isNew) await passGate(training, progress.successRate);
    return progress;
  }

  get #stageState(): StageState {
    const best = this.#best;
    return {
      ...{ stage: 'joint', iteration: this.iteration, successRate: this.successRate },
      progress: Number.isFinite(best) ? { best_success: best } : {},
    };
  }

  /** Begins an iteration, with an evaluation if one is due. False: the stage ends. */
  async next(): Promise<boolean> {
    const { iteration } = this;
    if (iteration >= this.#iterations) return false;
    const passed = this.#passed;
    this.#passed = false;
    if (passed && this.#training.stopping()) return false;
    if (!passed && !(await boundary(this.#training, { stage: 'joint', iteration }))) return false;
    this.#began = performance.now();
    if (isDue(this.#training.config.evaluation.every, iteration)) await this.#evaluate();
    return true;
  }

  /**
   * Ends an iteration: its metrics and trajectories are written, and a checkpoint if one is due.
   */
  async done(made: JointIteration): Promise<void> {
    const { emit, folder, config } = this.#training;
    const { segmented, valuations, assignment, metrics } = made;
    const { iteration } = this;
    const rewards = segmented.map(({ trajectory }) => trajectory.reward);
    this.successRate = smoothSuccessRate(this.successRate, rewards, config.icc.momentum);
    const all = {
      ...rolloutMetrics(segmented, assignment, this.successRate),
      ...metrics,
      seconds_per_iteration: (performance.now() - this.#began) / 1000,
    };
    emit({ type: 'iteration', stage: 'joint', iteration, metrics: all });
    const { record } = config.sampling;
    recordTrajectories(folder, record, segmented, valuations, assignment, iteration);
    this.iteration++;
    await checkpointIfDue(this.#training, this.#stageState);
  }

  /** The last evaluation and the stage's checkpoint. */
  async end(): Promise<StageState> {
    const place = { stage: 'joint', iteration: this.iteration } as const;
    const known = this.#training.folder.wasMeasured(place, 'evaluation/success');
    if (!this.#training.stopping() && !known) await this.#evaluate();
    return endStage(this.#training, this.#stageState);
  }

  async #evaluate(): Promise<void> {
    const success = await evaluate(this.#training, this.iteration, this.successRate);
    if (!this.#training.config.checkpoints.best || success <= this.#best) return;
    this.#best = success;
    await checkpoint(this.#training, this.#stageState, false, 'best');
  }
}

/** PPO's ratios are of the whole distribution, and truncated sampling draws from another one. */
function reportTruncation({ config: { sampling }, emit }: Training): void {
  const { top_p, top_k } = sampling;
  if ((top_p === null || top_p === 1) && top_k === null) return;
  const text =
    'sampling.top_p and top_k: responses are drawn from the likeliest tokens only, and the policy ' +
    'gradient is of the whole distribution, so it is biased; leave them null to train on what is ' +
    'sampled';
  emit({ type: 'message', text });
}

const isDue = (every: number, iteration: number) =>
  every > 0 ? iteration % every === 0 : iteration === 0;
