"""Training that reads shared beginnings once: the same losses and gradients, from fewer tokens."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_batches import ALL_STREAMS, batch_of, reference_loss
from transformers import GPT2Config, GPTNeoConfig, MistralConfig

from architectures import causal_configs, small_config
from conftest import LOADING, Client, llama, word_tokenizer
from genac_bridge.models import sharing, training
from genac_bridge.models.model import LoadedModel
from genac_bridge.models.trees import in_rows

SHARING = {**LOADING, "share_prefixes": True}


def family(random: np.random.Generator, size: int) -> list[np.ndarray]:
    """Texts that are cut off one another at random places, and go on in other words."""
    texts = [random.integers(1, 47, 24).astype(np.int32)]
    while len(texts) < size:
        stem = texts[random.integers(len(texts))]
        cut = int(random.integers(0, len(stem) + 1))
        new = random.integers(1, 47, int(random.integers(1, 9))).astype(np.int32)
        texts.append(np.concatenate([stem[:cut], new]))
    return [texts[i] for i in random.permutation(size)]


def batch_of_family(random: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    texts = family(random, size)
    batch = batch_of(random, [len(text) for text in texts])
    return {**batch, "ids": np.concatenate(texts)}


def tokens_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the tokens that training gives to the network, padding among them."""
    seen: list[int] = []
    whole = LoadedModel.hidden_states

    def hidden_states(self: LoadedModel, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(ids.numel())
        return whole(self, ids, *rest)

    monkeypatch.setattr(LoadedModel, "hidden_states", hidden_states)
    return seen


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 12), most=st.integers(1, 90))
def test_each_token_of_a_row_sees_its_own_sequence(seed: int, size: int, most: int) -> None:
    texts = family(np.random.default_rng(seed), size)
    ids, cu = np.concatenate(texts), np.cumsum([0, *map(len, texts)])
    lengths = np.diff(cu)
    rows = in_rows(ids, cu, lengths, np.arange(size), most)
    assert sorted(s for row in rows for s in row.sequences) == list(range(size))
    for row in rows:
        tokens = np.concatenate(row.ids)
        assert len(tokens) == row.size
        assert row.size <= max(most, lengths.max())
        before = {
            int(start + i): {*map(int, seen), *range(start, start + i)}
            for start, count, seen in row.branches
            for i in range(count)
        }
        for s, path in zip(row.sequences, row.paths, strict=True):
            np.testing.assert_array_equal(tokens[path], texts[s])
            for depth, place in enumerate(path):
                assert before[int(place)] == set(map(int, path[:depth]))


