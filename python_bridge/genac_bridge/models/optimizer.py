"""AdamW with one rate a step, clipping by the global norm, and the norm of the step's change."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..wire.arguments import OptimizerOptions
from ..wire.context import BadArguments

# The weights' change is measured against a copy of them; stepping in parts of this many numbers
# keeps that copy small.
PART = 2**26
MOMENTS = ("exp_avg", "exp_avg_sq")


class Optimizer:
    """AdamW (Loshchilov, Hutter 2019) over named parameters.

    Matrices decay; norms and biases don't. `offload`: moments stay in the host's memory between
    steps, and one part of them at a time is on the device.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        options: OptimizerOptions,
        offload: bool = False,
    ) -> None:
        self.parameters = dict(named)
        self._offload = offload
        self._hosts: dict[tuple[Tensor, str], Tensor] = {}
        if not self.parameters:
            raise BadArguments("the model has no trainable parameters; load it with optimizer null")
        self.parts: list[torch.optim.AdamW] = []
        part: list[nn.Parameter] = []
        for parameter in self.parameters.values():
            if part and sum(p.numel() for p in part) + parameter.numel() > PART:
                self.parts.append(self._make(part, options))
                part = []
            part.append(parameter)
        self.parts.append(self._make(part, options))

    @staticmethod
    def _make(part: list[nn.Parameter], options: OptimizerOptions) -> torch.optim.AdamW:
        groups = [
            {"params": [p for p in part if p.ndim >= 2], "weight_decay": options.weight_decay},
            {"params": [p for p in part if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = part[0].device.type in ("cpu", "cuda")
        return torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=0.0,
            betas=options.betas,
            eps=options.eps,
            fused=fused,
        )

    @property
    def sizes(self) -> list[int]:
        """Numbers in each parameter."""
        return [parameter.numel() for parameter in self.parameters.values()]

    def clear(self) -> None:
        """Drops the accumulated gradient."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def gradient_norm(self) -> float:
        """Returns the L2 norm of the whole gradient; 0 where there is none."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        return float(nn.utils.get_total_norm(gradients)) if gradients else 0.0

    def step(self, learning_rate: float, scale: float) -> float:
        """One step with the gradient times `scale`; clears the gradient; returns the L2 norm of the
        weights' change.
        """
        squares: Tensor | float = 0.0
        for part in self.parts:
            parameters = [
                p for group in part.param_groups for p in group["params"] if p.grad is not None
            ]
            if not parameters:
                continue
            for group in part.param_groups:
                group["lr"] = learning_rate
            with torch.no_grad():
                if scale != 1.0:
                    torch._foreach_mul_([p.grad for p in parameters], scale)
                change = torch._foreach_neg(parameters)
                self._fetch(part)
                part.step()
                self._put_away(part)
                torch._foreach_add_(change, parameters)
                squares = squares + torch.stack(torch._foreach_norm(change)).double().square().sum()
        self.clear()
        return math.sqrt(float(squares))

    def _fetch(self, part: torch.optim.AdamW) -> None:
        """Brings moments to the device of their parameters."""
        for parameter, state in part.state.items() if self._offload else ():
            for key in MOMENTS:
                state[key] = state[key].to(parameter.device, non_blocking=True)

    def _put_away(self, part: torch.optim.AdamW) -> None:
        """Takes moments to the host. They are there once the device has been waited for."""
        for parameter, state in part.state.items() if self._offload else ():
            for key in MOMENTS:
                host = self._hosts.get((parameter, key))
                if host is None:
                    pinned = parameter.device.type == "cuda"
                    host = torch.empty_like(state[key], device="cpu", pin_memory=pinned)
                    self._hosts[parameter, key] = host
                host.copy_(state[key], non_blocking=True)
                state[key] = host

    def state(self) -> dict[str, Tensor]:
        """Returns moments and step counts on the CPU, for each parameter NAME as
        `optimizer.NAME.exp_avg`, `.exp_avg_sq` and `.step`.
        """
        tensors = {}
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.parameters.items()}
        for part in self.parts:
            state: dict[str, Tensor]
            for parameter, state in part.state.items():
                for key in (*MOMENTS, "step"):
                    tensors[f"optimizer.{names[parameter]}.{key}"] = (
                        state[key].detach().cpu().contiguous().clone()
                    )
        return tensors

    def check(self, tensors: dict[str, Tensor]) -> str | None:
        """None if `tensors` is a state of this optimizer, else what does not fit."""
        for key, tensor in tensors.items():
            name, _, what = key.removeprefix("optimizer.").rpartition(".")
            if name not in self.parameters:
                return f"it holds optimizer state of {name!r}, which is no trainable parameter here"
            if what in MOMENTS and tensor.shape != self.parameters[name].shape:
                return (
                    f"its {key} has shape {list(tensor.shape)}, the parameter "
                    f"{list(self.parameters[name].shape)}"
                )
            if any(f"optimizer.{name}.{other}" not in tensors for other in (*MOMENTS, "step")):
                return f"its optimizer state of {name!r} is not whole"
            if not bool(tensor.isfinite().all()):
                return f"its {key} is not finite"
        return None

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts a state that `check` passed in place of the current one; the gradient is cleared."""
        self.clear()
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.parameters.items()}
        for part in self.parts:
            part.state.clear()
            for group in part.param_groups:
                for parameter in group["params"]:
                    name = names[parameter]
                    if f"optimizer.{name}.step" not in tensors:
                        continue
                    state = {
                        key: tensors[f"optimizer.{name}.{key}"].to(parameter.device, copy=True)
                        for key in MOMENTS
                    }
                    # Where AdamW keeps its own count: beside the parameter when fused, else on the
                    # CPU.
                    device = parameter.device if group["fused"] else torch.device("cpu")
                    state["step"] = tensors[f"optimizer.{name}.step"].to(device, copy=True)
                    part.state[parameter] = state
            self._put_away(part)


def clip_factor(norm: float, max_norm: float | None) -> float:
    """Returns what a gradient of this norm is multiplied by so that it has at most `max_norm`;
    None: 1.
    """
    return 1.0 if max_norm is None else min(1.0, max_norm / (norm + 1e-6))
