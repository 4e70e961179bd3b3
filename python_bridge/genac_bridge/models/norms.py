"""RMS norms of a trained network in one kernel forward and one backward, on a GPU.

Transformers' own are some seven kernels forward and as many again backward, and keep float32
activations. A norm is replaced only where the replacement says the same of random numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: Largest difference of outputs and gradients that is rounding, relative to the largest number.
ROUGH = 0.02


class KernelNorm:
    """The forward of a module in whose place it stands. Copied with the module, it reads the
    copy's weight.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.eps = float(getattr(module, "variance_epsilon", None) or module.eps)

    def __call__(self, hidden_states: Tensor) -> Tensor:
        from .norm_kernels import RmsNorm

        output: Tensor = RmsNorm.apply(hidden_states, self.module.weight, self.eps)
        return output


def fuse_norms(network: nn.Module) -> int:
    """Replaces the forward of RMS norms with bfloat16 weights on CUDA; returns of how many."""
    replaced = 0
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if (
            type(module).__name__.endswith("RMSNorm")
            and isinstance(weight, Tensor)
            and weight.is_cuda
            and weight.dtype == torch.bfloat16
            and agrees(module)
        ):
            module.forward = KernelNorm(module)
            replaced += 1
    return replaced


def agrees(module: Any) -> bool:
    """Returns whether the kernels say the same as a norm's own operations. Changes nothing."""
    weight: Tensor = module.weight
    generator = torch.Generator().manual_seed(0)
    shape = (3, 40, weight.shape[-1])
    drawn = [torch.randn(shape, generator=generator).to(weight) for _ in range(2)]
    found: list[list[Tensor]] = []
    try:
        made = KernelNorm(module)
        with torch.inference_mode(False), torch.enable_grad():
            for forward in (module.forward, made):
                hidden = drawn[0].clone().requires_grad_()
                output = forward(hidden)
                inputs = [hidden, weight] if weight.requires_grad else [hidden]
                gradients = torch.autograd.grad(output, inputs, drawn[1])
                found.append([output.detach(), *gradients])
    except Exception:  # another module of a like name, or no Triton here
        return False
    return all(
        want.shape == have.shape
        and want.dtype == have.dtype
        and float((want - have).float().abs().max()) <= ROUGH * float(want.float().abs().max())
        for want, have in zip(*found, strict=True)
    )
