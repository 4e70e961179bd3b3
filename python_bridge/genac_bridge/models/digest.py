"""Digests of weights where they lie: nothing but some sums leaves the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

#: Words of 64 bits that are added up at once.
CHUNK = 2**20
#: Knuth's multiplier, which spreads the places.
SPREAD = 6364136223846793005
#: Words and factors of their places, int64, to what is added up.
Mix = Callable[[Tensor, Tensor], Tensor]


def digest(named: Iterable[tuple[str, Tensor]], dtype: torch.dtype | None = None) -> str:
    """Returns 16 hex digits of weights, names and values. `dtype`: values as of this type.

    A sum over all words of 64 bits, modulo 2^64, each mixed with its place: a change of one word
    always changes it, of several all but certainly. Fast on every device, and the same.
    """
    return _digest(named, mixed, dtype)


def plain_digest(named: Iterable[tuple[str, Tensor]]) -> str:
    """As `digest`, with words times odd numbers of their places: it does not see that the signs of
    an even number of weights at odd places change.
    """
    return _digest(named, torch.mul, None)


def _digest(named: Iterable[tuple[str, Tensor]], mix: Mix, dtype: torch.dtype | None) -> str:
    ordered = sorted(named, key=lambda item: item[0])
    total = 0
    sums = tensor_sums([values for _, values in ordered], mix, dtype)
    for (name, _), own in zip(ordered, sums, strict=True):
        total = (total * 0x100000001B3 + sum(name.encode()) + own) % 2**64
    return f"{total:016x}"


def mixed(words: Tensor, factors: Tensor) -> Tensor:
    """Returns each word with its bits spread over all 64, by its place (Stafford's mix 13)."""
    spread = words + factors
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        spread = (spread ^ (spread >> shift)) * factor
    return spread ^ (spread >> 31)


@torch.no_grad()
def tensor_sums(values: list[Tensor], mix: Mix, dtype: torch.dtype | None = None) -> list[int]:
    """Returns the sum of each tensor's mixed words, in [0, 2^64). The host waits for each device
    once.
    """
    factors: dict[torch.device, Tensor] = {}
    sums: dict[torch.device, list[Tensor]] = {}
    ends: list[int] = []
    counts: list[int] = []
    for value in values:
        data = value.detach().to(dtype or value.dtype).contiguous().reshape(-1).view(torch.uint8)
        if data.storage_offset() % 8:
            data = data.clone()  # a view as words begins at a word
        whole = len(data) // 8 * 8
        words = data[:whole].view(torch.int64)
        rest = bytes(data[whole:].tolist()) if whole < len(data) else b""
        ends.append(int.from_bytes(rest, "little"))
        counts.append(-(-len(words) // CHUNK))
        own = sums.setdefault(value.device, [])
        for part in words.split(CHUNK) if len(words) else ():
            known = factors.get(value.device)
            if known is None or len(known) < len(part):
                places = torch.arange(len(part), device=value.device)
                # The last bit makes each factor odd.
                known = factors[value.device] = (places * SPREAD + 1442695040888963407) | 1
            own.append(mix(part, known[: len(part)]).sum())
    found = {device: iter(torch.stack(s).tolist() if s else []) for device, s in sums.items()}
    totals = []
    for value, end, count in zip(values, ends, counts, strict=True):
        total = end
        for _ in range(count):
            total = total * SPREAD + next(found[value.device])
        totals.append(total % 2**64)
    return totals
