/**
 * A controller for `bridge.test.ts` to kill: starts two workers, gives one of them work without
 * end, has the other start a server, and prints the process ids.
 */
import { startWorkers } from '../../src/workers/local.ts';
import { echoWorker } from './echo-worker.ts';

// A worker would end after half a second without a word of its controller, if that meant anything.
const impatient = { heartbeatMs: 100, controllerTimeoutMs: 500 };
const group = await startWorkers({ workers: [echoWorker('a'), echoWorker('b')], ...impatient });
if (process.argv[2] === 'pause') {
  process.on('SIGCONT', async () => {
    const counting = { function: 'test:count', keywords: {} };
    const { result } = await group.get('a').request('call', counting);
    console.log(`counted ${result.value}`);
    process.exit(0);
  });
  console.log('to be stopped');
  await new Promise(() => {});
}
const { result } = await group.get('b').request('call', { function: 'test:spawn', keywords: {} });
const served = await group
  .get('b')
  .request('call', { function: 'test:serve', keywords: { deaf: true } });
group
  .get('a')
  .request('call', { function: 'test:sleep', keywords: { seconds: 600, cooperative: false } })
  .catch(() => {});
const { pids: server } = served.result.value as { pids: number[] };
const pids = [group.pid('a'), group.pid('b'), ...server];
console.log(JSON.stringify({ pids, grandchild: result.value }));
if (process.argv[2] === 'throw') throw new Error('on purpose');
