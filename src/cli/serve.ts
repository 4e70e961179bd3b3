/** `genac serve`: the controller for a trainer in another process. */
import { serve } from '../host/server.ts';
import { exitCodeOf } from './interrupt.ts';

export interface ServeFlags {
  readonly listen?: string;
  readonly config?: string;
  /**
   * The host started this process and holds its standard input; this process ends with the host.
   */
  readonly child?: boolean;
}

export async function serveCommand(flags: ServeFlags): Promise<void> {
  const { listen, config, child = false } = flags;
  const ending = new AbortController();
  const end = (reason: string) => () => ending.abort(reason);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => {
      process.exitCode = exitCodeOf(signal);
      ending.abort(signal);
    });
  }
  if (child) {
    process.stdin.on('end', end('the host is gone')).on('error', end('the host is gone')).resume();
    const parent = process.ppid;
    // A fork of the host may keep the other end open after the host has ended.
    setInterval(() => process.ppid !== parent && ending.abort('the host is gone'), 1_000).unref();
  }
  const log = (line: string) => console.error(line);
  const reason = await serve({
    ...(listen !== undefined && { listen }),
    ...(config !== undefined && { config }),
    ready: (endpoints) =>
      console.log(
        child
          ? JSON.stringify({ endpoint: endpoints[0] })
          : `hosts connect to ${endpoints.join(' or ')}`,
      ),
    log,
    signal: ending.signal,
  });
  log(`the controller ends: ${reason}`);
  process.exit();
}
