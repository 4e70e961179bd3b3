"""bfloat16 weights that a network computes with, over the float32 weights that are trained."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from weakref import ref

import torch
from torch import Tensor, nn

#: Numbers of gradients that may wait within a backward pass: adding up many at once takes few
#: calls, and keeping all of them would take as much memory as the weights.
MOST_WAITING = 2**27


class Masters:
    """Makes the float32 parameters of `network` bfloat16, but for those that its architecture
    keeps in float32. Those that are trained keep their float32 weights as masters: the optimizer
    moves these, and every gradient is added up in their float32 `.grad`, so that none is lost
    between micro-batches. After each backward pass, `gather` must be called.
    """

    def __init__(self, network: nn.Module) -> None:
        #: By the network's names.
        self.weights: dict[str, nn.Parameter] = {}
        self._rounded: list[nn.Parameter] = []
        self._masters: dict[Tensor, nn.Parameter] = {}
        #: Have a gradient that their masters lack, and the numbers of all of them.
        self._waiting: list[Tensor] = []
        self._waiting_numbers = 0
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
                hook = parameter.register_post_accumulate_grad_hook(_waiting_in(ref(self)))
                self._hooks.append(hook)
                self._masters[parameter] = master
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

    def wait(self, parameter: Tensor) -> None:
        """Is called within backward as soon as a parameter's gradient is whole."""
        self._waiting.append(parameter)
        self._waiting_numbers += parameter.numel()
        if self._waiting_numbers >= MOST_WAITING:
            self.gather()

    @torch.no_grad()
    def gather(self) -> None:
        """Adds the gradients of the network to those of the masters, and drops them."""
        first: list[tuple[Tensor, Tensor]] = []
        later: list[tuple[Tensor, Tensor]] = []
        for parameter in self._waiting:
            master, gradient = self._masters[parameter], parameter.grad
            assert gradient is not None
            if master.grad is None:
                master.grad = torch.empty_like(master)
                first.append((master.grad, gradient))
            else:
                later.append((master.grad, gradient))
        for pairs, combine in ((first, torch._foreach_copy_), (later, torch._foreach_add_)):
            if pairs:
                combine([have for have, _ in pairs], [new for _, new in pairs])
        for parameter in self._waiting:
            parameter.grad = None
        self._waiting.clear()
        self._waiting_numbers = 0

    def forget(self) -> None:
        """Drops gradients that were not gathered."""
        for parameter in self._rounded:
            parameter.grad = None
        self._waiting.clear()
        self._waiting_numbers = 0

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


def _waiting_in(masters: ref[Masters]) -> Callable[[Tensor], None]:
    """Returns the hook of a parameter. It does not hold the masters, which hold the parameter:
    Python does not find circles through a tensor's hooks, and would never free them.
    """

    def wait(parameter: Tensor) -> None:
        there = masters()
        if there is not None:
            there.wait(parameter)

    return wait
