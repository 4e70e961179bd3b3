/** The command line; each command is one file. */
import { Command, InvalidArgumentError, Option } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };
import { printable } from '../text/printable.ts';
import { UserError } from '../user-error.ts';
import { escapeConsole } from './escaped-console.ts';
import type { EvaluateFlags } from './evaluate.ts';
import type { InspectFlags } from './inspect.ts';
import type { ReproduceFlags } from './reproduce.ts';
import type { ServeFlags } from './serve.ts';
import type { ValueFlags } from './value.ts';

/** Seeds are nonnegative integers. */
function seedOf(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('a seed is a whole number, 0 or more.');
}

/** Whole numbers, 0 or more. */
function countOf(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('it is a whole number, 0 or more.');
}

/** `1,3`. */
const numbersOf = (text: string): number[] => text.split(',').map((one) => countOf(one.trim()));

/** Numbers of at least `least`, at most `most`. */
const numberOf = (least: number, most: number) => (text: string) => {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (value >= least && value <= most) return value;
  throw new InvalidArgumentError(`it is a number from ${least} to ${most}.`);
};

/** `harder=harder.yaml`, beside those before it. */
function shiftOf(text: string, known?: Readonly<Record<string, string>>): Record<string, string> {
  const [, name, file] = /^([A-Za-z][\w.-]*)=(.+)$/.exec(text) ?? [];
  if (name !== undefined && file !== undefined) return { ...known, [name]: file };
  throw new InvalidArgumentError('it is NAME=FILE.');
}

escapeConsole();
const program = new Command('genac')
  .description(
    'Generative Actor-Critic: reinforcement learning with a critic that reasons in words',
  )
  .version(packageJson.version)
  .configureOutput({ outputError: (text, write) => write(printable(text)) })
  .showHelpAfterError();

program
  .command('train')
  .description('run a config: the stages that it names')
  .argument('<config>', 'YAML file; see examples/miniature.yaml for every option')
  .option('--folder <folder>', 'write the run here instead of where the config says')
  .option('--seed <seed>', 'another seed', seedOf)
  .action(async (path: string, options: { folder?: string; seed?: number }) => {
    const { trainCommand } = await import('./train.ts');
    await trainCommand(path, options);
  });

program
  .command('resume')
  .description(
    'go on with a run that was stopped or that died, exactly; or with one that is paused',
  )
  .argument('<folder>', "the run's folder")
  .option('--from <checkpoint>', 'name of the checkpoint to go on from (default: the newest)')
  .option(
    '--trust-code',
    "what the config of somebody else's run names (code, keys, places) may be used",
  )
  .action(async (folder: string, options: { from?: string; trustCode?: boolean }) => {
    const { resumeCommand } = await import('./train.ts');
    await resumeCommand(folder, options);
  });

for (const [command, description] of [
  ['pause', 'let a run wait after the iteration in hand'],
  ['stop', 'end a run after the iteration in hand, with a checkpoint'],
] as const) {
  program
    .command(command)
    .description(description)
    .argument('<folder>', "the run's folder")
    .action(async (folder: string) => {
      const { askCommand } = await import('./control.ts');
      await askCommand(folder, command);
    });
}

program
  .command('set')
  .description(
    'change values of a run from its next iteration on: credit.lambda=0.9 critic.icc=false',
  )
  .argument('<folder>', "the run's folder")
  .argument('<assignments...>', 'NAME=VALUE')
  .option('--trust-code', "the critic that the config of somebody else's run names may run")
  .action(async (folder: string, assignments: string[], options: { trustCode?: boolean }) => {
    const { setCommand } = await import('./control.ts');
    await setCommand(folder, assignments, options);
  });

program
  .command('status')
  .description('what a run does now, or how it ended')
  .argument('<folder>', "the run's folder")
  .option('--json', 'all that is known, as JSON')
  .action(async (folder: string, options: { json?: boolean }) => {
    const { statusCommand } = await import('./control.ts');
    statusCommand(folder, options);
  });

program
  .command('demo')
  .description(
    'the whole method on the embedded default: base actor, three stages, and the group mean ' +
      'beside it',
  )
  .option('--folder <folder>', 'where to write; an earlier demo there is replaced', 'runs/demo')
  .option('--seed <seed>', 'seed', seedOf, 0)
  .action(async (options: { folder: string; seed: number }) => {
    const { demoCommand } = await import('./demo.ts');
    await demoCommand(options);
  });

program
  .command('report')
  .description('write the HTML page of a demo folder once more')
  .argument('<folder>')
  .action(async (folder: string) => {
    const { reportCommand } = await import('./report.ts');
    await reportCommand(folder);
  });

program
  .command('inspect')
  .description(
    "a run's iterations, and its responses with the critic's value and words for each segment",
  )
  .argument('<folder>', "the run's folder; the run may be going on")
  .option('--iteration <n>', 'this iteration alone', countOf)
  .option('--best', 'responses of the highest reward, then of the highest last value')
  .option('--worst', 'responses of the lowest reward, then of the lowest last value')
  .option('--surprising', 'responses whose reward is farthest from their last value')
  .option('--malformed', 'only responses with a state that got no valid score')
  .option('--count <n>', 'how many responses', countOf, 4)
  .option('--html [file]', 'a page instead (default: inspect.html in the folder)')
  .action(async (folder: string, options: InspectFlags) => {
    const { inspectCommand } = await import('./inspect.ts');
    inspectCommand(folder, options);
  });

