"""TRL's combined reward in [0, 1], as the critic's values are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

#: What rounding may put a reward outside its range by, where the range's bounds are of order 1 or
#: less.
TOLERANCE = 1e-6


def combined(per_function: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns the weighted sum over the reward functions that applied, [N]; NaN where none did.

    `per_function`: [N, functions], NaN: not applicable.
    """
    total = (per_function * weights.to(per_function.device).unsqueeze(0)).nansum(dim=1)
    total[torch.isnan(per_function).all(dim=1)] = torch.nan
    return total


def to_unit(
    per_function: torch.Tensor,
    weights: torch.Tensor,
    names: list[str],
    reward_range: Sequence[float],
) -> np.ndarray:
    """Returns float64 [N] in [0, 1].

    Raises `ValueError` that names functions and values where a combination lies outside
    `reward_range`.
    """
    least, largest = reward_range
    total = _totals(per_function, weights)
    slack = TOLERANCE * max(1, abs(least), abs(largest))
    outside = np.flatnonzero((total < least - slack) | (total > largest + slack) | np.isinf(total))
    if len(outside) > 0:
        i = int(outside[0])
        said = _said(i, total, per_function, weights, names)
        raise ValueError(
            f"{said}, outside reward_range [{least:g}, {largest:g}]: the critic's values are "
            "chances of success, so rewards must lie in a known range. Set `reward_range` of "
            "GenACConfig to the least and the largest that your functions can give together, or "
            "to 'auto'"
        )
    unit: np.ndarray = np.clip((total - least) / (largest - least), 0, 1)
    return unit


class RewardRange:
    """Maps combined rewards to [0, 1]: from a range that the user gave, or from what was seen so
    far.

    `"auto"`: [0, 1] as long as rewards stay in it. From the first batch that leaves it on, the
    least and the largest reward so far are 0 and 1, so a value says where a reward lies between the
    worst and the best seen.

    Args:
        given: `"auto"`, or the least and the largest reward.
        tell: is given a sentence, once, when rewards leave [0, 1].
    """

    def __init__(self, given: str | Sequence[float], tell: Callable[[str], None]) -> None:
        self._given = None if isinstance(given, str) else (float(given[0]), float(given[1]))
        self._tell = tell
        #: Of all rewards of training so far.
        self._seen: tuple[float, float] | None = None
        #: What `to_unit` took for [0, 1] last.
        self._last = self._given or (0.0, 1.0)

    @property
    def seen(self) -> tuple[float, float] | None:
        """Least and largest reward so far, for a checkpoint.

        None: a range was given, or there was no reward yet.
        """
        return self._seen

    @property
    def learnt(self) -> tuple[float, float] | None:
        """What `seen` is once it left [0, 1]; None before: rewards are read as they are."""
        if self._seen is None or _within(self._seen):
            return None
        return self._seen

    @property
    def width(self) -> float:
        """Of the range that `to_unit` took for [0, 1] last: 1 in [0, 1] in the rewards' own units.

        0: all rewards so far were alike.
        """
        return self._last[1] - self._last[0]

    def restore(self, seen: Sequence[float] | None) -> None:
        """As a checkpoint holds `seen`."""
        if self._given is None:
            self._seen = None if seen is None else (float(seen[0]), float(seen[1]))

    def metrics(self) -> dict[str, float]:
        """`reward_range/least` and `/largest`, where they are learnt."""
        if self.learnt is None:
            return {}
        return {"reward_range/least": self.learnt[0], "reward_range/largest": self.learnt[1]}

    def to_unit(
        self,
        per_function: torch.Tensor,
        weights: torch.Tensor,
        names: list[str],
        learn: bool = True,
    ) -> np.ndarray:
        """Returns float64 [N] in [0, 1], NaN where no function applied. `learn` False: an
        evaluation, which leaves the range as training has seen it; before any, these rewards' own.

        Raises `ValueError` for an infinite reward, and for one outside a range that was given.
        """
        if self._given is not None:
            return to_unit(per_function, weights, names, self._given)
        total = _totals(per_function, weights)
        infinite = np.flatnonzero(np.isinf(total))
        if len(infinite) > 0:
            said = _said(int(infinite[0]), total, per_function, weights, names)
            raise ValueError(
                f"{said}: a reward must be a finite number, or None where the function does not "
                "apply"
            )
        known = total[~np.isnan(total)]
        if len(known) == 0:
            return total
        seen = self._seen or (float(known.min()), float(known.max()))
        if learn:
            seen = (min(seen[0], float(known.min())), max(seen[1], float(known.max())))
            self._say(seen)
            self._seen = seen
        self._last = least, largest = (0.0, 1.0) if _within(seen) else seen
        if largest - least < TOLERANCE:  # all alike so far: neither a success nor a failure
            return np.where(np.isnan(total), np.nan, 0.5)
        return np.clip((total - least) / (largest - least), 0, 1)

    def _say(self, seen: tuple[float, float]) -> None:
        if self.learnt is not None or _within(seen):
            return
        self._tell(
            f"GenAC: rewards leave [0, 1] ({seen[0]:g} to {seen[1]:g} so far), so the critic's "
            "values are read on the range of rewards seen so far (reward_range/least, "
            "reward_range/largest). If you know the least and the largest that your functions can "
            "give together, set `reward_range` of GenACConfig to them"
        )


def _within(seen: tuple[float, float]) -> bool:
    return seen[0] >= -TOLERANCE and seen[1] <= 1 + TOLERANCE


def _totals(per_function: torch.Tensor, weights: torch.Tensor) -> np.ndarray:
    total: np.ndarray = combined(_as_given(per_function), _as_given(weights)).numpy()
    return total


def _as_given(values: torch.Tensor) -> torch.Tensor:
    """Returns float64, on the CPU: the shortest decimals that are these float32 numbers, as TRL
    keeps rewards and weights.

    A function that gave .7 is taken at .7, not at .69999999: rounding is not a difference from the
    value .7.
    """
    if values.dtype == torch.float64:
        return values.cpu()
    return torch.from_numpy(values.detach().float().cpu().numpy().astype(str).astype(np.float64))


def _said(
    i: int, total: np.ndarray, per_function: torch.Tensor, weights: torch.Tensor, names: list[str]
) -> str:
    """Returns the combined reward of completion i, and what it is made of."""
    parts = [
        f"{name} {value:g} x {weight:g}"
        for name, value, weight in zip(
            names, per_function[i].tolist(), weights.tolist(), strict=True
        )
        if value == value
    ]
    return f"the combined reward of completion {i} is {total[i]:g} ({' + '.join(parts)})"
