/**
 * A model behind an OpenAI-compatible API as the critic, zero-shot or few-shot. It is never
 * trained. Its answers are kept in a file, and a cost limit ends its work before it is exceeded.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import {
  ApiClient,
  apiFields,
  apiRules,
  type CreatedCritic,
  type CriticEnvironment,
  type CriticFormat,
  defineCritic,
  mean,
  type Prompt,
  parseScore,
  readScore,
  readTraceFile,
  type State,
  UserError,
  type Valuation,
  writeTrace,
} from '../../src/plugin-api.ts';

const options = z.strictObject({
  ...apiFields,
  /** In-Context Conditioning: the prompt has the actor's profile. */
  icc: z.boolean().default(true),
  /** Reason in words before the score. */
  thinking: z.boolean().default(true),
  completions_per_state: z.int().positive().max(100).default(1),
  /** JSONL file of traces (docs/oracles.md): the first ones are shown before each question. */
  shots: z.string().min(1).nullable().default(null),
  /** Number of traces shown. */
  shot_count: z.int().positive().max(64).default(4),
});

type Options = z.infer<typeof options>;

export default defineCritic({
  name: 'api',
  needs: 'states',
  options: options.superRefine(apiRules),
  paths: ['cache', 'shots'],
  names: ({ base_url, api_key_env, cache, shots }) => [
    `${api_key_env === null ? 'prompts are' : `the key in ${api_key_env} is`} sent to ${base_url}`,
    ...(cache === null ? [] : [`${cache} is written`]),
    ...(shots === null ? [] : [`${shots} is read and sent`]),
  ],
  create,
});

async function create(
  o: Options,
  { format, folder, signal, log }: CriticEnvironment,
): Promise<CreatedCritic> {
  const own = (await folder()) ?? mkdtempSync(join(tmpdir(), 'genac-api-'));
  const client = new ApiClient(o, { folder: own, signal, log });
  const profileOf = (state: State) => (o.icc ? state.actor : null);
  const promptOf = (state: State) => asMessages(format.prompt(state, profileOf(state), o.thinking));
  const shots = o.shots === null ? [] : shotsIn(o.shots, format).slice(0, o.shot_count);
  const shown = shots.flatMap(({ state, rationale, score }) => [
    ...promptOf(state),
    {
      role: 'assistant',
      content: writeTrace(o.thinking ? rationale : '', score, format, profileOf(state)),
    },
  ]);

  const valuationOf = (state: State, answers: readonly (string | null)[]): Valuation => {
    const texts = answers.filter((text) => text !== null);
    const read = texts.flatMap((text) => readScore(text, format) ?? []);
    const known = read.length > 0;
    return {
      value: known ? mean(read.map(({ value }) => value)) : fallbackOf(state),
      rationale: read[0]?.rationale ?? texts[0] ?? '',
      parsed: known ? 'ok' : 'malformed',
      completions: [],
      ...(texts.length === 0 && { skipped: 'refused' }),
    };
  };

  return {
    sharesFirstState: true,
    prompt: promptOf,
    async value(states, { report }) {
      const before = client.usage;
      const each = o.completions_per_state;
      const answers = await client.ask(
        states.flatMap((state) => {
          const messages = [...shown, ...promptOf(state)];
          return Array.from({ length: each }, (_, sample) => ({ messages, sample }));
        }),
      );
      const { usage } = client;
      report?.({
        api_answers: usage.answers - before.answers,
        api_input_tokens: usage.input_tokens - before.input_tokens,
        api_output_tokens: usage.output_tokens - before.output_tokens,
        ...(usage.cost !== undefined && { api_cost: usage.cost - (before.cost ?? 0) }),
      });
      return states.map((state, i): Valuation => {
        if (answers) return valuationOf(state, answers.slice(i * each, (i + 1) * each));
        const value = fallbackOf(state);
        const skipped = 'not-asked';
        return { value, rationale: '', parsed: 'malformed', completions: [], skipped };
      });
    },
  };
}

/** Those that are as the critic is asked to write. */
function shotsIn(path: string, format: CriticFormat) {
  const shots = readTraceFile(path).filter(
    ({ rationale, score }) =>
      parseScore(writeTrace(rationale, score, format), format.score)?.score === score,
  );
  if (shots.length > 0) return shots;
  throw new UserError(
    `critic.shots: no trace in ${path} has a score that can be read: an integer from 0 to 10`,
  );
}

const fallbackOf = ({ actor }: State) => actor.successRate ?? 0.5;

const asMessages = (prompt: Prompt) =>
  typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
