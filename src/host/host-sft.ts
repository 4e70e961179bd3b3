/**
 * Stage 1 for a host's critic: from an oracle that is asked about the host's responses, or from
 * traces that exist; step by step, so that a checkpoint may lie between.
 */
import { existsSync } from 'node:fs';
import { BridgeError } from '../bridge/errors.ts';
import type { HostArguments, HostResult } from '../bridge/host-operations.ts';
import { apiSchema, keyFaults } from '../config/api.ts';
import { issuesOf } from '../config/error.ts';
import { secretsIn } from '../config/secrets.ts';
import type { Critic } from '../critic.ts';
import type { StageState } from '../iteration/context.ts';
import { Oracle } from '../stages/oracle.ts';
import { mustImitate, SftLoop } from '../stages/sft-loop.ts';
import { traceSources } from '../stages/traces.ts';
import type { Rollout, Task } from '../task.ts';
import { type CriticFormat, paperFormat } from '../text/critic-prompt.ts';
import type { Metrics } from './answer.ts';
import type { HostConfig } from './config.ts';

export interface HostSftParts {
  readonly critic: Critic;
  readonly config: HostConfig;
  readonly task: Task | null;
  readonly log: (text: string) => void;
}

type Progress = Pick<StageState, 'iteration' | 'progress'>;
const start: Progress = { iteration: 0, progress: {} };

export class HostSft {
  readonly #parts: HostSftParts;
  readonly #format: CriticFormat;
  #oracle: Oracle | null = null;
  #imitation: { readonly traces: string; readonly of: SftLoop } | null = null;
  /** Where a checkpoint says that it stood. */
  #from = start;

  constructor(parts: HostSftParts) {
    this.#parts = parts;
    this.#format = parts.task?.criticFormat ?? paperFormat;
  }

  /** @throws RangeError options or key */
  openOracle({ api, folder, resume }: HostArguments<'open_oracle'>): HostResult<'open_oracle'> {
    mustImitate(this.#parts.critic);
    const read = apiSchema.safeParse(api);
    const faults = read.success
      ? [...secretsIn(api, ['traces', 'api']), ...keyFaults(read.data, 'traces.api')]
      : issuesOf(read.error, apiSchema, api, 'traces.api');
    if (!read.success || faults.length > 0)
      throw new RangeError(`the oracle's options are not valid\n  ${faults.join('\n  ')}`);
    this.#oracle = new Oracle(read.data, folder, folder);
    const { file } = this.#oracle;
    return { count: read.data.count, traces: resume && existsSync(file) ? file : null };
  }

  /** @throws OracleError */
  async askOracle(
    rollouts: readonly Rollout[],
    progress: (done: number, total: number, metrics: Metrics) => void,
  ): Promise<HostResult<'ask_oracle'>> {
    if (!this.#oracle) throw new BridgeError('bad_state', 'ask_oracle: open_oracle comes first');
    const { critic, config, log } = this.#parts;
    const gathered = await this.#oracle.ask(rollouts, {
      ...{ seed: config.seed, critic, format: this.#format, say: log, progress },
      stopped: () => false,
    });
    return { traces: this.#oracle.file, metrics: { ...gathered!.metrics } };
  }

  /** So many steps, or all that are left. */
  async imitate(
    { traces, at_most }: HostArguments<'imitate'>,
    progress: (step: number, steps: number, metrics: Metrics) => void,
  ): Promise<HostResult<'imitate'>> {
    const o = this.#parts.config.critic_sft;
    const imitation = this.#goingOn(traces);
    let metrics: Metrics = {};
    for (let made = 0; !imitation.done(o) && made < (at_most ?? Number.POSITIVE_INFINITY); made++) {
      const step = await imitation.next(o);
      metrics = { ...step.metrics };
      if (step.rationaleLoss !== null) metrics['critic/rationale_loss'] = step.rationaleLoss;
      progress(imitation.stageState.iteration, imitation.steps(o), metrics);
    }
    const done = imitation.done(o);
    const { iteration } = imitation.stageState;
    if (done) this.#imitation = null;
    return { step: iteration, done, metrics };
  }

  /** What a checkpoint within the stage must hold. */
  get progress(): StageState['progress'] {
    return this.#imitation?.of.stageState.progress ?? {};
  }

  /** The next `imitate` continues from here. */
  resume(from: Progress): void {
    this.#imitation = null;
    this.#from = from;
  }

  #goingOn(traces: string): SftLoop {
    if (this.#imitation?.traces === traces) return this.#imitation.of;
    const { critic, config, task } = this.#parts;
    mustImitate(critic);
    const options = { ...config.critic_sft, traces };
    const sources = traceSources({ seed: config.seed, critic_sft: options }, task, this.#format);
    const imitation = new SftLoop(critic, sources, config.critic_sft, this.#from);
    this.#from = start;
    this.#imitation = { traces, of: imitation };
    return imitation;
  }
}
