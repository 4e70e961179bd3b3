"""The head of a value model: from hidden states to values in one of three ways."""

from __future__ import annotations

import math
import os

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..wire.context import BadArguments

VALUE_HEAD = "value_head.safetensors"
#: Entry of its metadata: is the head bounded?
BOUNDED = "bounded"
#: Deviation of the Gaussian around a return, in distances of two bins (arXiv 2403.03950).
SIGMA = 0.75


class ValueHead(nn.Linear):
    """Linear [1 or bins, width] over hidden states, of zeros at first.

    `bounded`: the value is the sigmoid of its number. `bins`: its numbers are logits of so many
    values, evenly spaced from 0 to 1, whose mean is the value.
    """

    def __init__(self, width: int, bounded: bool = False, bins: int | None = None) -> None:
        super().__init__(width, bins or 1)
        self.bounded, self.bins = bounded, bins
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def write(self, folder: str) -> None:
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        save_file(tensors, os.path.join(folder, VALUE_HEAD), {BOUNDED: str(self.bounded)})

    def read(self, folder: str) -> None:
        """Takes a folder's head, if it has one. Raises `BadArguments` for one of another kind."""
        if os.path.isfile(os.path.join(folder, VALUE_HEAD)):
            self.load_state_dict(self.weights_in(folder, "load_model"))

    def weights_in(self, folder: str, operation: str) -> dict[str, Tensor]:
        """Returns the weights of a folder's head. Raises `BadArguments` for one of other bins, or
        that is bounded where this one is not. Earlier folders don't say whether it is.
        """
        saved = os.path.join(folder, VALUE_HEAD)
        weights = load_file(saved)
        with safe_open(saved, framework="pt") as file:
            bounded = (file.metadata() or {}).get(BOUNDED, str(self.bounded)) == "True"
        found, own = weights["weight"].shape[0], self.weight.shape[0]
        if (found, bounded) != (own, self.bounded):
            raise BadArguments(
                f"{operation}: the value head in {folder!r} has {words(found, bounded)}, and "
                f"{words(own, self.bounded)} was asked for: load it as it was trained"
            )
        return weights

    def values(self, outputs: Tensor) -> Tensor:
        """Values float32 [M] of the head's outputs [M, 1 or bins]."""
        if self.bins is not None:
            return outputs.softmax(-1) @ centres(self.bins, outputs)
        return torch.sigmoid(outputs.squeeze(-1)) if self.bounded else outputs.squeeze(-1)


def words(outputs: int, bounded: bool) -> str:
    if outputs > 1:
        return f"{outputs} bins"
    return "one number between 0 and 1 (bounded)" if bounded else "one number"


def centres(bins: int, like: Tensor) -> Tensor:
    """The values that bins stand for, [bins]: 0 is the first and 1 the last."""
    return torch.linspace(0, 1, bins, device=like.device, dtype=like.dtype)


def histogram(returns: Tensor, bins: int) -> Tensor:
    """HL-Gauss (Imani & White 2018; arXiv 2403.03950, eq. 3.1): the mass of a Gaussian around each
    return [M] in each bin, [M, bins], divided by what of it lies in any.
    """
    width = 1 / (bins - 1)
    edges = torch.linspace(
        -width / 2, 1 + width / 2, bins + 1, device=returns.device, dtype=returns.dtype
    )
    below = torch.special.erf((edges - returns[:, None]) / (math.sqrt(2) * SIGMA * width))
    mass = below.diff(dim=1)
    return mass / (below[:, -1:] - below[:, :1])
