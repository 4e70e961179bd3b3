"""Random requests, one after another, are answered from the slots as the loop answers them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conftest import Client, completions, prompts
from genac_bridge.engines import slot_decoding, slot_serving
from genac_bridge.engines.transformers_engine import TransformersEngine

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": ["q_proj", "down_proj"]}
STRINGS = ["w7", "5 w1", "3", "w2 w", " w11"]


def drawn_request(random: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and arguments of a `sample` request: few prompts, of few or many tokens each."""
    longest = int(random.choice([2, 9, 40]))
    lengths = random.integers(1, longest, random.integers(1, 9), endpoint=True)
    per_prompt = int(random.choice([1, 1, 2, 5]))
    tensors = prompts(random, lengths.tolist(), per_prompt)
    most = int(random.choice([1, 2, 9, 17, 40, 60]))
    if random.random() < 0.4:
        room = np.minimum(lengths, most)
        tensors["prefix_lengths"] = random.integers(0, room).astype(np.int32)
    changes: dict[str, Any] = {
        "completions_per_prompt": per_prompt,
        "max_new_tokens": most,
        "temperature": float(random.choice([0.0, 0.7, 1.0, 1.4])),
        "top_k": random.choice([None, None, 1, 6]),
        "top_p": random.choice([None, None, 0.5, 0.95]),
        "batch_size": random.choice([None, 1, 3, 12]),
        "stop_token_ids": random.integers(2, 47, random.choice([0, 1, 6])).tolist(),
        "stop_strings": random.choice(STRINGS, random.choice([0, 0, 2]), False).tolist(),
    }
    return tensors, changes


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sizes, so that small requests move, refill, split and grow."""
    monkeypatch.setattr(slot_decoding, "FEWEST", 2)
    monkeypatch.setattr(slot_serving, "FEWEST", 2)
    monkeypatch.setattr(slot_decoding, "COLUMNS", 8)
    monkeypatch.setattr(slot_serving, "COLUMNS", 8)
    monkeypatch.setattr(slot_serving.SlotServing, "most_read", lambda _: 24)


@pytest.mark.usefixtures("cramped")
@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_random_requests_are_answered_as_the_loop_does(
    client: Client, folder: str, lora: Any
) -> None:
    client.load(folder, lora=lora)
    model = client.operations.models["m"]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=generator)
    loop, in_slots = (TransformersEngine(model, in_slots=way) for way in (False, True))
    for engine in (loop, in_slots):
        engine.publish(model.named_parameters(), 0)
    assert in_slots._slots is not None
    random = np.random.default_rng(27)
    reasons = set[str]()
    for number in range(20):
        tensors, changes = drawn_request(random)
        answers, logprobs = [], []
        for engine in (loop, in_slots):
            model.engine = engine
            result, out = client.sample(dict(tensors), **changes)
            answers.append((completions(out), result["finish_reasons"], result["texts"]))
            reasons.update(result["finish_reasons"])
            logprobs.append(out["logprobs"])
        assert answers[1] == answers[0], (number, changes)
        np.testing.assert_allclose(logprobs[1], logprobs[0], atol=5e-5)
    assert reasons == {"length", "stop_token", "stop_string"}
