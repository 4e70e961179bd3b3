import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assignCredit, type CreditOptions, segmentTrajectory } from '../src/credit.ts';
import type { RewardedTrajectory, Valuation } from '../src/types.ts';
import { rewardedTrajectory } from './fixtures/trajectories.ts';

const actor = { name: 'a', parameters: 1, successRate: 0.5 };
const options: CreditOptions = { gamma: 1, lambda: 1, scale: 'none', fallback: 'off' };
const segmentation = { by: 'tokens', tokens: 2, at_most: 16, minimum_tokens: 1 } as const;
const valuation = (value: number): Valuation => ({ value, rationale: '', parsed: 'ok', completions: [] });

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
    // Segments `a b` and `c`; V(s_0) = .4, V(s_1) = .7, r = 1; lambda 0: A_0 = .7 - .4, A_1 = 1 - .7.
    const { credits } = credit([rewardedTrajectory(0, 'a b c', 1)], (text) => (text === '' ? 0.4 : 0.7), {
      ...options,
      lambda: 0,
    });
    [0.3, 0.3, 0.3].forEach((expected, t) => {
      expect(credits[0]!.advantages[t]).toBeCloseTo(expected, 6);
    });
    expect([...credits[0]!.values]).toEqual([0.4, 0.7]);
    expect(credits[0]!.segments).toEqual([
      { start: 0, end: 2 },
      { start: 2, end: 3 },
    ]);
  });

  it('values s_0 once for its whole group, and teaches the critic all the rewards that it led to', () => {
    const { outcomes } = credit(
      [rewardedTrajectory(0, 'a b c', 1), rewardedTrajectory(0, 'd e f', 0), rewardedTrajectory(1, 'a', 1)],
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
          expect(baseline([...words.slice(0, t), ...other].join(' '))).toBe(baseline(words.join(' ')));
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
    expect([...own!.advantages].map((a) => Math.round(a * 100) / 100)).toEqual([0.3, 0.3, 0, 0, 0.1, 0.1]);
    expect(own!.segmentAdvantages.reduce((a, b) => a + b)).toBeCloseTo(1 - 0.2, 9);
  });

  it('divides by the batch’s deviation without centring', () => {
    const batch = [rewardedTrajectory(0, 'a', 1), rewardedTrajectory(1, 'a', 0)];
    const { credits } = credit(batch, () => 0.25, { ...options, scale: 'batch-std' });
    // Advantages .75 and -.25: deviation .5.
    expect([credits[0]!.advantages[0], credits[1]!.advantages[0]]).toEqual([1.5, -0.5]);
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
      const one = new Map(silent).set('g0', valuation(0.5));
      expect(assignCredit(segmented, one, gated).fellBack).toBe(false);
    });

    it('leaves a critic that explains something alone, and can be turned off', () => {
      expect(assignCredit(segmented, values(0.5, 0.1), { ...options, fallback: 'group-mean' }).fellBack).toBe(
        false,
      );
      expect(assignCredit(segmented, values(0, 1), options).fellBack).toBe(false);
    });
  });

  it('says which state was not valued', () => {
    const segmented = [segmentTrajectory(rewardedTrajectory(0, 'a b c', 1), 0, segmentation, actor)];
    expect(() => assignCredit(segmented, new Map([['g0', valuation(0.5)]]), options)).toThrow(
      'state t0.1 was not valued',
    );
  });
});
