/**
 * The controller for a host: a trainer of its own (TRL) that connects, sends its responses and gets
 * per-token credit back (docs/trl.md).
 */
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BridgeError } from '../bridge/errors.ts';
import { DEFAULT_MAX_MESSAGE_BYTES } from '../bridge/link.ts';
import { endpointToken } from '../bridge/token.ts';
import type { Transport } from '../bridge/transport.ts';
import { bindZmq } from '../bridge/zmq-transport.ts';
import { type HostAnswer, type HostAsk, HostLink } from './host-link.ts';
import { HostSession } from './session.ts';

export interface ServeOptions {
  /**
   * TCP endpoint beside the local socket, such as `tcp://127.0.0.1:5555` (`:*`: any free port).
   * Beyond loopback: through an SSH tunnel. Hosts must show a token: `GENAC_TOKEN`,
   * `GENAC_TOKEN_FILE`, or a new one.
   */
  readonly listen?: string;
  /** Config file for hosts that name none. */
  readonly config?: string;
  /** Called with the endpoints once hosts can connect. */
  readonly ready: (endpoints: readonly string[]) => void;
  readonly log: (line: string) => void;
  /** Aborted: the host is left, and everything ends. */
  readonly signal: AbortSignal;
}

/**
 * Serves one host until it says goodbye, is lost, or the signal is aborted. @returns why it ended
 */
export async function serve({ listen, ready, ...rest }: ServeOptions): Promise<string> {
  const token = listen === undefined ? null : endpointToken();
  const maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES;
  const transport = await bindZmq({ tcp: listen, token: token?.token, maxMessageBytes });
  if (token?.file) rest.log(`hosts show the token in ${token.file} (TRL: controller_token_file)`);
  rest.log(`the controller (pid ${process.pid}) listens at ${transport.endpoints.join(', ')}`);
  ready(transport.endpoints);
  return serveOver(transport, rest).finally(() => token?.forget());
}

/** The same over a transport that listens already; it is closed at the end. */
export async function serveOver(
  transport: Transport,
  { config, log, signal }: Pick<ServeOptions, 'config' | 'log' | 'signal'>,
): Promise<string> {
  let session: HostSession | null = null;
  const answer = async (ask: HostAsk): Promise<HostAnswer> => {
    if (is(ask, 'open')) {
      if (session) throw new BridgeError('bad_state', 'open: this controller has a critic already');
      const logs = makeFolder(ask.arguments.logs);
      const given = {
        ...ask.arguments,
        logs,
        config_file: ask.arguments.config_file ?? config ?? null,
      };
      session = await HostSession.open(given, log, signal, link.askHost);
      log(`the critic "${session.description.critic}" is loaded`);
      return { result: session.description };
    }
    if (!session) throw new BridgeError('bad_state', `${ask.operation}: open comes first`);
    return answerOf(session, ask);
  };
  const link = new HostLink({ transport, maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES, answer, log });
  const aborted = new Promise<string>((resolve) => {
    const end = () => resolve(String(signal.reason));
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
  });
  try {
    return await Promise.race([link.gone, aborted]);
  } finally {
    link.close();
    await (session as HostSession | null)?.close();
    await transport.close();
  }
}

const is = <O extends HostAsk['operation']>(ask: HostAsk, operation: O): ask is HostAsk<O> =>
  ask.operation === operation;

async function answerOf(session: HostSession, ask: HostAsk): Promise<HostAnswer> {
  if (is(ask, 'assign_credit')) return session.assignCredit(ask.arguments, ask.tensors);
  if (is(ask, 'set_actor')) {
    session.actor = ask.arguments;
    return { result: {} };
  }
  if (is(ask, 'value')) return session.value(ask.arguments);
  if (is(ask, 'fence')) return { result: { metrics: await session.fence() } };
  if (is(ask, 'open_oracle')) return { result: session.openOracle(ask.arguments) };
  if (is(ask, 'ask_oracle')) {
    const progress = (done: number, total: number, metrics: Record<string, number>) =>
      ask.progress({ done, total, metrics });
    return { result: await session.askOracle(ask.arguments, ask.tensors, progress) };
  }
  if (is(ask, 'imitate')) {
    const progress = (step: number, steps: number, metrics: Record<string, number>) =>
      ask.progress({ step, steps, metrics });
    return { result: await session.imitate(ask.arguments, progress) };
  }
  if (is(ask, 'restore')) return { result: await session.restore(ask.arguments) };
  if (is(ask, 'save')) {
    await session.save(ask.arguments);
    return { result: {} };
  }
  throw new BridgeError('bad_arguments', `there is no operation ${ask.operation}`);
}

/** The host's folder for logs may lie on another machine. */
function makeFolder(path: string): string {
  try {
    mkdirSync(path, { recursive: true });
    return path;
  } catch {
    return mkdtempSync(join(tmpdir(), 'genac-logs-'));
  }
}
