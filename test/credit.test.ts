import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assignCredit, type CreditOptions, segmentTrajectory } from '../src/credit.ts';
import type { RewardedTrajectory, Valuation } from '../src/types.ts';
import { rewardedTrajectory } from './fixtures/trajectories.ts';

const actor = { name: 'a', parameters: 1, successRate: 0.5 };
const options: CreditOptions = { gamma: 1, lambda: 1, scale: 'none', fallback: 'off' };
const segmentation = { by: 'tokens', tokens: 2, max_segments: 16, min_tokens: 1 } as const;
const valuation = (value: number): Valuation => ({
  value,
  rationale: '',
  parsed: 'ok',
  completions: [],
});

/** Credit of trajectories with a value that is a function of the partial response. */
function credit(
  trajectories: readonly RewardedTrajectory[],
  value: (response: string) => number,
  o = options,
) {
  const segmented = trajectories.map((t, i) => segmentTrajectory(t, i, segmentation, actor));
  const valuations = new Map(
    segmented.flatMap((s) => s.states).map((s) => [s.id, valuation(value(s.response))]),
  );
  return assignCredit(segmented, valuations, o);
}

describe('assignCredit', () => {
  it('is what one computes by hand', () => {
    // Segments `a b` and `c`; V(s_0) = .4, V(s_1) = .7, r = 1; lambda 0: A_0 = .7 - .4, A_1 = 1 -
    // .7.
    const { credits } = credit(
      [rewardedTrajectory(0, 'a b c', 1)],
      (text) => (text === '' ? 0.4 : 0.7),
      {
        ...options,
        lambda: 0,
      },
    );
    [0.3, 0.3, 0.3].forEach((expected, t) => {
      expect(credits[0]!.advantages[t]).toBeCloseTo(expected, 6);
    });
    expect([...credits[0]!.values]).toEqual([0.4, 0.7]);
    expect(credits[0]!.segments).toEqual([
      { start: 0, end: 2 },
      { start: 2, end: 3 },
    ]);
  });

  it('takes from a response without tokens what it says of s_0', () => {
    const texts = [
      ['a b c', 1],
      ['', 0],
      ['d', 0],
    ] as const;
    const { credits, outcomes } = credit(
      texts.map(([text, reward]) => rewardedTrajectory(0, text, reward)),
      (text) => (text === '' ? 0.4 : 0.7),
      { ...options, lambda: { length_adaptive: 0.05 } },
    );
    expect(outcomes.map(({ rewards }) => rewards)).toEqual([[1, 0, 0], [1]]);
    expect(credits.map(({ values, advantages }) => [values.length, advantages.length])).toEqual([
      [2, 3],
      [1, 0],
      [1, 1],
    ]);
  });

  it('values s_0 once for its whole group, and teaches the critic all the rewards that it led to', () => {
    const { outcomes } = credit(
      [
        rewardedTrajectory(0, 'a b c', 1),
        rewardedTrajectory(0, 'd e f', 0),
        rewardedTrajectory(1, 'a', 1),
      ],
      () => 0.5,
    );
    expect(outcomes.map((o) => [o.state.id, o.rewards])).toEqual([
      ['g0', [1, 0]],
      ['t0.1', [1]],
      ['t1.1', [0]],
      ['g1', [1]],
    ]);
    expect(outcomes[0]!.state.response).toBe('');
  });

  it('counts a segment whose state inherits its value as one with the segment before', () => {
    // V = .5, .8, (.8), .2, (.2); r = 1; lambda .5: steps of segments 0, 1 and 2, 3 and 4.
    const segmented = [
      segmentTrajectory(rewardedTrajectory(0, 'a b c d e f g h i', 1), 0, segmentation, actor),
    ];
    const [first, ...rest] = segmented[0]!.states;
    const valuations = new Map([[first!.id, valuation(0.5)]]);
    const own = [valuation(0.8), valuation(0.8), valuation(0.2), valuation(0.2)];
    for (const [k, { id }] of rest.entries())
      valuations.set(id, { ...own[k]!, ...(k % 2 === 1 && { inherited: true }) });
    const given = { ...options, lambda: 0.5 };
    const { credits, outcomes } = assignCredit(segmented, valuations, given);
    const last = 1 - 0.2;
    const middle = 0.2 - 0.8 + 0.5 * last;
    const begin = 0.8 - 0.5 + 0.5 * middle;
    [begin, middle, middle, last, last].forEach((expected, k) => {
      expect(credits[0]!.segmentAdvantages[k]).toBeCloseTo(expected, 12);
    });
    expect([...credits[0]!.values]).toEqual([0.5, 0.8, 0.8, 0.2, 0.2]);
    expect(outcomes).toHaveLength(5);
    // Where the group mean takes the critic's place, no state inherits anything.
    const gated = { ...given, fallback: 'group-mean' } as const;
    const wrong = new Map([...valuations].map(([id, v]) => [id, { ...v, value: 1 - v.value }]));
    const both = assignCredit(
      [...segmented, segmentTrajectory(rewardedTrajectory(0, '', 0), 1, segmentation, actor)],
      wrong,
      gated,
    );
    expect(both.fellBack).toBe(true);
    expect([...both.credits[0]!.segmentAdvantages]).toEqual([0.5, 0.5, 0.5, 0.5, 0.5]);
  });

  it('is causal: changing token t or a later one leaves the baselines of the tokens up to t alone', () => {
    const word = fc.constantFrom('a', 'b', 'c', 'd');
    const value = (text: string) => (text.length % 10) / 10; // any function of the partial response
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 1, maxLength: 9 }),
        fc.array(word, { minLength: 1, maxLength: 9 }),
        fc.nat(),
        (words, other, at) => {
          const t = at % words.length;
          const baseline = (text: string) => {
            const [own] = credit([rewardedTrajectory(0, text, 1)], value).credits;
            return own!.values[own!.segments.findIndex((s) => s.start <= t && t < s.end)];
          };
          expect(baseline([...words.slice(0, t), ...other].join(' '))).toBe(
            baseline(words.join(' ')),
          );
        },
      ),
    );
  });

  it('trains the end-of-sequence token: the last token has the last segment’s advantage', () => {
    const { credits } = credit([rewardedTrajectory(0, 'a b .', 1)], () => 0.25);
    expect(credits[0]!.advantages.at(-1)).toBeCloseTo(0.75, 6);
  });

  it('gives tokens that the actor did not write nothing, and telescopes over them', () => {
    const trajectory = {
      ...rewardedTrajectory(0, 'a b T T c d', 1),
      actorMask: Uint8Array.of(1, 1, 0, 0, 1, 1),
    };
    const value = (text: string) => [0.2, 0.5, 0.9][text === '' ? 0 : text === 'a b' ? 1 : 2]!;
    const [own] = credit([trajectory], value, { ...options, lambda: 0 }).credits;
    expect([...own!.advantages].map((a) => Math.round(a * 100) / 100)).toEqual([
      0.3, 0.3, 0, 0, 0.1, 0.1,
    ]);
    expect(own!.segmentAdvantages.reduce((a, b) => a + b)).toBeCloseTo(1 - 0.2, 9);
  });

  describe('scales', () => {
    const scaled = { ...options, scale: 'batch-std' } as const;
    const first = (credits: readonly { advantages: Float32Array }[]) =>
      credits.map(({ advantages }) => advantages[0]!);

    it('by the batch’s root mean square, without centring', () => {
      const batch = [rewardedTrajectory(0, 'a', 1), rewardedTrajectory(1, 'a', 0)];
      // Advantages .75 and -.25: mean square .3125.
      const { credits } = credit(batch, () => 0.25, scaled);
      expect(first(credits)[0]).toBeCloseTo(0.75 / Math.sqrt(0.3125), 6);
      expect(first(credits)[1]).toBeCloseTo(-0.25 / Math.sqrt(0.3125), 6);
    });

    it('so that one odd value among equal ones does not blow up the rest', () => {
      for (const [count, least] of [
        [8, 0.8],
        [1024, 0],
      ] as const) {
        const batch = Array.from({ length: count }, (_, i) => rewardedTrajectory(i, 'a', 0));
        const segmented = batch.map((t, i) => segmentTrajectory(t, i, segmentation, actor));
        const values = new Map(batch.map((_, i) => [`g${i}`, valuation(i === 0 ? least : 0.9)]));
        const { credits } = assignCredit(segmented, values, scaled);
        for (const a of first(credits)) expect(Math.abs(a)).toBeLessThan(1.1);
        expect(first(credits)[1]).toBeCloseTo(-1, 1);
      }
    });

    it('never by a group’s deviation where the critic is the baseline', () => {
      const rewards = [1, 0, 1, 0, 0, 1e-3, 0, 1e-3];
      const batch = rewards.map((reward, i) => rewardedTrajectory(Math.floor(i / 4), 'a', reward));
      const segmented = batch.map((t, i) => segmentTrajectory(t, i, segmentation, actor));
      const values = new Map([
        ['g0', valuation(0.5)],
        ['g1', valuation(0.3)],
      ]);
      const byGroup = assignCredit(segmented, values, { ...options, scale: 'group-std' });
      expect(first(byGroup.credits)).toEqual(
        first(assignCredit(segmented, values, scaled).credits),
      );
      for (const a of first(byGroup.credits)) expect(Math.abs(a)).toBeLessThan(2);
    });

    it('as TRL does where the group mean replaced the critic, if that is asked', () => {
      const batch = [1, 0, 0, 0].map((reward) => rewardedTrajectory(0, 'a', reward));
      const { credits, fellBack } = credit(batch, () => 1, {
        ...scaled,
        fallback: 'group-mean',
        scale: 'group-std',
      });
      expect(fellBack).toBe(true);
      // Sample deviation of 1, 0, 0, 0: sqrt(.75 / 3) = .5.
      expect(first(credits)[0]).toBeCloseTo(0.75 / (0.5 + 1e-4), 6);
      expect(first(credits)[1]).toBeCloseTo(-0.25 / (0.5 + 1e-4), 6);
    });

    it('nothing where rounding alone is left', () => {
      const batch = Array.from({ length: 8 }, () => rewardedTrajectory(0, 'a b', 0.1));
      for (const scale of ['none', 'batch-std', 'group-std'] as const) {
        const { credits } = credit(batch, () => 0.1 + 1.4e-17, { ...options, scale });
        for (const { advantages } of credits) expect([...advantages]).toEqual([0, 0]);
      }
    });
  });

  describe('the gate on explained variance', () => {
    const batch = [
      rewardedTrajectory(0, 'a', 1),
      rewardedTrajectory(0, 'b', 0),
      rewardedTrajectory(1, 'a', 0),
      rewardedTrajectory(1, 'b', 0),
    ];
    const segmented = batch.map((t, i) => segmentTrajectory(t, i, segmentation, actor));
    const values = (first: number, second: number) =>
      new Map([
        ['g0', valuation(first)],
        ['g1', valuation(second)],
      ]);

    it('uses the group mean where the critic is worse than a constant', () => {
      const { credits, explainedVariance, fellBack } = assignCredit(segmented, values(0, 1), {
        ...options,
        lambda: 0.5,
        fallback: 'group-mean',
      });
      expect(explainedVariance).toBeLessThan(0);
      expect(fellBack).toBe(true);
      expect(credits.map((c) => c.advantages[0])).toEqual([0.5, -0.5, 0, 0]);
    });

    it('uses it where the critic wrote no valid score at all, also when all rewards are equal', () => {
      const silent = new Map<string, Valuation>(
        ['g0', 'g1'].map((id) => [id, { ...valuation(0.5), parsed: 'malformed' as const }]),
      );
      const gated = { ...options, fallback: 'group-mean' } as const;
      const { credits, fellBack } = assignCredit(segmented, silent, gated);
      expect(fellBack).toBe(true);
      expect(credits.map((c) => c.advantages[0])).toEqual([0.5, -0.5, 0, 0]);
      const right = assignCredit(segmented.slice(0, 1), silent, gated);
      expect([right.explainedVariance, right.fellBack, right.credits[0]!.advantages[0]]).toEqual([
        null,
        true,
        0,
      ]);
      // One score that parses is a critic that speaks.
      const one = new Map(silent)
        .set('g0', valuation(0.5))
        .set('g1', { ...silent.get('g1')!, value: 0.1 });
      expect(assignCredit(segmented, one, gated).fellBack).toBe(false);
    });

    it('closes on every constant, the mean itself among them', () => {
      const reward = fc.double({ min: 0, max: 1, noNaN: true });
      fc.assert(
        fc.property(
          fc.array(reward, { minLength: 2, maxLength: 12 }),
          reward,
          (rewards, constant) => {
            fc.pre(Math.max(...rewards) - Math.min(...rewards) > 1e-3);
            const all = rewards.map((r, i) => rewardedTrajectory(i % 3, 'a b c', r));
            const gated = { ...options, fallback: 'group-mean' } as const;
            expect(credit(all, () => constant, gated).fellBack).toBe(true);
            const average = rewards.reduce((sum, r) => sum + r, 0) / rewards.length;
            expect(credit(all, () => average, gated).fellBack).toBe(true);
          },
        ),
      );
    });

    it('compares with the success rate where all rewards are alike, and trusts where none is known', () => {
      const alike = [rewardedTrajectory(0, 'a', 0), rewardedTrajectory(1, 'b', 0)];
      const closed = (value: number, successRate: number | null) => {
        const cut = alike.map((t, i) =>
          segmentTrajectory(t, i, segmentation, { ...actor, successRate }),
        );
        return assignCredit(cut, values(value, value), { ...options, fallback: 'group-mean' })
          .fellBack;
      };
      expect([closed(0.9, 0.2), closed(0.2, 0.2), closed(0.1, 0.2)]).toEqual([true, true, false]);
      expect([closed(0, 0), closed(0.9, null)]).toEqual([false, false]);
    });

    it('leaves a critic that explains something alone, and can be turned off', () => {
      expect(
        assignCredit(segmented, values(0.5, 0.1), { ...options, fallback: 'group-mean' }).fellBack,
      ).toBe(false);
      expect(assignCredit(segmented, values(0, 1), options).fellBack).toBe(false);
    });
  });

  it('says which state was not valued', () => {
    const segmented = [
      segmentTrajectory(rewardedTrajectory(0, 'a b c', 1), 0, segmentation, actor),
    ];
    expect(() => assignCredit(segmented, new Map([['g0', valuation(0.5)]]), options)).toThrow(
      'state t0.1 was not valued',
    );
  });
});
