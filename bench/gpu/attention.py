"""One decoding step's attention by several kernels: microseconds, and bytes of keys and values a
second. Beside it, how fast the device copies.

    python bench/gpu/attention.py [--out OUT]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import common
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

#: Rows, query heads, key heads, width, columns of a slot.
SHAPES = {"1.5B": (256, 12, 2, 128, 768), "135M": (512, 9, 3, 64, 640)}

#: Keys of a tile, warps, stages.
VARIANTS = (
    (32, 2, 3), (32, 4, 3), (32, 4, 4), (64, 2, 3), (64, 4, 2), (64, 4, 3), (64, 4, 4),
    (64, 8, 3), (128, 4, 2), (128, 4, 3), (128, 8, 2),
)  # fmt: skip


def microseconds(work: Callable[[int], Any], copies: int) -> float:
    """Median of 20 runs after some that are not counted, over inputs that no cache holds."""
    for turn in range(3):
        work(turn % copies)
    times = []
    for turn in range(20):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work(turn % copies)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(times)


def copied() -> float:
    """Billions of bytes a second that the device reads and writes when it copies."""
    source = torch.randn(2**30, device="cuda")
    target = torch.empty_like(source)
    took = microseconds(lambda _: target.copy_(source), 1)
    return 2 * source.nbytes / took / 1e3


def main() -> bool:
    given = common.options([])
    report = common.Report("attention", given.out)
    report.add("copy", {"gb_per_second": copied()})
    for name, (rows, heads, kv, width, columns) in SHAPES.items():
        generator = torch.Generator(device="cuda").manual_seed(0)

        def normal(*shape: int, generator: torch.Generator = generator) -> torch.Tensor:
            made = torch.randn(shape, generator=generator, device="cuda")
            return made.to(torch.bfloat16)

        copies = 4
        keys = [normal(rows, columns, kv, width) for _ in range(copies)]
        values = [normal(rows, columns, kv, width) for _ in range(copies)]
        query = normal(rows, heads, width)
        used = torch.randint(
            columns // 2, columns, (rows,), generator=generator, device="cuda"
        ).int()
        read = 4 * int(used.sum()) * kv * width
        beyond = torch.arange(columns, device="cuda")[None] >= used[:, None]
        mask = torch.zeros(beyond.shape, device="cuda", dtype=torch.bfloat16)
        mask = mask.masked_fill(beyond, -torch.inf)[:, None, None]
        grouped = query.view(rows, kv, heads // kv, width)
        want = functional.scaled_dot_product_attention(
            grouped.float(),
            keys[0].transpose(1, 2).float(),
            values[0].transpose(1, 2).float(),
            attn_mask=mask.float(),
        ).reshape(rows, heads, width)

        def measure(
            label: str,
            work: Callable[[int], torch.Tensor],
            want: torch.Tensor = want,
            read: int = read,
            name: str = name,
            copies: int = copies,
        ) -> None:
            def entry() -> dict[str, Any]:
                off = float((work(0).reshape(want.shape).float() - want).abs().max())
                took = microseconds(work, copies)
                return {"us": took, "gb_per_second": read / took / 1e3, "off": off}

            report.attempt(f"{name} {label}", entry)

        def by_mask(
            turn: int,
            grouped: Any = grouped,
            keys: Any = keys,
            values: Any = values,
            mask: Any = mask,
        ) -> torch.Tensor:
            with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
                return functional.scaled_dot_product_attention(
                    grouped,
                    keys[turn].transpose(1, 2),
                    values[turn].transpose(1, 2),
                    attn_mask=mask,
                )

        def flash(
            turn: int,
            grouped: Any = grouped,
            keys: Any = keys,
            values: Any = values,
            used: Any = used,
        ) -> torch.Tensor:
            rows, kv, group, width = grouped.shape
            columns = keys[turn].shape[1]
            every = torch.arange(rows + 1, device="cuda", dtype=torch.int32)
            out = torch.ops.aten._flash_attention_forward(
                grouped.transpose(1, 2).reshape(-1, kv, width),
                keys[turn].flatten(0, 1),
                values[turn].flatten(0, 1),
                every * group,
                every * columns,
                group,
                columns,
                0.0,
                False,
                False,
                seqused_k=used,
            )[0]
            return out.reshape(rows, group, kv, width).transpose(1, 2).reshape(rows, -1, width)

        measure("sdpa, mask", by_mask)
        measure("flash, lengths", flash)
        from genac_bridge.engines import kernels

        for sizes in VARIANTS:

            def triton(
                turn: int,
                sizes: tuple[int, int, int] = sizes,
                query: Any = query,
                keys: Any = keys,
                values: Any = values,
                used: Any = used,
            ) -> torch.Tensor:
                scale = query.shape[-1] ** -0.5
                return kernels.attend(query, keys[turn], values[turn], used, scale, sizes)

            measure("kernel, {} keys, {} warps, {} stages".format(*sizes), triton)
    return report.failed


if __name__ == "__main__":
    sys.exit(main())