program
  .command('value')
  .description(
    "a trained critic by itself: values and words for a response's prefixes, or a ranking of " +
      'responses',
  )
  .argument(
    '<critic>',
    'a run, a checkpoint, or any folder in Hugging Face format (also a LoRA adapter)',
  )
  .option('--prompt <text>', 'the problem')
  .option('--response <text...>', 'the response so far; several are ranked')
  .option('--input <file>', 'JSON lines with `prompt` and `response` (or `responses`); -: stdin')
  .option('--output <file>', 'where the lines go, with values; -: stdout (default)')
  .option(
    '--task <task>',
    'the task in whose format the critic was trained (default: its run’s; else the paper’s)',
  )
  .option(
    '--segmentation <rule>',
    'how responses are cut: line, sentence, or {by: pattern, pattern: ";"}',
  )
  .option(
    '--actor-name <name>',
    'what the critic is told of the actor (default: what the checkpoint knows)',
  )
  .option('--actor-parameters <n>', 'its number of parameters', numberOf(0, 1e15))
  .option('--success-rate <share>', 'its recent success, 0 to 1', numberOf(0, 1))
  .option('--no-thinking', 'the score alone, without words before it')
  .option(
    '--completions <n>',
    'sample so many, and average their values (default: one, greedy)',
    numberOf(1, 1e4),
  )
  .option('--temperature <t>', 'of several completions', numberOf(1e-3, 100))
  .option('--max-new-tokens <n>', 'of a completion', numberOf(1, 1e6))
  .option('--trust-code', "code that the config of somebody else's run names may run")
  .option('--json', 'all as JSON')
  .action(async (folder: string, options: ValueFlags) => {
    const { valueCommand } = await import('./value.ts');
    await valueCommand(folder, options);
  });

program
  .command('evaluate')
  .description(
    'what critics are worth on the same states: error, calibration, ranking, cost, each with an ' +
      'interval; what was made before is not made again',
  )
  .argument(
    '<sources...>',
    'a YAML file (docs/evaluate.md), - for stdin, or runs and checkpoints: the task and actor of the ' +
      'first',
  )
  .option(
    '--critic <name=critic...>',
    'one more: mc={use: monte-carlo, continuations: 9}, or head=FOLDER',
  )
  .option('--folder <folder>', 'where results go (default: the file’s, or evaluations/evaluation)')
  .option('--seed <seed>', 'another seed', seedOf)
  .option('--prompts <n>', 'so many problems', countOf)
  .option('--continuations <n>', 'of each state, for reference values', countOf)
  .option('--references <kind>', 'auto, exact, continuations or outcomes')
  .option('--greedy', 'the critics’ single best answers instead of those that training uses')
  .option('--trust-code', "what the config of somebody else's run names may be used")
  .option('--json', 'all as JSON')
  .action(async (sources: string[], options: EvaluateFlags) => {
    const { evaluateCommand } = await import('./evaluate.ts');
    await evaluateCommand(sources, options);
  });

program
  .command('reproduce')
  .description(
    "the paper's tables in miniature, each from nothing; what was made before is not made again",
  )
  .option('--tables <numbers>', 'these alone, such as 2,3 (default: all that there are)', numbersOf)
  .option('--seeds <n>', 'number of seeds, from 0 on', countOf, 1)
  .option('--folder <folder>', 'where parts and tables are kept', 'runs/reproduction')
  .option(
    '--config <file>',
    'a recipe in the place of examples/miniature.yaml; of another task, its own actor and critic',
  )
  .option(
    '--shift <name=file...>',
    'for such a config: a file beside it, to whose `task` table 3 shifts',
    shiftOf,
  )
  .option(
    '--large-model <critic>',
    'a critic without training for table 6: {use: api, model: ..., max_cost: 5, price: ...}',
  )
  .addOption(
    new Option(
      '--size <name>',
      'full: more tasks, and a sweep; tiny: all code in minutes, figures that mean nothing',
    )
      .choices(['hour', 'full', 'tiny'])
      .default('hour'),
  )
  .action(async (options: ReproduceFlags) => {
    const { reproduceCommand } = await import('./reproduce.ts');
    await reproduceCommand(options);
  });

program
  .command('serve')
  .description(
    'the controller for a trainer in another process (TRL): it values responses and assigns credit',
  )
  .option(
    '--listen <endpoint>',
    'TCP endpoint beside the local socket, such as tcp://127.0.0.1:5555',
  )
  .option('--config <file>', "the controller's config, for hosts that name none")
  .option('--child', 'end with the process that started this one')
  .action(async (options: ServeFlags) => {
    const { serveCommand } = await import('./serve.ts');
    await serveCommand(options);
  });

program
  .command('log')
  .description("give a run's loggers what they lack of its metrics, once it is over")
  .argument('<folder>', "the run's folder")
  .option('--trust-code', "what the config of somebody else's run names may be used")
  .action(async (folder: string, options: { trustCode?: boolean }) => {
    const { logCommand } = await import('./log.ts');
    await logCommand(folder, options);
  });

program
  .command('doctor')
  .description(
    'what is installed, which devices can be used, whether a worker starts, and what to do ' +
      'about what is missing',
  )
  .option(
    '--config <file>',
    'also whether a run of this config would start, and what its models will take of their ' +
      "devices' memory",
  )
  .option('--memory <gib>', 'of each GPU of another machine, to plan them for', numberOf(1, 1e5))
  .action(async (options: { config?: string; memory?: number }) => {
    const { doctorCommand } = await import('./doctor.ts');
    process.exitCode = await doctorCommand(console.log, options);
  });

try {
  await program.parseAsync();
} catch (error) {
  // A user's error, or one of the system, is one message; a bug keeps its stack.
  const expected = error instanceof UserError || (error instanceof Error && 'syscall' in error);
  console.error(expected ? `genac: ${(error as Error).message}` : error);
  const { code, traceback } = error as { code?: string; traceback?: string | null };
  if (traceback && code !== 'bad_arguments') console.error(traceback);
  process.exitCode = 1;
}
