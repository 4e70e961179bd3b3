"""How a token is drawn from logits and a uniform number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genac_bridge.engines.random import join_seeds, uniforms
from genac_bridge.engines.sampling import keep_top_k, pick


def test_pick_keeps_to_top_k_and_top_p_and_renormalises() -> None:
    # Probabilities .4 .3 .2 .1, not in order.
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log().repeat(10_000, 1)
    uniform = torch.from_numpy(uniforms(np.arange(10_000, dtype=np.uint64), 0, 1)[:, 0])
    for changes, expected in (
        ({"top_k": 2, "top_p": None}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": None, "top_p": 0.65}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": None, "top_p": 0.75}, [0, 4 / 9, 2 / 9, 3 / 9]),
        ({"top_k": 1, "top_p": 0.99}, [0, 1, 0, 0]),
        ({"top_k": None, "top_p": 0.01}, [0, 1, 0, 0]),
        ({"top_k": 99, "top_p": 1.0}, [0.1, 0.4, 0.2, 0.3]),
    ):
        tokens, logprobs = pick(logits, uniform, 1.0, **changes)  # type: ignore[arg-type]  # mypy reads the dicts as one type
        frequencies = np.bincount(tokens, minlength=4) / 10_000
        np.testing.assert_allclose(frequencies, expected, atol=0.02)
        assert not frequencies[np.array(expected) == 0].any()
        torch.testing.assert_close(logprobs, logits.gather(1, tokens[:, None])[:, 0])


def test_pick_never_takes_a_token_of_probability_zero() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(4, 1)
    extremes = torch.tensor([2.0**-54, 0.5, 0.5 + 2.0**-53, 1.0], dtype=torch.float64)
    assert pick(logits, extremes, 1.0, None, None)[0].tolist() == [1, 1, 3, 3]


def test_uniforms_are_uniform_and_independent_of_neighbours() -> None:
    draws = uniforms(np.arange(2000, dtype=np.uint64), 0, 50)
    assert draws.min() > 0
    assert draws.max() <= 1
    counts = np.histogram(draws, bins=100, range=(0, 1))[0]
    # Chi-square with 99 degrees of freedom: beyond 148 in 1 of 1,000 cases.
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 148
    for shifted in (draws[1:].ravel()[: 1999 * 50], draws[:-1, ::-1].ravel()):
        # Standard deviation 1 / sqrt(50,000) = .0045.
        assert abs(np.corrcoef(draws[:-1].ravel(), shifted)[0, 1]) < 0.015
    np.testing.assert_array_equal(
        uniforms(np.arange(2000, dtype=np.uint64), 20, 5), draws[:, 20:25]
    )
    # Seeds a golden constant apart would share a shifted stream if seeds were not mixed first.
    near = uniforms(np.array([1, 1 + 0x9E3779B97F4A7C15], np.uint64), 0, 10)
    assert not np.isin(near[0], near[1]).any()
    assert join_seeds(np.array([[1, 2]], np.uint32))[0] == 2 * 2**32 + 1


def test_uniforms_may_begin_at_another_position_for_each_seed() -> None:
    draws = uniforms(np.arange(3, dtype=np.uint64), 0, 50)
    found = uniforms(np.arange(3, dtype=np.uint64), np.array([0, 7, 45]), 5)
    np.testing.assert_array_equal(
        found, np.stack([draws[row, start : start + 5] for row, start in enumerate((0, 7, 45))])
    )


@pytest.mark.parametrize("size", [4096, 4099, 151_936])
@pytest.mark.parametrize("top_k", [None, 3])
def test_sums_in_parts_draw_what_one_sum_over_all_draws(size: int, top_k: int | None) -> None:
    generator = torch.Generator().manual_seed(size)
    logits = torch.randn(40, size, generator=generator) * 4
    uniform = torch.from_numpy(uniforms(np.arange(40, dtype=np.uint64), 0, 1)[:, 0])
    uniform[:2] = torch.tensor([1.0, 2.0**-54])
    tokens, _ = pick(logits, uniform, 1.0, top_k, None)
    probabilities = logits.softmax(1)
    if top_k is not None:
        probabilities = keep_top_k(probabilities, top_k)
    ends = probabilities.numpy().astype(np.float64).cumsum(1)
    targets = uniform.numpy() * ends[:, -1]
    expected = [np.searchsorted(row, target) for row, target in zip(ends, targets, strict=True)]
    # Where everything is summed, the last bit says which of the last tokens it is.
    assert tokens[1:].tolist() == expected[1:]
    assert (probabilities.gather(1, tokens[:, None]) > 0).all()
