"""Digests of weights."""

from __future__ import annotations

import pytest
import torch

from genac_bridge.models import digest
from genac_bridge.models.digest import tensor_sums


def test_a_sum_sees_every_weight() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    changed = [values]
    for place in range(0, 5000, 7):
        changed.append(values.clone())
        changed[-1][place] += 1e-6
    swapped = values.clone()
    swapped[[10, 20]] = values[[20, 10]]
    assert len(set(tensor_sums([*changed, swapped]))) == len(changed) + 1


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.uint8, torch.float64, torch.bool]
)
@pytest.mark.parametrize("count", [1, 7, 333])
def test_of_every_type_and_length(dtype: torch.dtype, count: int) -> None:
    values = torch.arange(1, count + 1).to(dtype)
    (first,), (again,) = tensor_sums([values]), tensor_sums([values.clone()])
    assert first == again
    values[-1] = 0
    assert tensor_sums([values]) != [first]


def test_a_sum_does_not_depend_on_how_it_lies_or_what_is_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = torch.randn(301, generator=torch.Generator().manual_seed(1))
    lying = torch.randn(1 + 2 * 301)
    lying[1::2] = values
    shifted = torch.cat([torch.zeros(1), values])[1:]
    alone = tensor_sums([values])[0]
    empty, two, three = tensor_sums([torch.zeros(0), lying[1::2], shifted])
    assert (empty, two, three) == (0, alone, alone)
    # Words of 64 bits by hand, in parts of four.
    monkeypatch.setattr(digest, "CHUNK", 4)
    words = values[:20].view(torch.int64).tolist()
    total = 0
    for start in range(0, 10, 4):
        part = words[start : start + 4]
        factors = [(place * digest.SPREAD + 1442695040888963407) | 1 for place in range(4)]
        own = sum(w * f for w, f in zip(part, factors, strict=False))
        total = total * digest.SPREAD + (own + 2**63) % 2**64 - 2**63
    assert tensor_sums([values[:20]]) == [total % 2**64]


def test_a_digest_is_of_names_too() -> None:
    one, other = torch.ones(3), torch.zeros(3)
    assert digest.digest([("a", one), ("b", other)]) == digest.digest([("b", other), ("a", one)])
    assert digest.digest([("a", one)]) != digest.digest([("b", one)])
    assert len(digest.digest([])) == 16
    half = one.bfloat16()
    assert digest.digest([("a", half)]) != digest.digest([("a", one)])
    assert digest.digest([("a", half)], torch.float32) == digest.digest([("a", one)])
