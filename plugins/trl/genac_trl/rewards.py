"""TRL's combined reward in [0, 1], as the critic's values are."""

from __future__ import annotations

import numpy as np
import torch


def combined(per_function: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted sum over the reward functions that applied, [N]; NaN where none did. `per_function`: [N, functions], NaN: not applicable."""
    total = (per_function * weights.to(per_function.device).unsqueeze(0)).nansum(dim=1)
    total[torch.isnan(per_function).all(dim=1)] = torch.nan
    return total


def to_unit(
    per_function: torch.Tensor, weights: torch.Tensor, names: list[str], reward_range: list[float]
) -> np.ndarray:
    """float64 [N] in [0, 1]. Raises `ValueError` that names functions and values where a combination lies outside `reward_range`."""
    least, largest = reward_range
    total = combined(per_function.double(), weights.double()).cpu().numpy()
    outside = np.flatnonzero((total < least - 1e-6) | (total > largest + 1e-6) | np.isinf(total))
    if len(outside) > 0:
        i = int(outside[0])
        parts = [
            f"{name} {value:g} x {weight:g}"
            for name, value, weight in zip(names, per_function[i].tolist(), weights.tolist(), strict=True)
            if value == value
        ]
        raise ValueError(
            f"the combined reward of completion {i} is {total[i]:g} ({' + '.join(parts)}), outside reward_range [{least:g}, {largest:g}]: the critic's values are chances "
            "of success, so rewards must lie in a known range. Set `reward_range` of GenACConfig to the least and the largest that your functions can give together"
        )
    unit: np.ndarray = np.clip((total - least) / (largest - least), 0, 1)
    return unit
