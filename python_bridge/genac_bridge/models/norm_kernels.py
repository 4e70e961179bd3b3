"""The backward pass of RMS norms in Triton, which comes with torch on CUDA."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..engines.kernels import rms_norm

#: Programs of the backward kernel; each adds up the weight's gradient over its rows.
PROGRAMS = 512


@triton.jit
def _backward(hidden, weight, slope, output, parts, rows, width, eps, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < width
    factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    summed = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(program, rows, tl.num_programs(0)):
        start = tl.cast(row, tl.int64) * width
        values = tl.load(hidden + start + column, mask=inside, other=0.0).to(tl.float32)
        given = tl.load(slope + start + column, mask=inside, other=0.0).to(tl.float32)
        scale = tl.rsqrt(tl.sum(values * values, axis=0) / width + eps)
        normed = values * scale
        inner = given * factor
        along = tl.sum(inner * normed, axis=0) / width
        tl.store(output + start + column, (inner - normed * along) * scale, mask=inside)
        summed += given * normed.to(hidden.dtype.element_ty).to(tl.float32)
    tl.store(parts + program.to(tl.int64) * width + column, summed, mask=inside)


class RmsNorm(torch.autograd.Function):
    """weight * hidden / rms(hidden), rounded before the weight as Transformers does; keeps its
    input only.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.eps = eps
        return rms_norm(hidden, weight, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor | None, None]:
        hidden, weight = ctx.saved_tensors
        hidden, slope = hidden.contiguous(), slope.contiguous()
        width = hidden.shape[-1]
        rows = hidden.numel() // width
        programs = min(rows, PROGRAMS)
        output = torch.empty_like(hidden)
        parts = torch.empty(programs, width, dtype=torch.float32, device=hidden.device)
        block = triton.next_power_of_2(width)
        _backward[(programs,)](
            hidden,
            weight,
            slope,
            output,
            parts,
            rows,
            width,
            ctx.eps,
            BLOCK=block,
            num_warps=min(16, max(1, block // 256)),
        )
        return output, parts.sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None, None
