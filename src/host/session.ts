/**
 * GenAC for a host that trains the actor by itself: values of its responses, their credit, and the
 * critic's learning. The same `assignCredit`, critics, In-Context Conditioning and gates as in a
 * run; what is sampled and how the actor is optimized is the host's.
 */
import { basename, dirname, join } from 'node:path';
import type { HostArguments, HostResult } from '../bridge/host-operations.ts';
import { type Tensors, tensor } from '../bridge/tensor.ts';
import { createCritic, valuesOf } from '../checked-critic.ts';
import { assignCredit } from '../credit.ts';
import type { Critic } from '../critic.ts';
import { mapYielding } from '../event-loop.ts';
import { criticEnvironment } from '../extensions/critic-environment.ts';
import {
  bareEnvironment,
  loadCritic,
  loadTask,
  type PluginChoice,
} from '../extensions/find-plugin.ts';
import { creditOptions, learnFrom, segmentAll, valueAll } from '../iteration/batch.ts';
import { Spending } from '../iteration/metrics.ts';
import { oneStateOfEach } from '../iteration/rollout-states.ts';
import { rolloutOf, segmentationOf } from '../iteration/rollouts.ts';
import { mean } from '../math/statistics.ts';
import { smoothSuccessRate } from '../math/success-rate.ts';
import { startConfigured, workersOf, workersOfCritic } from '../run/configured-workers.ts';
import { restoreCritic } from '../run/load-models.ts';
import { readCheckpoint, writeCheckpoint } from '../run-folder/checkpoint.ts';
import { textState } from '../state.ts';
import type { Task } from '../task.ts';
import { paperFormat } from '../text/critic-prompt.ts';
import type { BudgetedSegmentation } from '../text/segment.ts';
import type { ActorProfile, Outcome } from '../types.ts';
import type { WorkerGroup } from '../workers/local.ts';
import { hostMetrics, type Metrics, reportedValuations } from './answer.ts';
import { trajectoriesOf } from './batch.ts';
import { CarefulValuer } from './careful-valuer.ts';
import { type HostConfig, loadHostConfig, refuseForHost } from './config.ts';
import { HostContinuations } from './continuations.ts';
import { HostSft } from './host-sft.ts';
import type { AskHost } from './reverse-requests.ts';

type Ask = HostArguments<'assign_credit'>;

const seconds = (since: number) => (performance.now() - since) / 1000;

export class HostSession {
  readonly #config: HostConfig;
  readonly #critic: Critic;
  readonly #workers: WorkerGroup;
  readonly #segmentation: BudgetedSegmentation;
  readonly #sft: HostSft;
  readonly #valuer: CarefulValuer;
  readonly #continuations: HostContinuations | null;
  /** The actor's profile for ICC; the host may send it after `open`. */
  actor: Omit<ActorProfile, 'successRate'>;
  readonly #log: (text: string) => void;
  #successRate: number | null;
  /** A worker that died: a critic that rests is not asked, and its end must not go unnoticed. */
  #lost: Error | null = null;
  /** Metrics of the critic's running update. */
  #update: Promise<Metrics> | null = null;
  /** Metrics of the last finished update, sent with the next training batch. */
  #pendingMetrics: Metrics = {};
  /** A host that was started again counts them from 0, and draws depend on them. */
  #evaluations = 0;
  /** When the critic last ended any work: what comes after it is its idle time. */
  #idleSince = performance.now();

  private constructor(parts: {
    config: HostConfig;
    critic: Critic;
    workers: WorkerGroup;
    task: Task | null;
    actor: Omit<ActorProfile, 'successRate'>;
    budget: number | null;
    log: (text: string) => void;
    continuations: HostContinuations | null;
  }) {
    this.#config = parts.config;
    this.#critic = parts.critic;
    this.#workers = parts.workers;
    this.#sft = new HostSft(parts);
    parts.workers.onLost((error) => {
      this.#lost ??= error;
    });
    this.#valuer = new CarefulValuer(parts.critic);
    this.actor = parts.actor;
    this.#log = parts.log;
    this.#continuations = parts.continuations;
    this.#successRate = parts.config.icc.success_rate;
    this.#segmentation = segmentationOf(parts, parts.budget);
  }

