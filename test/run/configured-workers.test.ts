import { afterEach, describe, expect, it, vi } from 'vitest';
import { checkConfig } from '../../src/config/load.ts';
import { cardsOf, startConfigured, workersOf } from '../../src/run/configured-workers.ts';
import { type StartOptions, startWorkers } from '../../src/workers/local.ts';

vi.mock('../../src/workers/local.ts', () => ({ startWorkers: vi.fn() }));
afterEach(() => {
  vi.unstubAllEnvs();
  vi.mocked(startWorkers).mockClear();
});

const configOf = (workers: object) =>
  checkConfig({
    ...{ folder: 'runs/x', task: 'miniature', critic: 'group-mean' },
    ...{ actor: { model: 'm' }, workers },
  } as Parameters<typeof checkConfig>[0]);

describe('workers that nothing uses', () => {
  it('are not wanted where they are there by default, and are refused where they are not', () => {
    expect(workersOf(configOf({ actor: { threads: 1 } }), [], false)).toEqual(['actor']);
    expect(workersOf(configOf({ actor: { threads: 1 } }), ['critic'], true)).toEqual([
      ...['actor', 'critic', 'python'],
    ]);
    expect(() => workersOf(configOf({ second: {} }), [], false)).toThrow(
      'workers.second: has no effect, for no model names it',
    );
  });
});

describe('the GPUs that a worker sees', () => {
  it.each([
    ['0', ['0']],
    [' 1, 00 ', ['1', '0']],
    ['GPU-8932F937-d72c', ['gpu-8932f937-d72c']],
    ['MIG-a, 2', ['mig-a', '2']],
    ['1,-1,0', ['1']],
    ['-1', []],
    ['cuda:0', []],
  ])('of %j are %j, as in CUDA', (devices, cards) => {
    expect(cardsOf(devices)).toEqual(cards);
  });

  it('without devices are those of this process', () => {
    vi.stubEnv('CUDA_VISIBLE_DEVICES', undefined);
    expect(cardsOf(null)).toEqual(['0']);
    vi.stubEnv('CUDA_VISIBLE_DEVICES', '3,1');
    expect(cardsOf(null)).toEqual(['3', '1']);
  });
});

describe('the part of its GPU that a worker gets', () => {
  function partsOf(devices: Readonly<Record<string, string | null>>, strangers = 0) {
    const named = Object.entries(devices).map(([name, cards]) => [name, { devices: cards }]);
    const { workers } = configOf(Object.fromEntries(named));
    void startConfigured(workers, Object.keys(devices), 'logs', strangers);
    const { workers: specs } = vi.mocked(startWorkers).mock.lastCall![0] as StartOptions;
    return specs.map(({ env }) => Number(env?.GENAC_MEMORY_SHARE));
  }

  it.each([
    ['0', '0', [1 / 2, 1 / 2]],
    [null, '0', [1 / 2, 1 / 2]],
    ['0,1', '0', [1 / 2, 1 / 2]],
    ['0,1', '1', [1 / 2, 1 / 2]], // the second is for a vLLM of two processes
    ['0', ' 0', [1 / 2, 1 / 2]],
    ['0', '1', [1, 1]],
    [null, '1', [1, 1]],
    [null, null, [1 / 2, 1 / 2]],
    ['-1', '0', [1, 1]],
  ])('with devices %j and %j', (actor, critic, parts) => {
    vi.stubEnv('CUDA_VISIBLE_DEVICES', undefined);
    expect(partsOf({ actor, critic })).toEqual(parts);
  });

  it('depends on what this process sees', () => {
    vi.stubEnv('CUDA_VISIBLE_DEVICES', '1,0');
    expect(partsOf({ actor: null, critic: '1' })).toEqual([1 / 2, 1 / 2]);
    expect(partsOf({ actor: null, critic: '0' })).toEqual([1, 1]);
  });

  it('is that of its fullest GPU, which a host uses too', () => {
    expect(partsOf({ actor: '0,1', critic: '1', third: '1', fourth: '0' })).toEqual([
      ...[1 / 3, 1 / 3, 1 / 3, 1 / 2],
    ]);
    expect(partsOf({ critic: '0' }, 1)).toEqual([1 / 2]);
  });

  it('is none of a worker without models, and not smaller for it', () => {
    expect(partsOf({ actor: '0', python: '0' })).toEqual([1, Number.NaN]);
  });
});
