"""What is tried out at load, and what a model that fails it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, LlamaForCausalLM

from conftest import Client, llama, prompts, split, word_tokenizer
from genac_bridge.engines import rows, sampling_check
from genac_bridge.models.ways import WAYS
from genac_bridge.wire.context import OperationError


def test_plain_attention_is_sampled_as_fast_as_ever(client: Client, folder: str) -> None:
    client.load(folder)
    assert client.operations.models["m"].way == WAYS[0]


def test_the_check_draws_nothing_and_leaves_nothing(client: Client, folder: str) -> None:
    client.load(folder)
    model = client.operations.models["m"]
    before, weights = torch.random.get_rng_state(), client.weights()
    assert sampling_check.choose_way(model) == WAYS[0]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(weight, weights[name]) for name, weight in client.weights().items())
    assert all(p.grad is None for p in model.network.parameters())


def test_attention_to_both_sides_is_refused(client: Client, tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    word_tokenizer().save_pretrained(tmp_path)
    BertConfig(vocab_size=47, **sizes, architectures=["BertLMHeadModel"]).save_pretrained(tmp_path)
    with pytest.raises(
        OperationError,
        match=r"a BertLMHeadModel can't be sampled exactly .*: log-probabilities change",
    ):
        client.load(tmp_path)
    with pytest.raises(
        OperationError, match=r"a BertModel can't give values .*: its hidden states change"
    ):
        client.load(tmp_path, kind="value")


@pytest.mark.parametrize("kind", ["causal", "value"])
@pytest.mark.parametrize("name", ["mlp.up_proj", "self_attn.q_proj", "self_attn.k_proj"])
@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_broken_weights_are_told_at_load(
    client: Client, tmp_path: Path, kind: str, name: str, number: float
) -> None:
    """Attention may turn nan into numbers: then only the weights tell."""
    network = LlamaForCausalLM(llama(47))
    with torch.no_grad():
        network.model.layers[1].get_submodule(name).weight[0, 0] = number
    network.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    words = f"its weights are broken: .*layers.1.{name}.weight is not finite"
    with pytest.raises(OperationError, match=words) as caught:
        client.load(tmp_path, kind=kind, initialization="pretrained")
    assert caught.value.code == "bad_arguments"


@pytest.mark.parametrize(
    ("fault", "way"),
    [
        ("padding", "equal-lengths"),
        ("selection", "whole-groups"),
        ("batches", "one-by-one"),
        ("state", "reread"),
    ],
)
def test_each_fault_of_a_network_has_its_way(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch, fault: str, way: str
) -> None:
    """A network that is wrong by .01 in one respect is sampled so that it does not show."""
    plain, keep = rows.Rows._forward, rows.Rows._select

    def forward(self: rows.Rows, ids: torch.Tensor, arguments: dict[str, object]) -> torch.Tensor:
        logits = plain(self, ids, arguments)
        wrong = {
            "padding": self.padded,
            "selection": getattr(self, "selected", False) or self.padded,
            "batches": len(ids) > 1 or getattr(self, "selected", False),
            "state": self.seen > self.width,
        }[fault]
        if wrong:
            logits[:, 3] += 0.01
        return logits

    def select(self: rows.Rows, indices: torch.Tensor) -> None:
        self.selected = True  # type: ignore[attr-defined]  # this test's own mark
        keep(self, indices)

    monkeypatch.setattr(rows.Rows, "_forward", forward)
    monkeypatch.setattr(rows.Rows, "_select", select)
    client.load(folder)
    assert client.operations.models["m"].way.name == way
    batch = prompts(np.random.default_rng(0), [2, 5, 5, 9], per_prompt=2)
    _, out = client.sample(batch, completions_per_prompt=2, stop_token_ids=[3, 4, 5])
    given = split(batch["prompt_ids"], batch["prompt_cu_seqlens"])
    done = split(out["completion_ids"], out["completion_cu_seqlens"])
    texts = [np.concatenate([given[i // 2], ids]) for i, ids in enumerate(done)]
    cu = np.cumsum([0, *map(len, texts)]).astype(np.int32)
    scored = split(client.score({"ids": np.concatenate(texts), "cu_seqlens": cu})["logprobs"], cu)
    for i, logprobs in enumerate(split(out["logprobs"], out["completion_cu_seqlens"])):
        np.testing.assert_allclose(logprobs, scored[i][len(given[i // 2]) :], atol=1e-4)


def test_a_small_window_is_outgrown(client: Client, folder: str) -> None:
    client.load(folder)
    model = client.operations.models["m"]
    assert sampling_check.sizes(model) == (7, 3)
    model.config.sliding_window = 16
    assert sampling_check.sizes(model) == (23, 3)
    model.config.sliding_window = 200
    model.config.max_position_embeddings = 4096
    assert sampling_check.sizes(model) == (207, 3)
    model.config.sliding_window = 4096
    assert sampling_check.sizes(model) == (7, 3)
    model.config.max_position_embeddings = 8
    assert sampling_check.sizes(model) == (5, 3)