  /** Reads the config, starts the critic's worker, loads the critic. */
  static async open(
    given: HostArguments<'open'>,
    log: (text: string) => void,
    signal: AbortSignal,
    askHost: AskHost,
  ): Promise<HostSession> {
    const { config, base } = await loadHostConfig(given);
    const task =
      config.task === null
        ? null
        : (await loadTask(config.task as PluginChoice, { ...bareEnvironment(base), log })).task;
    const { plugin, options } = await loadCritic(config.critic as PluginChoice, base);
    refuseForHost(config, plugin, given.config_file);
    const names = workersOf(
      { actor: null, workers: config.workers },
      await workersOfCritic({ plugin, options }, base),
      false,
    );
    const workers = await startConfigured(config.workers, names, given.logs, 1);
    try {
      const continuations = given.continues ? new HostContinuations(askHost, config.seed) : null;
      const environment = criticEnvironment({
        base,
        ...{ seed: config.seed, format: task?.criticFormat ?? paperFormat, log },
        ...{ runFolder: given.logs, signal, worker: (name) => workers.get(name) },
        actor: continuations,
      });
      const critic = await createCritic(plugin, options, environment);
      const actor = given.actor ?? { name: 'actor', parameters: 0 };
      const budget = given.max_new_tokens;
      return new HostSession({ config, critic, workers, task, actor, budget, log, continuations });
    } catch (error) {
      await workers.close(0);
      throw error;
    }
  }

  get description(): HostResult<'open'> {
    const { name, needs, learn } = this.#critic;
    const pids = this.#workers.all.flatMap((worker) => this.#workers.pid(worker.name) ?? []);
    return { critic: name, needs, learns: learn !== undefined, pids };
  }

