"""Small kernels of a decoding step in Triton, which comes with torch on CUDA.

Each says what its operations say one by one in the network's type, with every product rounded where
they round, so that sampling and scoring differ by as little as can be.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _rms_norm(hidden, weight, output, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    values = tl.load(hidden + row * width + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values, axis=0) / width + eps)
    normed = (values * scale).to(output.dtype.element_ty).to(tl.float32)
    factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(output + row * width + column, normed * factor, mask=inside)


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Returns weight * hidden / rms(hidden) of hidden [..., width]."""
    hidden = hidden.contiguous()
    output = torch.empty_like(hidden)
    width = hidden.shape[-1]
    block = triton.next_power_of_2(width)
    rows = hidden.numel() // width
    _rms_norm[(rows,)](
        hidden, weight, output, width, eps, BLOCK=block, num_warps=min(16, max(1, block // 256))
    )
    return output


@triton.jit
def _gate(both, output, inner, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < inner
    gate = tl.load(both + row * 2 * inner + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(both + row * 2 * inner + inner + column, mask=inside, other=0.0).to(tl.float32)
    open_ = (gate / (1.0 + tl.exp(-gate))).to(output.dtype.element_ty).to(tl.float32)
    tl.store(output + row * inner + column, open_ * up, mask=inside)


def gate(both: Tensor) -> Tensor:
    """Returns silu(g) * u [..., inner] of g and u side by side [..., 2 inner]."""
    both = both.contiguous()
    inner = both.shape[-1] // 2
    output = both.new_empty((*both.shape[:-1], inner))
    rows = both.numel() // (2 * inner)
    _gate[(rows, triton.cdiv(inner, 1024))](both, output, inner, BLOCK=1024, num_warps=4)
    return output


@triton.jit
def _rotate(
    states, cosines, sines, queries, keys, values, places,
    heads, kv, width, angles,
    PLACED: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, HALF)[None, :]
    half = width // 2
    inside = (column < half) & (head < heads + 2 * kv)
    source = states + token * (heads + 2 * kv) * width + head * width + column
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + half, mask=inside, other=0.0).to(tl.float32)
    angle = token % angles * width + column
    cos_1 = tl.load(cosines + angle, mask=column < half, other=0.0).to(tl.float32)
    cos_2 = tl.load(cosines + angle + half, mask=column < half, other=0.0).to(tl.float32)
    sin_1 = tl.load(sines + angle, mask=column < half, other=0.0).to(tl.float32)
    sin_2 = tl.load(sines + angle + half, mask=column < half, other=0.0).to(tl.float32)
    kind = queries.dtype.element_ty
    turned_1 = (first * cos_1).to(kind).to(tl.float32) - (second * sin_1).to(kind).to(tl.float32)
    turned_2 = (second * cos_2).to(kind).to(tl.float32) + (first * sin_2).to(kind).to(tl.float32)
    is_query = inside & (head < heads)
    target = queries + token * heads * width + head * width + column
    tl.store(target, turned_1, mask=is_query)
    tl.store(target + half, turned_2, mask=is_query)
    place = token
    if PLACED:
        place = tl.load(places + token)
    is_key = inside & (head >= heads) & (head < heads + kv)
    target = keys + place * kv * width + (head - heads) * width + column
    tl.store(target, turned_1, mask=is_key)
    tl.store(target + half, turned_2, mask=is_key)
    if PLACED:
        is_value = inside & (head >= heads + kv)
        target = values + place * kv * width + (head - heads - kv) * width + column
        tl.store(target, first, mask=is_value)
        tl.store(target + half, second, mask=is_value)


def rotate(
    states: Tensor,
    cosines: Tensor,
    sines: Tensor,
    heads: int,
    kv: int,
    room: tuple[Tensor, Tensor] | None = None,
    places: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns rotated queries [tokens, heads, width] and keys [tokens, kv, width] of the states
    [tokens, (heads + 2 kv) * width] (queries, keys, values). Cosines and sines [angles, width] are
    those of the first tokens, then again of the next.

    With `room` for keys and values [..., kv, width], both are written into its `places` [tokens]
    instead, and the keys returned are the room's.
    """
    states, cosines, sines = states.contiguous(), cosines.contiguous(), sines.contiguous()
    tokens, (angles, width) = len(states), cosines.shape
    queries = states.new_empty((tokens, heads, width))
    keys = states.new_empty((tokens, kv, width)) if room is None else room[0]
    _rotate[(tokens,)](
        states,
        cosines,
        sines,
        queries,
        keys,
        keys if room is None else room[1],
        states if places is None else places,
        heads,
        kv,
        width,
        angles,
        PLACED=places is not None,
        HEADS=triton.next_power_of_2(heads + 2 * kv),
        HALF=triton.next_power_of_2(width // 2),
        num_warps=4,
    )
    return queries, keys


@triton.jit
def _attend(
    queries, keys, values, used, output, scale, slot, kv,
    GROUP: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    member = tl.arange(0, ROWS)[:, None]
    part = tl.arange(0, PADDED)
    count = tl.load(used + row)
    at = (row * kv + head) * GROUP * WIDTH + member * WIDTH + part[None, :]
    real = (member < GROUP) & (part[None, :] < WIDTH)
    query = tl.load(queries + at, mask=real, other=0.0)
    begin = row * slot + head * WIDTH
    best = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    sums = tl.zeros((ROWS, PADDED), tl.float32)
    for start in range(0, count, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        where = begin + column[:, None].to(tl.int64) * kv * WIDTH + part[None, :]
        inside = (column[:, None] < count) & (part[None, :] < WIDTH)
        key = tl.load(keys + where, mask=inside, other=0.0)
        product = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        product = tl.where(column[None, :] < count, product, float("-inf"))
        higher = tl.maximum(best, tl.max(product, axis=1))
        weight = tl.exp(product - higher[:, None])
        shrink = tl.exp(best - higher)
        total = total * shrink + tl.sum(weight, axis=1)
        value = tl.load(values + where, mask=inside, other=0.0)
        sums = tl.dot(
            weight.to(value.dtype), value, acc=sums * shrink[:, None], input_precision="ieee"
        )
        best = higher
    tl.store(output + at, sums / total[:, None], mask=real)


#: Keys that a program reads at once, its warps, and loads that are under way: of keys of up to 256
#: bytes, and of longer ones, of which shared memory holds fewer.
SHORT, LONG = (64, 4, 3), (32, 4, 2)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    used: Tensor,
    scale: float,
    sizes: tuple[int, int, int] | None = None,
) -> Tensor:
    """Returns the attention [rows, heads, width] of one query a row [rows, heads, width] over the
    first `used` int32 [rows] keys and values of its slot [slots, columns, kv, width]. `sizes`: see
    `SHORT`.

    Each key is read once for all heads of its group.
    """
    rows, heads, width = queries.shape
    kv = keys.shape[2]
    output = torch.empty_like(queries)
    padded = max(16, triton.next_power_of_2(width))
    short = padded * keys.element_size() <= 256
    tile, warps, stages = sizes or (SHORT if short else LONG)
    _attend[(rows, kv)](
        queries,
        keys,
        values,
        used,
        output,
        scale,
        keys.stride(0),
        kv,
        GROUP=heads // kv,
        ROWS=max(16, triton.next_power_of_2(heads // kv)),
        WIDTH=width,
        PADDED=padded,
        COLUMNS=tile,
        num_warps=warps,
        num_stages=stages,
    )
    return output


def why_not(device: torch.device, dtype: torch.dtype, width: int) -> str | None:
    """Returns why attention of this type and width can't be computed by these kernels; None: it
    can.

    Tried out on random numbers, for they are compiled for the device at hand.
    """
    rows, kv, group, columns = 3, 2, 3, 256
    generator = torch.Generator(device=device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(dtype)

    used = torch.tensor([1, 130, 256], dtype=torch.int32, device=device)
    queries = normal(rows, kv * group, width)
    keys, values = normal(rows, columns, kv, width), normal(rows, columns, kv, width)
    try:
        have = attend(queries, keys, values, used, width**-0.5).float()
    except Exception as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    of_groups = queries.float().view(rows, kv, group, width)
    products = torch.einsum("rkgw,rckw->rkgc", of_groups, keys.float()) * width**-0.5
    beyond = torch.arange(columns, device=device)[None] >= used[:, None]
    weights = products.masked_fill(beyond[:, None, None], -torch.inf).softmax(-1)
    want = torch.einsum("rkgc,rckw->rkgw", weights, values.float()).reshape(have.shape)
    off = float((have - want).abs().max())
    return None if off < 0.02 else f"it is off by {off:.2g}"
