/** `genac evaluate`: what critics are worth, on the same states. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { checkEvaluation, type EvaluationInput } from '../comparison/config.ts';
import { evaluate } from '../comparison/evaluate.ts';
import { evaluationOfRuns } from '../comparison/of-runs.ts';
import { terminalText } from '../comparison/tables.ts';
import { readOptions, readValue, readYaml } from '../config/load.ts';
import { printable } from '../text/printable.ts';
import { UserError } from '../user-error.ts';
import { exitCodeOf } from './interrupt.ts';

export interface EvaluateFlags {
  readonly critic?: readonly string[];
  readonly folder?: string;
  readonly seed?: number;
  readonly prompts?: number;
  readonly continuations?: number;
  readonly references?: string;
  readonly greedy?: boolean;
  readonly trustCode?: boolean;
  readonly json?: boolean;
}

export async function evaluateCommand(
  sources: readonly string[],
  flags: EvaluateFlags,
): Promise<void> {
  const { input, base, file } = await optionsOf(sources, flags.trustCode ?? false);
  const named = (flags.critic ?? []).map(namedCritic);
  const twice = named.find(([name], i) => named.some(([other], k) => k < i && other === name));
  if (twice) throw new UserError(`--critic ${twice[0]} is given twice: name them apart`);
  const { folder, seed, prompts, continuations, references, greedy } = flags;
  const changed = {
    folder: join('evaluations', 'evaluation'),
    ...input,
    critics: { ...input.critics, ...Object.fromEntries(named) },
    ...defined({ folder, seed, prompts, continuations, references, greedy }),
  };
  checkEvaluation(changed, file);
  const stopping = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    process.exitCode = exitCodeOf(signal);
    if (stopping.signal.aborted) process.exit();
    console.error('\nending after this part; the same command goes on from there');
    stopping.abort(new UserError('stopped; the same command goes on from there'));
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal);
  const result = await evaluate(changed as EvaluationInput, {
    ...{ base, signal: stopping.signal, trustCode: flags.trustCode ?? false },
    log: (text) => console.error(printable(text)),
  });
  console.log(flags.json ? JSON.stringify(result, null, 2) : printable(terminalText(result)));
  console.error(`${join(result.folder, 'index.html')}: tables and plots`);
}

async function optionsOf(sources: readonly string[], trustCode: boolean) {
  const [first] = sources;
  if (first === '-') {
    const input = readOptions(readFileSync(0, 'utf8')) as unknown as EvaluationInput;
    return { input, base: resolve('.'), file: 'stdin' };
  }
  const isFile = statSync(first!, { throwIfNoEntry: false })?.isFile() ?? false;
  if (isFile) {
    if (sources.length > 1)
      throw new UserError('give one YAML file, or runs and checkpoints; not both');
    const input = readYaml(first!) as unknown as EvaluationInput;
    return { input, base: dirname(resolve(first!)), file: first };
  }
  return { ...(await evaluationOfRuns(sources, { trustCode })), file: undefined };
}

/** `mc={use: monte-carlo, continuations: 9}`, `head=runs/head`. */
function namedCritic(text: string): [string, unknown] {
  const at = text.indexOf('=');
  if (at < 1) throw new UserError(`--critic "${text}": write NAME={use: ...}, or NAME=FOLDER`);
  return [text.slice(0, at), readValue(text.slice(at + 1), `--critic ${text}`)];
}

const defined = (given: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
