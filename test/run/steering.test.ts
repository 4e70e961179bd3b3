/** Values that are set while a run is stopped, paused or over. */
import { expect, it } from 'vitest';
import generative from '../../plugins/critics/generative.ts';
import { checkConfig } from '../../src/config/load.ts';
import { Steering } from '../../src/run/steering.ts';
import type { RunEvent } from '../../src/run-folder/events.ts';

function steered() {
  const config = checkConfig({
    folder: 'x',
    task: 'miniature',
    critic: { use: 'generative', model: 'task:blank' },
    actor: { model: 'task:blank' },
  });
  const ending = new AbortController();
  const events: RunEvent[] = [];
  const emit = (event: RunEvent) => void events.push(event);
  const options = { config, plugin: generative as never, signal: ending.signal, emit, past: [] };
  return { steering: new Steering(options), ending, events };
}

const place = { stage: 'joint', iteration: 3 } as const;
const values = { 'joint.learning_rate': 1e-4 };

it('what was set before a stop holds where the run goes on', async () => {
  const { steering, ending, events } = steered();
  const set = steering.set(values);
  ending.abort();
  expect(await steering.boundary(place)).toBe(false);
  expect(await set).toEqual(place);
  expect(events).toEqual([{ type: 'set', ...place, values }]);
});

it('and so does what was set during a pause that a stop ends', async () => {
  const { steering, ending, events } = steered();
  steering.pause();
  const waiting = steering.boundary(place);
  const set = steering.set(values);
  ending.abort();
  expect(await waiting).toBe(false);
  expect(await set).toEqual(place);
  expect(events.map(({ type }) => type)).toEqual(['paused', 'set']);
});

it('a run that is over takes nothing any more, and says so', async () => {
  const { steering, events } = steered();
  const before = steering.set(values);
  steering.end();
  expect(await before).toBeNull();
  expect(await steering.set(values)).toBeNull();
  expect(events).toEqual([]);
});
