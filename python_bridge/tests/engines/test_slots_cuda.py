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
    assert any(graph is not None for graph in serving.slots._graphs.values())
    assert completions(client.sample(dict(tensors), **given)[1]) == recorded
    serving.capture = False
    serving.release()
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
    assert any(graph is not None for graph in serving.slots._graphs.values())
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
