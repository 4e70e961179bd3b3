"""Draws tokens in Triton, with two readings of the logits: see `sampling.pick`, which says the same
with nine.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Logits that a program reads at once, and of those whose probabilities are added up together.
BLOCK, WIDTH = 4096, 128


@triton.jit
def _partials(logits, maxima, sums, size, temperature, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    column = block * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(logits + row * size + column, mask=column < size, other=float("-inf"))
    values = values / temperature
    highest = tl.max(values, axis=0)
    # A block of nothing but -inf has no largest to be measured from.
    base = tl.where(highest == float("-inf"), 0.0, highest)
    total = tl.sum(tl.exp(values - base), axis=0)
    at = row * tl.num_programs(1) + block
    tl.store(maxima + at, base)
    tl.store(sums + at, total)


@triton.jit
def _log_sum(maxima, sums, row, blocks, BLOCKS: tl.constexpr):
    block = tl.arange(0, BLOCKS)
    inside = block < blocks
    maximum = tl.load(maxima + row * blocks + block, mask=inside, other=float("-inf"))
    total = tl.load(sums + row * blocks + block, mask=inside, other=0.0)
    highest = tl.max(tl.where(total > 0, maximum, float("-inf")), axis=0)
    return highest + tl.log(tl.sum(total * tl.exp(maximum - highest), axis=0))


@triton.jit
def _masses(
    logits, maxima, sums, masses, size, blocks, parts, temperature,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    log_sum = _log_sum(maxima, sums, row, blocks, BLOCKS)
    part = tl.program_id(1) * (BLOCK // WIDTH) + tl.arange(0, BLOCK // WIDTH)
    column = part[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    values = tl.load(logits + row * size + column, mask=column < size, other=float("-inf"))
    probabilities = tl.exp(values / temperature - log_sum).to(tl.float64)
    tl.store(masses + row * parts + part, tl.sum(probabilities, axis=1), mask=part < parts)


@triton.jit
def _choose(
    logits, maxima, sums, masses, uniforms, tokens, logprobs, size, blocks, parts, temperature,
    PARTS: tl.constexpr, WIDTH: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    log_sum = _log_sum(maxima, sums, row, blocks, BLOCKS)
    part = tl.arange(0, PARTS)
    mass = tl.load(masses + row * parts + part, mask=part < parts, other=0.0)
    ends = tl.cumsum(mass, axis=0)
    target = tl.load(uniforms + row) * tl.max(ends, axis=0)
    chosen = tl.minimum(tl.sum((ends < target).to(tl.int32), axis=0), parts - 1)
    before = tl.max(tl.where(ends < target, ends, 0.0), axis=0)
    place = tl.arange(0, WIDTH)
    column = chosen * WIDTH + place
    values = tl.load(logits + row * size + column, mask=column < size, other=float("-inf"))
    logs = values / temperature - log_sum
    within = tl.cumsum(tl.exp(logs).to(tl.float64), axis=0)
    # Added up in another order, the part may be less by a last bit.
    rest = tl.minimum(target - before, tl.max(within, axis=0))
    found = tl.minimum(tl.sum((within < rest).to(tl.int32), axis=0), WIDTH - 1)
    token = tl.minimum(chosen * WIDTH + found, size - 1)
    value = tl.load(logits + row * size + token)
    tl.store(tokens + row, token.to(tl.int64))
    tl.store(logprobs + row, value / temperature - log_sum)


def draw(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Returns tokens int64 [B] and their log-probabilities float32 [B] at `temperature`, which is
    not 0. `logits` float32 [B, V]; `uniform` float64 [B] in (0, 1].
    """
    logits, uniform = logits.contiguous(), uniform.contiguous()
    rows, size = logits.shape
    blocks, parts = triton.cdiv(size, BLOCK), triton.cdiv(size, WIDTH)
    maxima, sums = logits.new_empty(2, rows, blocks)
    masses = torch.empty(rows, parts, dtype=torch.float64, device=logits.device)
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    logprobs = logits.new_empty(rows)
    sizes = {"WIDTH": WIDTH, "BLOCKS": triton.next_power_of_2(blocks)}
    _partials[(rows, blocks)](logits, maxima, sums, size, temperature, BLOCK=BLOCK, num_warps=8)
    _masses[(rows, blocks)](
        logits, maxima, sums, masses, size, blocks, parts, temperature,
        BLOCK=BLOCK, num_warps=8, **sizes,
    )  # fmt: skip
    _choose[(rows,)](
        logits, maxima, sums, masses, uniform, tokens, logprobs, size, blocks, parts, temperature,
        PARTS=triton.next_power_of_2(parts), num_warps=4, **sizes,
    )  # fmt: skip
    return tokens, logprobs
