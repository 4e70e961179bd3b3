"""Digests of weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genac_bridge.models import digest
from genac_bridge.models.digest import mixed, tensor_sums


def test_a_sum_sees_every_weight() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    changed = [values]
    for place in range(0, 5000, 7):
        changed.append(values.clone())
        changed[-1][place] += 1e-6
    swapped = values.clone()
    swapped[[10, 20]] = values[[20, 10]]
    assert len(set(tensor_sums([*changed, swapped], mixed))) == len(changed) + 1


@settings(max_examples=200, deadline=None)
@given(
    places=st.sets(st.integers(0, 63), min_size=1),
    change=st.sampled_from([torch.neg, lambda x: 2 * x, lambda x: x + 1]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_changes_of_several_do_not_cancel(
    places: set[int], change: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype
) -> None:
    """As signs of an even number of words do in a sum of products."""
    values = torch.randn(64, generator=torch.Generator().manual_seed(2)).to(dtype)
    changed = values.clone()
    where = sorted(places)
    changed[where] = change(values[where])
    for read in (None, torch.float32):
        assert tensor_sums([values], mixed, read) != tensor_sums([changed], mixed, read)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.uint8, torch.float64, torch.bool]
)
@pytest.mark.parametrize("count", [1, 7, 333])
def test_of_every_type_and_length(dtype: torch.dtype, count: int) -> None:
    values = torch.arange(1, count + 1).to(dtype)
    (first,), (again,) = tensor_sums([values], mixed), tensor_sums([values.clone()], mixed)
    assert first == again
    values[-1] = 0
    assert tensor_sums([values], mixed) != [first]


def test_a_sum_does_not_depend_on_how_it_lies_or_what_is_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = torch.randn(301, generator=torch.Generator().manual_seed(1))
    lying = torch.randn(1 + 2 * 301)
    lying[1::2] = values
    shifted = torch.cat([torch.zeros(1), values])[1:]
    alone = tensor_sums([values], mixed)[0]
    empty, two, three = tensor_sums([torch.zeros(0), lying[1::2], shifted], mixed)
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
    assert tensor_sums([values[:20]], torch.mul) == [total % 2**64]


def test_a_digest_is_of_names_too() -> None:
    one, other = torch.ones(3), torch.zeros(3)
    assert digest.digest([("a", one), ("b", other)]) == digest.digest([("b", other), ("a", one)])
    assert digest.digest([("a", one)]) != digest.digest([("b", one)])
    assert len(digest.digest([])) == 16
    half = one.bfloat16()
    assert digest.digest([("a", half)]) != digest.digest([("a", one)])
    assert digest.digest([("a", half)], torch.float32) == digest.digest([("a", one)])