def test_a_tree_has_each_token_once() -> None:
    texts = [np.array(t, np.int32) for t in ([1, 2, 3, 4], [1, 2, 3, 9], [1, 2, 7], [1, 2, 3, 4])]
    ids, cu = np.concatenate(texts), np.cumsum([0, *map(len, texts)])
    (row,) = in_rows(ids, cu, np.diff(cu), np.arange(4), 100)
    assert row.size == 6


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("limit", [None, 40])
def test_losses_and_gradients_match_the_reference(
    client: Client,
    folder: str,
    attention: str,
    limit: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.load(folder, loading={**SHARING, "attn_implementation": attention})
    network = copy.deepcopy(client.operations.models["m"].network).double()
    batch = batch_of_family(np.random.default_rng(5), 24)
    client.accumulate(batch, ALL_STREAMS)  # the first also tries the network out
    client.step(0, 1, learning_rate=0.0)
    seen = tokens_read(client, monkeypatch)
    result = client.accumulate(
        batch, ALL_STREAMS, normalizer=3.0, temperature=0.7, micro_batch_tokens=limit
    )
    assert sum(seen) < (0.8 if limit is None else 0.9) * len(batch["ids"])
    loss, counts = reference_loss(network, batch, 0.7)
    (loss / 3.0).backward()
    for name, value in counts.items():
        assert result["statistics"][name] == pytest.approx(value, rel=1e-4, abs=1e-4), name
    assert result["statistics"]["loss"] == pytest.approx(loss.item() / 3.0, rel=1e-4)
    for have, want in zip(client.gradients().values(), network.parameters(), strict=True):
        assert want.grad is not None
        torch.testing.assert_close(have.double(), want.grad, rtol=1e-3, atol=2e-5)


def gradients(client: Client, batch: dict[str, np.ndarray], streams: Any) -> list[torch.Tensor]:
    client.accumulate(batch, streams)
    return list(client.gradients().values())


@pytest.mark.parametrize(
    "name", ["gpt2", "llama", "qwen3", "mistral", "gemma3_text", "bloom", "mamba", "qwen3_next"]
)
def test_any_architecture_is_trained_as_without(
    client: Client, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those that can't read trees say why, and read each sequence by itself."""
    kinds = {kind.model_type: kind for kind in causal_configs()}
    small_config(kinds[name]).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    batch = batch_of_family(np.random.default_rng(2), 8)
    streams = [{"kind": "ce", "coefficient": 1.0}]
    only = {k: v for k, v in batch.items() if not k.startswith(("pg", "kl"))}
    found = []
    for loading in (LOADING, SHARING):
        client.load(tmp_path, loading=loading)
        found.append(gradients(client, only, streams))
    for plain, shared in zip(*found, strict=True):
        scale = float(plain.abs().max())
        torch.testing.assert_close(shared, plain, rtol=1e-3, atol=1e-4 * scale + 1e-7)
    reads = client.operations.models["m"].reads_trees
    assert reads is not None
    assert ("reads each sequence by itself" in capfd.readouterr().err) == (not reads)
    if name in ("gpt2", "llama", "qwen3"):
        assert reads
    if name in ("mamba", "gemma3_text"):
        assert not reads


def test_a_value_model_and_one_with_lora_share_too(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(7)
    batch = batch_of_family(random, 16)
    total = len(batch["ids"])
    values = {
        "value.returns": random.normal(size=total).astype(np.float32),
        "value.old_values": random.normal(size=total).astype(np.float32),
    }
    own = {k: v for k, v in batch.items() if k in ("ids", "cu_seqlens", "mask")}
    value = [{"kind": "value", "coefficient": 1.0, "clip": 0.2}]
    words = {k: v for k, v in batch.items() if not k.startswith(("pg", "kl"))}
    lora = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": None}
    cases: list[tuple[dict[str, Any], dict[str, np.ndarray], Any]] = [
        ({"kind": "value"}, {**own, **values}, value),
        ({"lora": lora}, words, [{"kind": "ce", "coefficient": 1.0}]),
    ]
    for changes, given_batch, streams in cases:
        found = []
        for loading in (LOADING, SHARING):
            client.load(folder, loading=loading, **changes)
            found.append(gradients(client, given_batch, streams))
        assert client.operations.models["m"].reads_trees
        for plain, shared in zip(*found, strict=True):
            torch.testing.assert_close(shared, plain, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("seed", range(6))
def test_bfloat16_recomputed_layers_and_a_head_in_parts_share_too(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = np.random.default_rng(seed)
    word_tokenizer().save_pretrained(tmp_path)
    llama(47, tie_word_embeddings=bool(random.integers(2))).save_pretrained(tmp_path)
    rows = int(random.choice([1, 5, 1000]))
    monkeypatch.setattr(training, "head_rows", lambda _: rows)
    dtype = str(random.choice(["float32", "bfloat16"]))
    loading = {**SHARING, "gradient_checkpointing": bool(random.integers(2))}
    client.load(tmp_path, dtype=dtype, loading=loading, seed=seed)
    network = copy.deepcopy(client.operations.models["m"].network).double()
    batch = batch_of_family(random, 20)
    client.accumulate(batch, ALL_STREAMS, micro_batch_tokens=random.choice([None, 60]))
    assert client.operations.models["m"].reads_trees
    reference_loss(network, batch, 1.0)[0].backward()
    for have, want in zip(client.gradients().values(), network.parameters(), strict=True):
        assert want.grad is not None
        off = float((have.double() - want.grad).norm() / want.grad.norm())
        assert off < (0.06 if dtype == "bfloat16" else 1e-4)


def test_dropout_reads_each_sequence_by_itself(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = {"rank": 4, "alpha": 8.0, "dropout": 0.5, "target_modules": None}
    client.load(folder, lora=lora, loading=SHARING)
    batch = batch_of_family(np.random.default_rng(3), 8)
    words = {k: v for k, v in batch.items() if not k.startswith(("pg", "kl"))}
    seen = tokens_read(client, monkeypatch)
    client.accumulate(words, [{"kind": "ce", "coefficient": 1.0}])
    assert sum(seen) >= len(batch["ids"]) - 8 - 8 * 9
    assert client.operations.models["m"].reads_trees is None


def test_sequences_that_share_little_are_read_as_without(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder, loading=SHARING)
    model = client.operations.models["m"]
    random = np.random.default_rng(4)
    texts = [random.integers(1, 47, 12).astype(np.int32) for _ in range(6)]
    ids, cu = np.concatenate(texts), np.cumsum([0, *map(len, texts)])
    chosen = np.ones(len(ids), bool)
    chosen[cu[:-1]] = False
    batches = list(sharing.plan_shared(model, ids, cu, chosen, None))
    assert all(batch.tree is None for batch in batches)


def test_a_network_with_windows_says_why_it_does_not(
    client: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    GPT2Config(vocab_size=47, n_embd=32, n_layer=2, n_head=2, n_positions=64).save_pretrained(
        tmp_path
    )
    client.load(tmp_path, loading=SHARING)
    model = client.operations.models["m"]
    model.config.layer_types = ["sliding_attention", "full_attention"]
    assert not sharing.can_share(model)
    assert "it has layers of sliding_attention" in capfd.readouterr().err


@pytest.mark.parametrize("window", [None, 40, 64])
def test_a_window_that_no_short_text_shows_is_refused(
    client: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str], window: int | None
) -> None:
    """Mistral's attention has its window although its config names no kinds of layers."""
    word_tokenizer().save_pretrained(tmp_path)
    config = small_config(MistralConfig)
    config.update({"sliding_window": window, "max_position_embeddings": 64})
    config.save_pretrained(tmp_path)
    client.load(tmp_path, loading=SHARING)
    assert sharing.can_share(client.operations.models["m"]) == (window != 40)
    assert ("its config has sliding_window 40" in capfd.readouterr().err) == (window == 40)


def test_no_row_is_wider_than_the_context(client: Client, tmp_path: Path) -> None:
    """GPT-Neo has a causal mask of its context's size."""
    word_tokenizer().save_pretrained(tmp_path)
    config = small_config(GPTNeoConfig)
    config.update({"attention_types": [[["global"], 2]], "attention_layers": ["global"] * 2})
    config.update({"max_position_embeddings": 64, "window_size": 64})
    config.save_pretrained(tmp_path)
    random = np.random.default_rng(6)
    stem = random.integers(1, 47, 40)
    texts = [np.append(stem[:k], random.integers(1, 47, 50 - k)) for k in range(20, 40)]
    batch = {**batch_of(random, [50] * 20), "ids": np.concatenate(texts).astype(np.int32)}
    words = {k: v for k, v in batch.items() if not k.startswith(("pg", "kl"))}
    found = []
    for loading in (LOADING, SHARING):
        client.load(tmp_path, loading={**loading, "attn_implementation": "eager"})
        found.append(gradients(client, words, [{"kind": "ce", "coefficient": 1.0}]))
    assert client.operations.models["m"].reads_trees
    for plain, shared in zip(*found, strict=True):
        torch.testing.assert_close(shared, plain, rtol=1e-3, atol=2e-5)


def test_a_network_is_tried_out_with_a_tree_whatever_its_rows_are(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder, loading=SHARING)
    monkeypatch.setattr(sharing, "row_limit", lambda *_: 1)
    trees: list[bool] = []
    whole = LoadedModel.hidden_states

    def hidden_states(self: LoadedModel, ids: torch.Tensor, tree: Any = None) -> torch.Tensor:
        trees.append(tree is not None)
        return whole(self, ids, tree)

    monkeypatch.setattr(LoadedModel, "hidden_states", hidden_states)
    assert sharing.can_share(client.operations.models["m"])
    assert any(trees)
    assert not all(trees)


def test_resuming_reads_as_before(client: Client, tmp_path: Path) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    llama(47).save_pretrained(tmp_path)
    batch = batch_of_family(np.random.default_rng(9), 12)
    words = {k: v for k, v in batch.items() if not k.startswith(("pg", "kl"))}
    runs = []
    for _ in range(2):
        client.load(tmp_path, loading=SHARING)
        runs.append(gradients(client, words, [{"kind": "ce", "coefficient": 1.0}]))
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)
