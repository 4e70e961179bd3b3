/** Options of judging that a critic does not have. */
import type { StandaloneOptions } from '../critic.ts';
import { UserError } from '../user-error.ts';

/** Two values of each, which a critic that has the option takes otherwise. */
const probes = {
  ...{ thinking: [true, false], maxNewTokens: [8, 16], temperature: [0.25, 0.5] },
  completions: [2, 3],
} as const;
type Option = keyof typeof probes;

/**
 * @param use name of the critic
 * @param standalone what it makes of such options; undefined: it takes none, but answers greedily
 *   where one completion is asked for
 * @throws UserError for options without effect
 */
export function refuseIdle(
  use: string,
  given: Partial<StandaloneOptions>,
  standalone: ((wanted: StandaloneOptions) => object) | undefined,
): void {
  const takes = (option: Option): boolean => {
    if (!standalone) return option === 'completions';
    const [one, other] = probes[option].map((value) =>
      JSON.stringify(standalone({ completions: 1, [option]: value })),
    );
    return one !== other;
  };
  const idle = (Object.keys(probes) as Option[]).filter(
    (option) => given[option] !== undefined && !takes(option),
  );
  if (idle.length > 0)
    throw new UserError(`leave out ${idle.join(', ')}: the critic "${use}" has no such option`);
}
