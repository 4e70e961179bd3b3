"""What must not reach the kernels of a GPU, and what a failed recording leaves; without a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_slots import use_slots
from transformers import AutoModelForCausalLM, NemotronConfig, OlmoConfig

from conftest import Client, prompts
from genac_bridge.engines import fused, slot_attention, slots
from genac_bridge.engines.slot_cache import SlotCache, Writing

SMALL: Any = {
    **{"vocab_size": 47, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
    **{"num_attention_heads": 4, "num_key_value_heads": 4, "eos_token_id": 1},
    **{"bos_token_id": None, "pad_token_id": None},
}


def test_only_keys_that_lie_in_slots_are_read_by_length() -> None:
    cache = SlotCache(1, 3, 8)
    cache.begin(Writing(2, 8, torch.tensor([0, 8])))
    key, value = cache.update(torch.zeros(2, 4, 1, 6), torch.zeros(2, 4, 1, 6), 0)
    assert slot_attention.lie_in_slots(key, value)
    expanded = torch.zeros(2, 4, 8, 6)
    assert not slot_attention.lie_in_slots(expanded, expanded)
    assert not slot_attention.lie_in_slots(key, value[..., :5])
    step = slots.Step(True, torch.ones(2, dtype=torch.int32))
    with pytest.raises(TypeError, match="do not lie as they are kept"):
        slot_attention.by_length(torch.zeros(2, 4, 1, 6), expanded, expanded, None, step)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (OlmoConfig(clip_qkv=8.0, **SMALL), "clips"),
        (NemotronConfig(partial_rotary_factor=0.5, **SMALL), "a part of each head"),
        (OlmoConfig(**SMALL), None),
        (NemotronConfig(partial_rotary_factor=1.0, **SMALL), None),
    ],
    ids=["clips", "in part", "does not clip", "whole"],
)
def test_an_attention_that_a_probe_does_not_tell_apart_is_not_replaced(
    config: Any, reason: str | None
) -> None:
    network: Any = AutoModelForCausalLM.from_config(config).eval()
    attention = network.model.layers[0].self_attn
    assert fused.linear_children(attention) == ["k_proj", "o_proj", "q_proj", "v_proj"]
    attention(**fused.attention_probe(attention))
    with contextlib.nullcontext() if reason is None else pytest.raises(ValueError, match=reason):
        fused.Attention(attention)


def test_a_failed_recording_leaves_the_stream_as_it_was(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """As `torch.cuda.graph` does where ending the capture fails, too."""
    client.load(folder)
    stream = ["usual"]

    @contextlib.contextmanager
    def graph(*_: Any, **__: Any) -> Iterator[None]:
        stream[0] = "capture"
        yield
        raise RuntimeError("capture failed")

    def set_stream(given: str) -> None:
        stream[0] = given

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream[0])
    monkeypatch.setattr(torch.cuda, "set_stream", set_stream)
    tensors = prompts(np.random.default_rng(0), [3, 5])
    serving = use_slots(client)
    client.sample(tensors)
    with torch.inference_mode():
        assert serving.slots._record(2, 128, slots.Draw(1.0, None, None)) is None
    assert stream == ["usual"]
    assert "could not be recorded" in capsys.readouterr().err
