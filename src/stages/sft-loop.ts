/**
 * Stage 1 step by step (arXiv 2604.10701): the critic imitates an oracle's traces. A run and a host
 * drive it; `stageState` is its whole state.
 */
import type { Config } from '../config/schema.ts';
import type { Critic } from '../critic.ts';
import type { StageState } from '../iteration/context.ts';
import { prefixed } from '../iteration/metrics.ts';
import { plateauRate } from '../math/learning-rate.ts';
import type { Metrics } from '../run-folder/events.ts';
import type { OracleTrace } from '../task.ts';
import { UserError } from '../user-error.ts';
import type { TraceSource } from './traces.ts';

/** Checks before an oracle is paid. @throws Error if the critic can't imitate */
export function mustImitate(critic: Critic): NonNullable<Critic['imitate']> {
  if (critic.imitate) return critic.imitate.bind(critic);
  throw new UserError(`critic "${critic.name}" can't imitate an oracle: leave stage 1 out`);
}

/** How a step is made; may change between two. */
export type SftOptions = Omit<Config['critic_sft'], 'traces'>;

export interface SftStep {
  readonly metrics: Metrics;
  /** Of held-out rationales, in nats per token, where it was looked at. */
  readonly rationaleLoss: number | null;
}

export class SftLoop {
  readonly #critic: Critic;
  readonly #imitate: NonNullable<Critic['imitate']>;
  readonly #train: TraceSource;
  readonly #heldOut: readonly OracleTrace[];
  #coolFrom: number;
  #step: number;

  constructor(
    critic: Critic,
    { train, heldOut }: { readonly train: TraceSource; readonly heldOut: readonly OracleTrace[] },
    options: SftOptions,
    from: Pick<StageState, 'iteration' | 'progress'>,
  ) {
    this.#critic = critic;
    this.#imitate = mustImitate(critic);
    this.#train = train;
    this.#heldOut = heldOut;
    this.#step = from.iteration;
    this.#coolFrom = from.progress.cool_from ?? options.steps;
    train.seek(from.progress);
  }

  /** The part of a checkpoint: steps done, and the loop's own state. */
  get stageState(): Pick<StageState, 'iteration' | 'progress'> {
    return {
      iteration: this.#step,
      progress: { ...this.#train.position, cool_from: this.#coolFrom },
    };
  }

  /** Steps in all, as far as that is known: the cool-down may begin sooner. */
  steps({ cooldown }: SftOptions): number {
    return this.#coolFrom + cooldown;
  }

  done(options: SftOptions): boolean {
    return this.#step >= this.steps(options);
  }

  /** Traces that passed the filter, and those that did not, by cause. */
  get traces(): Metrics {
    return { kept: this.#train.kept, ...this.#train.dropped };
  }

  /** One update from the next traces. */
  async next(options: SftOptions): Promise<SftStep> {
    const rate = plateauRate(options, this.#step, this.#coolFrom);
    const update = { learningRate: rate, maxGradNorm: options.max_grad_norm };
    const learned = await this.#imitate(this.#train.take(options.batch), update);
    this.#step++;
    return {
      metrics: { ...prefixed('critic', learned), ...prefixed('traces', this.traces) },
      rationaleLoss: await this.#lookAtHeldOut(options),
    };
  }

  /**
   * Begins the cool-down when the critic predicts held-out rationales well: the number of steps
   * says little about that.
   */
  async #lookAtHeldOut(options: SftOptions): Promise<number | null> {
    const due = this.#heldOut.length > 0 && this.#step % options.evaluate_every === 0;
    if (!this.#critic.rationaleLoss || !due) return null;
    const loss = await this.#critic.rationaleLoss(this.#heldOut);
    const { stop_at_rationale_loss: enough } = options;
    if (enough !== null && loss <= enough && this.#step <= this.#coolFrom)
      this.#coolFrom = this.#step;
    return loss;
  }
}
