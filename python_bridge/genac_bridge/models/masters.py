"""bfloat16 weights that a network computes with, over the float32 weights that are trained."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


class Masters:
    """Makes the float32 parameters of `network` bfloat16, but for those that its architecture
    keeps in float32. Those that are trained keep their float32 weights as masters: the optimizer
    moves these, and every gradient is added up in their float32 `.grad`, so that none is lost
    between micro-batches.
    """

    def __init__(self, network: nn.Module) -> None:
        #: By the network's names.
        self.weights: dict[str, nn.Parameter] = {}
        self._rounded: list[nn.Parameter] = []
        self._before: list[tuple[nn.Parameter, Tensor]] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        kept = {
            pattern
            for module in network.modules()
            for pattern in getattr(module, "_keep_in_fp32_modules_strict", None) or ()
        }
        for name, parameter in network.named_parameters():
            if parameter.dtype != torch.float32 or any(re.search(k, name) for k in kept):
                continue
            self._before.append((parameter, parameter.data))
            if parameter.requires_grad:
                master = nn.Parameter(parameter.data)
                self.weights[name] = master
                self._rounded.append(parameter)
                hook = parameter.register_post_accumulate_grad_hook(_adder(master))
                self._hooks.append(hook)
            parameter.data = parameter.data.to(torch.bfloat16)

    def keep(self) -> None:
        """Drops the float32 weights that are not trained."""
        self._before.clear()

    def undo(self) -> None:
        """Gives the network its float32 parameters back, before `keep`."""
        for parameter, data in self._before:
            parameter.data = data
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def refresh(self) -> None:
        """Rounds the masters into the network."""
        if self._rounded:
            torch._foreach_copy_([*self._rounded], [*self.weights.values()])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the network holds the masters themselves, to be read or written as files are;
        afterwards it holds what they are then, rounded.
        """
        rounded = [parameter.data for parameter in self._rounded]
        for parameter, master in zip(self._rounded, self.weights.values(), strict=True):
            parameter.data = master.data
        try:
            yield
        finally:
            for parameter, data in zip(self._rounded, rounded, strict=True):
                parameter.data = data
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