  async assignCredit(
    ask: Ask,
    tensors: Tensors,
  ): Promise<{ result: HostResult<'assign_credit'>; tensors: Tensors; afterwards: () => void }> {
    if (this.#lost) throw this.#lost;
    const began = performance.now();
    const done = await this.fence();
    // An update that was still running ends after this began.
    const idle = Math.max(0, began - this.#idleSince) / 1000;
    const evaluates = ask.purpose === 'evaluation';
    if (evaluates) this.#pendingMetrics = done;
    const iteration = evaluates ? this.#evaluations++ : ask.iteration;
    const waited = seconds(began);
    const trajectories = trajectoriesOf(ask, tensors);
    const profile = { ...this.actor, successRate: this.#successRate };
    const critic = this.#critic;
    const all = await segmentAll(trajectories, this.#segmentation, profile, critic);
    const segmented = this.#learnsFromOneOfEach(ask)
      ? oneStateOfEach(all, this.#config.seed, ask.purpose, ask.iteration * all.length)
      : all;
    const valuing = performance.now();
    const spent = new Spending();
    const value = () =>
      valueAll(
        (states, context) => this.#valuer.value(states, context, ask.purpose === 'critic-rl'),
        segmented,
        { purpose: ask.purpose, iteration, report: spent.add },
      );
    const valuations = await (this.#continuations?.during(trajectories, value) ?? value());
    const options = creditOptions(this.#config, critic, ask.scale);
    const assignment = assignCredit(segmented, valuations, options);
    const learns = !evaluates && trajectories.length > 0;
    if (learns)
      this.#successRate = smoothSuccessRate(
        this.#successRate,
        trajectories.map(({ reward }) => reward),
        this.#config.icc.momentum,
      );
    const metrics = {
      ...(!evaluates && done),
      ...spent.metrics,
      ...(trajectories.length > 0 && hostMetrics(segmented, assignment, this.#successRate)),
      'critic/seconds_idle': idle,
      'critic/seconds_waited_for_update': waited,
      'critic/seconds_valuing': seconds(valuing),
    };
    const advantages = new Float32Array(tensors.completion_ids!.data.length);
    let at = 0;
    for (const { advantages: own } of assignment.credits) {
      advantages.set(own, at);
      at += own.length;
    }
    this.#idleSince = performance.now();
    return {
      result: { metrics, valuations: reportedValuations(segmented, assignment, ask.report) },
      tensors: { advantages: tensor(advantages) },
      afterwards: () => {
        if (learns) this.#learn(assignment.outcomes, ask);
      },
    };
  }

  #learnsFromOneOfEach({ purpose }: Ask): boolean {
    return purpose === 'critic-rl' && this.#config.critic_rl.states_per_response === 'one';
  }

  /** Starts the critic's update. `fence` throws its error. */
  #learn(outcomes: readonly Outcome[], { purpose, iteration, iterations }: Ask): void {
    const { critic: learning } = this.#config.joint;
    if (!this.#critic.learn || (purpose === 'joint' && learning === 'frozen')) return;
    const options = purpose === 'joint' ? this.#config.joint : this.#config.critic_rl;
    const total = iterations ?? Number.POSITIVE_INFINITY;
    const began = performance.now();
    this.#update = learnFrom(this.#critic, outcomes, options, iteration, total).then((metrics) => {
      this.#idleSince = performance.now();
      return { ...metrics, 'critic/seconds_updating': seconds(began) };
    });
    this.#update.catch(() => {}); // `fence` throws it
  }

  /** Waits for the critic's update. @returns its metrics; none if there was no update */
  async fence(): Promise<Metrics> {
    const update = this.#update;
    this.#update = null;
    const metrics = { ...this.#pendingMetrics, ...(await update) };
    this.#pendingMetrics = {};
    return metrics;
  }

  /** Values of partial responses by themselves. */
  async value({ prompts, responses, greedy }: HostArguments<'value'>) {
    this.#pendingMetrics = await this.fence();
    if (prompts.length !== responses.length)
      throw new RangeError(
        `there are ${prompts.length} prompts, but ${responses.length} responses`,
      );
    const actor = { ...this.actor, successRate: this.#successRate };
    const states = responses.map((response, i) =>
      textState({
        ...{ id: `${i}`, problem: { id: `p${i}`, prompt: prompts[i]!, columns: {} } },
        ...{ response, group: i, actor },
      }),
    );
    const valuations = await valuesOf(this.#critic, states, {
      ...{ purpose: 'value', iteration: 0, greedy },
    });
    this.#idleSince = performance.now();
    return {
      result: {
        rationales: valuations.map(({ rationale }) => rationale),
        parsed: valuations.map(({ parsed }) => parsed),
      },
      tensors: { values: tensor(Float64Array.from(valuations, ({ value }) => value)) },
    };
  }

  openOracle(ask: HostArguments<'open_oracle'>): HostResult<'open_oracle'> {
    return this.#sft.openOracle(ask);
  }

  async askOracle(
    ask: HostArguments<'ask_oracle'>,
    tensors: Tensors,
    progress: (done: number, total: number, metrics: Metrics) => void,
  ): Promise<HostResult<'ask_oracle'>> {
    const trajectories = trajectoriesOf(ask, tensors);
    this.#successRate ??= mean(trajectories.map(({ reward }) => reward));
    const profile = { ...this.actor, successRate: this.#successRate };
    const rollouts = await mapYielding(trajectories, (t) =>
      rolloutOf(t, this.#segmentation, profile),
    );
    return this.#sft.askOracle(rollouts, progress);
  }

  async imitate(
    ask: HostArguments<'imitate'>,
    progress: (step: number, steps: number, metrics: Metrics) => void,
  ): Promise<HostResult<'imitate'>> {
    this.#pendingMetrics = await this.fence();
    const told = await this.#sft.imitate(ask, progress);
    this.#idleSince = performance.now();
    return told;
  }

  async save({
    folder,
    optimizer,
    stage,
    iteration,
    complete,
    reward_range,
  }: HostArguments<'save'>): Promise<void> {
    const done = await this.fence();
    // JSON has no other numbers.
    const told = Object.fromEntries(
      Object.entries(done).filter(([, value]) => Number.isFinite(value)),
    );
    const state = {
      ...{ stage, iteration, complete },
      success_rate: this.#successRate,
      progress: {
        ...(stage === 'critic-sft' ? this.#sft.progress : told),
        evaluations: this.#evaluations,
      },
      host: { speaks: this.#valuer.speaks, reward_range },
      written: { metrics: 0, trajectories: 0 },
      seconds: 0,
    };
    const path = await writeCheckpoint(dirname(folder), basename(folder), state, {
      actor: null,
      critic: this.#critic.save ? (to) => this.#critic.save!(to, optimizer) : null,
      'best-critic': null,
    });
    if (complete && this.#critic.save) await this.#critic.load?.(join(path, 'critic'));
    this.#pendingMetrics = done;
  }

  async restore({ folder }: HostArguments<'restore'>): Promise<HostResult<'restore'>> {
    await this.fence();
    const checkpoint = await readCheckpoint(folder);
    await restoreCritic(this.#critic, checkpoint);
    const { stage, iteration, complete, success_rate, host } = checkpoint;
    // Older checkpoints don't have it.
    const { evaluations = this.#evaluations, ...progress } = checkpoint.progress;
    this.#evaluations = evaluations;
    this.#successRate = success_rate;
    this.#valuer.speaks = host?.speaks ?? null;
    if (stage === 'critic-sft' && !complete) this.#sft.resume({ iteration, progress });
    // Of the update before the checkpoint: they belong to the next answer, as in a run without a
    // break.
    else if (stage !== 'critic-sft') this.#pendingMetrics = progress;
    return { stage, iteration, complete, success_rate, reward_range: host?.reward_range ?? null };
  }

  /** Ends the workers and drops a running update: `save` would have waited for it. */
  async close(): Promise<void> {
    const ended = this.#critic.close?.();
    await this.#workers.close(0);
    await ended?.catch((error: Error) => this.#log(`the critic did not close: ${error.message}`));
  }
}
