/**
 * Control of a running run: pause, resume, stop, change settings. Takes
 * effect between two iterations.
 */

import { ConfigError } from '../config/error.ts';
import { type Config, stageNames } from '../config/schema.ts';
import { changedConfig, criticOptions, type Settings, touchesCritic } from '../config/settings.ts';
import type { Critic, CriticPlugin } from '../critic.ts';
import type { RunEvent, SettingChange, StagePosition } from '../run-folder/events.ts';

export interface SteeringOptions {
  readonly config: Config;
  readonly plugin: CriticPlugin;
  readonly signal: AbortSignal;
  readonly emit: (event: RunEvent) => void;
  /**
   * Of an earlier life of this run: applied again where they were, so that a resumed run gives the
   * same numbers.
   */
  readonly past: readonly SettingChange[];
}

interface Asked {
  readonly values: Settings;
  readonly tell: (place: StagePosition | null) => void;
}

export class Steering {
  #config: Config;
  /** With all that was asked for. */
  #asked: Config;
  #waiting: Asked[] = [];
  #past: readonly SettingChange[];
  #paused = false;
  #over = false;
  #wake: () => void = () => {};
  readonly #options: SteeringOptions;
  /** null: it is not made yet. */
  #critic: Critic | null = null;

  constructor(options: SteeringOptions) {
    this.#options = options;
    this.#config = this.#asked = options.config;
    this.#past = options.past;
    options.signal.addEventListener('abort', () => this.#wake());
  }

  /** As it is now. */
  get config(): Config {
    return this.#config;
  }

  /** The critic that changed options go to, as soon as it is made. */
  steers(critic: Critic): void {
    this.#critic = critic;
  }

  get paused(): boolean {
    return this.#paused;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#wake();
  }

  /**
   * Changes values from the next iteration on. Throws a ConfigError at once if one is wrong;
   * nothing changes then.
   *
   * @returns from where on they hold; null: the run ended before
   */
  set(values: Settings): Promise<StagePosition | null> {
    if (Object.keys(values).length === 0)
      throw new ConfigError(['no value is named that can change']);
    if (this.#critic) refuseFixed(this.#critic, values);
    this.#asked = changedConfig(this.#asked, values, this.#options.plugin);
    if (this.#over) return Promise.resolve(null);
    return new Promise((tell) => this.#waiting.push({ values, tell }));
  }

  /** Applies what lies before this place, without a word: that was said in the earlier life. */
  catchUp(place: StagePosition): void {
    const before = this.#past.filter((setting) => orderOf(setting) < orderOf(place));
    this.#past = this.#past.filter((setting) => orderOf(setting) >= orderOf(place));
    for (const { values } of before) this.#apply(values);
  }

  /**
   * Between two iterations: values change, a paused run waits. False: the stage should end here;
   * values that were asked for before that hold from here on in the run that goes on.
   */
  async boundary(place: StagePosition): Promise<boolean> {
    const { signal, emit } = this.#options;
    if (this.#paused && !signal.aborted) {
      emit({ type: 'paused', ...place });
      while (this.#paused && !signal.aborted) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      if (!signal.aborted) emit({ type: 'resumed', ...place });
    }
    const due = this.#past.filter((setting) => orderOf(setting) === orderOf(place));
    this.#past = this.#past.filter((setting) => orderOf(setting) > orderOf(place));
    for (const { values } of due) this.#apply(values);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { values, tell } of waiting) {
      this.#apply(values);
      emit({ type: 'set', ...place, values });
      tell(place);
    }
    return !signal.aborted;
  }

  /** The run is over: nothing that was asked for takes effect any more. */
  end(): void {
    this.#over = true;
    for (const { tell } of this.#waiting) tell(null);
    this.#waiting = [];
  }

  #apply(values: Settings): void {
    const { plugin } = this.#options;
    const next = changedConfig(this.#config, values, plugin);
    if (touchesCritic(values) && this.#critic) {
      const [before, after] = [this.#config, next].map((one) => criticOptions(one, plugin));
      // A setting that is set back is none, also of a critic that takes no other options.
      if (JSON.stringify(before) !== JSON.stringify(after)) {
        refuseFixed(this.#critic, values);
        this.#critic.configure!(after);
      }
    }
    this.#config = next;
    if (this.#waiting.length === 0) this.#asked = next;
  }
}

/** Places in the order in which a run comes by them. */
export const orderOf = ({ stage, iteration }: StagePosition): number =>
  stageNames.indexOf(stage) * 2 ** 40 + iteration;

function refuseFixed(critic: Critic, values: Settings): void {
  if (!touchesCritic(values) || critic.configure) return;
  const named = Object.keys(values).filter((name) => name.startsWith('critic.'));
  throw new ConfigError(
    named.map(
      (name) =>
        `${name}: the critic "${critic.name}" takes no other options while a run goes on (it has no \`configure\`)`,
    ),
  );
}
