"""bfloat16 weights that a network computes with, over the float32 weights that are trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


class Masters:
    """Makes the float32 parameters of `network` bfloat16. Those that are trained keep their
    float32 weights as masters: the optimizer moves these, and every gradient is added up in their
    float32 `.grad`, so that none is lost between micro-batches.
    """

    def __init__(self, network: nn.Module) -> None:
        #: By the network's names.
        self.weights: dict[str, nn.Parameter] = {}
        self._copies: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            if parameter.dtype != torch.float32:
                continue
            if parameter.requires_grad:
                master = nn.Parameter(parameter.data)
                self.weights[name] = master
                self._copies.append(parameter)
                parameter.register_post_accumulate_grad_hook(_adder(master))
            parameter.data = parameter.data.to(torch.bfloat16)

    @torch.no_grad()
    def refresh(self) -> None:
        """Rounds the masters into the network."""
        if self._copies:
            torch._foreach_copy_(self._copies, list(self.weights.values()))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the network holds the masters themselves, to be read or written as files are;
        afterwards it holds what they are then, rounded.
        """
        rounded = [copy.data for copy in self._copies]
        for copy, master in zip(self._copies, self.weights.values(), strict=True):
            copy.data = master.data
        try:
            yield
        finally:
            for copy, data in zip(self._copies, rounded, strict=True):
                copy.data = data
            self.refresh()


def _adder(master: nn.Parameter) -> Callable[[Tensor], None]:
    """Returns the hook that moves a gradient to its master as soon as backward has it."""

    def add(parameter: Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if master.grad is None:
            master.grad = gradient.float()
        else:
            master.grad.add_(gradient)
        parameter.grad = None

    return add
