"""Sampling in slots on a GPU: recorded steps draw what unrecorded ones do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_sampling import rescored

from conftest import Client, completions, prompts
from genac_bridge.engines.transformers_engine import TransformersEngine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
LENGTHS = [3, 9, 1, 6, 14, 30, 2] * 6


def load(client: Client, folder: str, dtype: str, **changes: Any) -> Any:
    client.load(folder, device="cuda", dtype=dtype, **changes)
    engine = client.operations.models["m"].engine
    assert isinstance(engine, TransformersEngine)
    assert engine._slots is not None
    return engine._slots


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 0.7, "top_k": 5},
        {"top_p": 0.6},
        {"stop_token_ids": [20, 21, 22, 23], "max_new_tokens": 100},
        {"completions_per_prompt": 3, "batch_size": 20, "stop_token_ids": [5, 6]},
    ],
    ids=str,
)
def test_cuda_draws_the_same_recorded_or_not_and_as_the_loop(
    client: Client, folder: str, changes: dict[str, Any]
) -> None:
    serving = load(client, folder, "float32")
    tensors = prompts(np.random.default_rng(1), LENGTHS, changes.get("completions_per_prompt", 1))
    given = {"max_new_tokens": 40, **changes}
    recorded = completions(client.sample(dict(tensors), **given)[1])
    assert any(graph is not None for graph in serving.slots.recorded.values())
    assert completions(client.sample(dict(tensors), **given)[1]) == recorded
    serving.capture = False
    serving.slots = None
    assert completions(client.sample(dict(tensors), **given)[1]) == recorded
    model = client.operations.models["m"]
    model.engine = TransformersEngine(model, in_slots=False)
    client.publish()
    assert completions(client.sample(dict(tensors), **given)[1]) == recorded


@pytest.mark.parametrize("by_length", [True, False])
def test_cuda_bfloat16_is_near_its_scores(client: Client, folder: str, by_length: bool) -> None:
    serving = load(client, folder, "bfloat16")
    assert serving.by_length, "torch's kernel for lengths can't be used"
    serving.by_length = by_length
    tensors = prompts(np.random.default_rng(13), LENGTHS, 2)
    _, out = client.sample(tensors, completions_per_prompt=2, max_new_tokens=60)
    assert any(graph is not None for graph in serving.slots.recorded.values())
    np.testing.assert_allclose(out["logprobs"], rescored(client, tensors, out, 2, 1.0), atol=0.1)


def test_cuda_recorded_steps_read_what_is_published(client: Client, folder: str) -> None:
    load(client, folder, "float32")
    tensors = prompts(np.random.default_rng(6), LENGTHS)
    first = completions(client.sample(dict(tensors), max_new_tokens=40)[1])
    with torch.no_grad():
        for _, parameter in client.operations.models["m"].named_parameters():
            parameter.neg_()
    assert completions(client.sample(dict(tensors), max_new_tokens=40)[1]) == first
    client.publish()
    assert completions(client.sample(dict(tensors), max_new_tokens=40)[1]) != first


def bfloat16(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator(device="cuda").manual_seed(seed)
    return torch.randn(shape, generator=generator, device="cuda").to(torch.bfloat16)


def equal(have: torch.Tensor, want: torch.Tensor) -> float:
    """The part of the numbers that are the same to the last bit; none is far off."""
    torch.testing.assert_close(have, want, rtol=0.02, atol=0.02)
    return float((have == want).float().mean())


def test_cuda_kernels_round_where_transformers_does() -> None:
    from genac_bridge.engines import kernels

    hidden, weight = bfloat16(7, 576), bfloat16(576, seed=1)
    squares = hidden.float().square().mean(-1, keepdim=True)
    want = weight * (hidden.float() * torch.rsqrt(squares + 1e-5)).to(torch.bfloat16)
    assert equal(kernels.rms_norm(hidden, weight, 1e-5), want) > 0.99
    both = bfloat16(7, 2, 3000)
    want = torch.nn.functional.silu(both[..., :1500]) * both[..., 1500:]
    assert equal(kernels.gate(both), want) > 0.99
    heads, kv, width, tokens = 9, 3, 48, 10
    states = bfloat16(tokens, (heads + 2 * kv) * width)
    angles = bfloat16(5, width // 2).float().repeat(1, 2)
    cosines, sines = angles.cos().to(torch.bfloat16), angles.sin().to(torch.bfloat16)

    def turned(part: torch.Tensor) -> torch.Tensor:
        half = torch.cat([-part[..., width // 2 :], part[..., : width // 2]], -1)
        return part * cosines.repeat(2, 1)[:, None] + half * sines.repeat(2, 1)[:, None]

    query, key, value = states.view(tokens, -1, width).split([heads, kv, kv], 1)
    queries, keys = kernels.rotate(states, cosines, sines, heads, kv)
    # The compiler keeps products in float32 that Transformers rounds: no farther from the truth.
    for found, part in ((queries, query), (keys, key)):
        exact = turned(part.double())
        ours, theirs = ((one.double() - exact).abs().mean() for one in (found, turned(part)))
        assert ours <= theirs * 1.01
    room = (torch.zeros(4, 8, kv, width).to(states), torch.zeros(4, 8, kv, width).to(states))
    places = torch.tensor([3, 9, 31, 17, 0, 8, 1, 2, 30, 29], device="cuda")
    kernels.rotate(states, cosines, sines, heads, kv, room, places)
    assert torch.equal(room[0].flatten(0, 1)[places], keys)
    assert torch.equal(room[1].flatten(0, 1)[places], value)
    assert int((room[1].flatten(0, 1) != 0).any(-1).any(-1).sum()) == tokens


@pytest.mark.parametrize(
    ("heads", "kv", "width"), [(9, 3, 64), (12, 2, 128), (4, 4, 80), (8, 1, 8)]
)
def test_cuda_kernel_attends_to_the_keys_of_its_row(heads: int, kv: int, width: int) -> None:
    from genac_bridge.engines import kernels

    used = torch.tensor([1, 64, 65, 300], dtype=torch.int32, device="cuda")
    query = bfloat16(4, heads, width)
    keys, values = bfloat16(4, 300, kv, width, seed=1), bfloat16(4, 300, kv, width, seed=2)
    have = kernels.attend(query, keys, values, used, width**-0.5)
    for row, count in enumerate(used.tolist()):
        want = torch.nn.functional.scaled_dot_product_attention(
            query[row, :, None].float(),
            keys[row, :count].transpose(0, 1).repeat_interleave(heads // kv, 0).float(),
            values[row, :count].transpose(0, 1).repeat_interleave(heads // kv, 0).float(),
        )[:, 0]
        torch.testing.assert_close(have[row].float(), want, rtol=0.02, atol=0.02)


def test_cuda_modules_are_fused(client: Client, folder: str) -> None:
    serving = load(client, folder, "bfloat16")
    made = [type(vars(m).get("forward")).__name__ for m in serving.copy.network.modules()]
    assert [made.count(name) for name in ("Attention", "Gated", "KernelNorm")] == [2, 2, 5]


@pytest.mark.parametrize("size", [47, 4099, 151_936])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_cuda_kernels_draw_what_pick_draws(size: int, temperature: float) -> None:
    from genac_bridge.engines import draw_kernels
    from genac_bridge.engines.sampling import pick

    generator = torch.Generator(device="cuda").manual_seed(size)
    logits = torch.randn(256, size, generator=generator, device="cuda") * 4
    logits[3, : size // 2] = -torch.inf
    logits[4], logits[4, size // 3] = -torch.inf, 0.0
    uniform = torch.rand(256, generator=generator, device="cuda", dtype=torch.float64)
    uniform[:2] = torch.tensor([1.0, 2.0**-54])
    tokens, logprobs = draw_kernels.draw(logits, uniform, temperature)
    want, expected = pick(logits, uniform, temperature, None, None)
    # The sum over all differs in its last bits, which may decide at the end of the row.
    assert (tokens == want)[1:].float().mean() > 0.99
    assert logits.gather(1, tokens[:, None]).min() > -torch.inf
    same = tokens == want
    torch.testing.assert_close(logprobs[same], expected[same], rtol=1e-5, atol=2e-5)
    logits[7] = torch.nan
    assert draw_kernels.draw(logits, uniform, temperature)[1][7].isnan()
