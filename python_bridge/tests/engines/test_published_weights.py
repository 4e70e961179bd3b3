"""`sample` serves the weights that were published last, whatever training does to the live ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Client, completions, prompts, ragged
from genac_bridge.engines import decoding
from genac_bridge.engines.transformers_engine import TransformersEngine
from genac_bridge.models.digest import digest
from genac_bridge.wire.context import OperationError

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": None}
LENGTHS = [3, 9, 1, 6, 14]
TENSORS = prompts(np.random.default_rng(11), LENGTHS)


def sampled(client: Client) -> tuple[int, list[list[int]], list[float]]:
    """Version, ids and log-probs of the same prompts and seeds."""
    result, out = client.sample(dict(TENSORS))
    return result["version"], completions(out), out["logprobs"].tolist()


def train(client: Client, step: int = 0) -> None:
    """One large step on random tokens."""
    batch = ragged(np.random.default_rng(12), [6])
    mask = np.array([0, 1, 1, 1, 1, 1], np.float32)
    client.accumulate(
        {**batch, "mask": mask, "ce.weights": mask}, [{"kind": "ce", "coefficient": 1.0}]
    )
    client.step(step, learning_rate=0.1)


def engine(client: Client) -> TransformersEngine:
    found = client.operations.models["m"].engine
    assert isinstance(found, TransformersEngine)
    return found


def kept(client: Client) -> set[str]:
    """Names of the weights that the engine holds a copy of."""
    return set(engine(client)._snapshot)


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_a_step_is_served_once_it_is_published(client: Client, folder: str, lora: Any) -> None:
    client.load(folder, lora=lora)
    first = sampled(client)
    train(client)
    assert sampled(client) == first
    assert client.publish()["version"] == 1
    second = sampled(client)
    assert second[0] == 1
    assert second[1:] != first[1:]
    train(client, 1)
    assert sampled(client) == second


@pytest.mark.parametrize("tied", [True, False])
def test_weights_that_are_overwritten_in_place_are_not_served(
    client: Client, tmp_path: Path, tied: bool
) -> None:
    from conftest import llama, word_tokenizer

    word_tokenizer().save_pretrained(tmp_path)
    llama(47, tie_word_embeddings=tied).save_pretrained(tmp_path)
    client.load(tmp_path)
    first = sampled(client)
    network = client.operations.models["m"].network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.neg_()
    assert sampled(client) == first
    assert ("lm_head.weight" in kept(client)) != tied
    client.publish()
    assert sampled(client)[1:] != first[1:]
    head: Any = network.get_output_embeddings()  # type: ignore[operator]  # of any architecture
    embedding: Any = network.get_input_embeddings()  # type: ignore[operator]
    assert (head.weight is embedding.weight) == tied


def test_what_is_published_is_what_score_reads(client: Client, folder: str) -> None:
    """Log-probabilities of the snapshot, which is not those of the live weights."""
    client.load(folder)
    _, out = client.sample({**TENSORS}, completions_per_prompt=1, max_new_tokens=1)
    cu = TENSORS["prompt_cu_seqlens"]
    parts = [
        np.append(TENSORS["prompt_ids"][cu[i] : cu[i + 1]], token)
        for i, token in enumerate(out["completion_ids"])
    ]
    ends = np.cumsum([len(part) for part in parts])
    batch = {
        "ids": np.concatenate(parts).astype(np.int32),
        "cu_seqlens": np.concatenate([[0], ends]).astype(np.int32),
    }

    def scored() -> np.ndarray:
        return client.score(dict(batch))["logprobs"][ends - 1]

    np.testing.assert_allclose(out["logprobs"], scored(), atol=2e-5)
    train(client)
    _, again = client.sample({**TENSORS}, completions_per_prompt=1, max_new_tokens=1)
    np.testing.assert_array_equal(again["logprobs"], out["logprobs"])
    assert np.abs(again["logprobs"] - scored()).max() > 0.01


def test_the_digest_is_of_what_is_served(client: Client, folder: str) -> None:
    client.load(folder)
    first = client.publish()
    train(client)
    second = client.publish()
    assert [first["version"], second["version"]] == [0, 1]
    assert first["digest"] != second["digest"]
    assert len(second["digest"]) == 16
    with engine(client)._served():
        served = client.operations.models["m"].named_parameters()
        assert digest(served, torch.float32) == second["digest"]
    assert client.publish()["digest"] == second["digest"]


def test_an_adapter_alone_is_copied_and_a_frozen_model_not_at_all(
    client: Client, folder: str
) -> None:
    client.load(folder)
    assert kept(client) == set(client.weights())
    client.load(folder, lora=LORA)
    assert kept(client)
    assert all("lora_" in name for name in kept(client))
    assert len(kept(client)) == len([name for name in client.weights() if "lora_" in name])
    client.load(folder, optimizer=None)
    assert kept(client) == set()


def test_a_snapshot_is_copied_into_its_own_memory(client: Client, folder: str) -> None:
    client.load(folder)
    before = {name: kept.data_ptr() for name, kept in engine(client)._snapshot.items()}
    train(client)
    client.publish()
    assert {name: kept.data_ptr() for name, kept in engine(client)._snapshot.items()} == before
    live = {p.data_ptr() for p in client.operations.models["m"].network.parameters()}
    assert live.isdisjoint(before.values())


def test_training_goes_on_with_the_live_weights(client: Client, folder: str) -> None:
    """Sampling between two steps changes nothing of what they do."""
    client.load(folder)
    train(client)
    train(client, 1)
    expected = client.weights()
    client.load(folder)
    parameters = list(client.operations.models["m"].network.parameters())
    train(client)
    sampled(client)
    assert list(map(id, client.operations.models["m"].network.parameters())) == list(
        map(id, parameters)
    )
    train(client, 1)
    for name, weight in client.weights().items():
        assert torch.equal(weight, expected[name]), name


def test_a_failure_gives_the_live_weights_back(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder)
    train(client)
    before = client.weights()

    @contextmanager
    def seen(self: TransformersEngine) -> Iterator[None]:
        with served(self):
            found.append(client.weights())
            yield

    found: list[dict[str, torch.Tensor]] = []
    served = TransformersEngine._served
    monkeypatch.setattr(TransformersEngine, "_served", seen)

    def fail(*_: Any) -> Any:
        raise OperationError("internal", "on purpose")

    monkeypatch.setattr(decoding, "generate", fail)
    with pytest.raises(OperationError, match="on purpose"):
        client.sample(dict(TENSORS))
    assert any(not torch.equal(found[0][name], weight) for name, weight in before.items())
    for name, weight in client.weights().items():
        assert torch.equal(weight, before[name]), name


def test_what_is_restored_is_served(client: Client, folder: str, tmp_path: Path) -> None:
    client.load(folder)
    train(client)
    client.publish()
    first = sampled(client)
    client.run("save_model", model="m", path=str(tmp_path / "saved"), optimizer=True)
    train(client, 1)
    client.publish()
    assert sampled(client)[1:] != first[1:]
    restored, _ = client.run("restore_model", model="m", path=str(tmp_path / "saved"))
    assert restored == {"step": 1, "version": 1}
    assert sampled(client) == first


def test_steps_that_were_saved_unpublished_are_served_after_a_restore(
    client: Client, folder: str, tmp_path: Path
) -> None:
    client.load(folder)
    train(client)
    client.run("save_model", model="m", path=str(tmp_path / "saved"), optimizer=True)
    client.publish()
    first = sampled(client)
    client.load(folder, seed=1)
    restored, _ = client.run("restore_model", model="m", path=str(tmp_path / "saved"))
    assert restored == {"step": 1, "version": 1}
    assert sampled(client) == first
