"""Value models: what the head reads, and that its loss trains head and backbone."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import Client, ragged, split
from genac_bridge.models.value_head import VALUE_HEAD
from genac_bridge.wire.context import OperationError


def test_value_head_reads_the_token_before(client: Client, folder: str) -> None:
    client.load(folder, kind="value")
    model = client.operations.models["m"]
    batch = ragged(np.random.default_rng(15), [6, 3, 9])
    assert not client.score(batch)["values"].any(), "the head starts at zero"
    assert model.value_head is not None
    with torch.no_grad():
        model.value_head.weight.normal_(generator=torch.Generator().manual_seed(0))
        model.value_head.bias.fill_(0.25)
    out = client.score(batch, micro_batch_tokens=10)["values"]
    for ids, values in zip(
        split(batch["ids"], batch["cu_seqlens"]), split(out, batch["cu_seqlens"]), strict=True
    ):
        assert values[0] == 0
        for i in range(1, len(ids)):
            hidden = (
                model.network(input_ids=torch.from_numpy(ids[:i].astype(np.int64))[None])
                .last_hidden_state[0, -1]
                .detach()
            )
            assert values[i] == pytest.approx(
                float(hidden @ model.value_head.weight[0].detach() + 0.25), abs=1e-5
            )


def test_value_loss_trains_backbone_and_head(client: Client, folder: str) -> None:
    client.load(folder, kind="value")
    random = np.random.default_rng(16)
    batch = ragged(random, [6, 3, 9])
    mask = np.ones(18, np.float32)
    mask[batch["cu_seqlens"][:-1]] = 0
    returns = random.random(18).astype(np.float32)
    tensors = {
        **batch,
        "mask": mask,
        "value.returns": returns,
        "value.old_values": np.zeros(18, np.float32),
    }
    losses = []
    for k in range(30):
        result = client.accumulate(
            tensors, [{"kind": "value", "coefficient": 1.0, "clip": None}], normalizer=15.0
        )
        losses.append(result["statistics"]["value_loss"])
        client.step(expected_step=k)
    # All values are 0 at first: half the squared returns.
    assert losses[0] == pytest.approx(0.5 * float((returns[mask > 0] ** 2).sum()), rel=1e-5)
    assert losses[-1] < 0.1 * losses[0]


def test_bounded_values_are_the_sigmoid_of_the_head(client: Client, folder: str) -> None:
    batch = ragged(np.random.default_rng(15), [6, 3, 9])
    heads = []
    for bounded in (False, True):
        client.load(folder, kind="value", bounded=bounded)
        model = client.operations.models["m"]
        assert model.value_head is not None
        start = client.score(batch)["values"]
        first = batch["cu_seqlens"][:-1]
        expected = np.full(18, 0.5 if bounded else 0.0, np.float32)
        expected[first] = 0
        np.testing.assert_array_equal(start, expected)
        with torch.no_grad():
            model.value_head.weight.normal_(generator=torch.Generator().manual_seed(0))
        heads.append(client.score(batch)["values"].astype(np.float64))
    plain, bounded_values = heads
    inner = np.setdiff1d(np.arange(18), batch["cu_seqlens"][:-1])
    np.testing.assert_allclose(bounded_values[inner], 1 / (1 + np.exp(-plain[inner])), atol=1e-6)


def test_bounded_values_learn(client: Client, folder: str) -> None:
    client.load(folder, kind="value", bounded=True)
    batch = ragged(np.random.default_rng(16), [6, 3])
    mask = np.ones(9, np.float32)
    mask[batch["cu_seqlens"][:-1]] = 0
    returns = np.where(np.arange(9) % 2 == 0, 0.9, 0.2).astype(np.float32)
    zeros = np.zeros(9, np.float32)
    tensors = {**batch, "mask": mask, "value.returns": returns, "value.old_values": zeros}
    for k in range(60):
        streams = [{"kind": "value", "coefficient": 1.0, "clip": None}]
        result = client.accumulate(tensors, streams, normalizer=7.0)
        if k == 0:  # all values are 0.5
            start = 0.5 * float(((returns[mask > 0] - 0.5) ** 2).sum())
            assert result["statistics"]["value_loss"] == pytest.approx(start, rel=1e-5)
        client.step(expected_step=k)
    assert result["statistics"]["value_loss"] < 0.1 * start


def test_a_causal_model_has_no_bounded_values(client: Client, folder: str) -> None:
    with pytest.raises(OperationError, match="bounded is true, and a causal model has no values"):
        client.load(folder, bounded=True)


def targets(returns: np.ndarray, bins: int) -> np.ndarray:
    """HL-Gauss in float64, by the normal distribution's own function, bin by bin."""
    width = 1 / (bins - 1)
    found = np.zeros((len(returns), bins))
    for row, value in enumerate(returns):
        normal = NormalDist(float(value), 0.75 * width)
        edges = [(k - 0.5) * width for k in range(bins + 1)]
        below = [normal.cdf(edge) for edge in edges]
        found[row] = np.diff(below) / (below[-1] - below[0])
    return found


@pytest.mark.parametrize("bins", [2, 11, 51])
def test_a_categorical_head_has_the_loss_and_values_of_a_float64_reference(
    client: Client, folder: str, bins: int
) -> None:
    client.load(folder, kind="value", bins=bins)
    model = client.operations.models["m"]
    assert model.value_head is not None
    batch = ragged(np.random.default_rng(16), [6, 3])
    inner = np.setdiff1d(np.arange(9), batch["cu_seqlens"][:-1])
    np.testing.assert_allclose(client.score(batch)["values"][inner], 0.5, atol=1e-6)
    with torch.no_grad():
        model.value_head.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    weights = model.value_head.weight.detach().double().numpy()
    logits = []
    for ids in split(batch["ids"], batch["cu_seqlens"]):
        hidden = model.network(input_ids=torch.from_numpy(ids.astype(np.int64))[None])
        states = hidden.last_hidden_state[0, :-1].detach().double().numpy()
        logits.append(states @ weights.T)
    flat = np.concatenate(logits)
    probabilities = np.exp(flat) / np.exp(flat).sum(1, keepdims=True)
    values = probabilities @ np.linspace(0, 1, bins)
    np.testing.assert_allclose(client.score(batch)["values"][inner], values, atol=1e-5)
    returns = np.array([0, 0.0, 1.0, 0.5, 0.33, 0.97, 0, 0.1, 1.0], np.float32)
    mask = np.isin(np.arange(9), inner).astype(np.float32)
    zeros = np.zeros(9, np.float32)
    tensors = {**batch, "mask": mask, "value.returns": returns, "value.old_values": zeros}
    streams = [{"kind": "value", "coefficient": 1.0, "clip": None}]
    found = client.accumulate(tensors, streams, normalizer=1.0)["statistics"]
    expected = -(targets(returns[inner], bins) * np.log(probabilities)).sum()
    assert found["value_loss"] == pytest.approx(expected, rel=1e-5)
    # Gradient of the head's weights: (probabilities - targets)^T hidden.
    hidden_states = []
    for ids in split(batch["ids"], batch["cu_seqlens"]):
        out = model.network(input_ids=torch.from_numpy(ids.astype(np.int64))[None])
        hidden_states.append(out.last_hidden_state[0, :-1].detach().double().numpy())
    gradient = (probabilities - targets(returns[inner], bins)).T @ np.concatenate(hidden_states)
    own = model.value_head.weight.grad
    assert own is not None
    np.testing.assert_allclose(own.numpy(), gradient, atol=2e-4)


def test_a_categorical_head_learns_and_keeps_its_bins(
    client: Client, folder: str, tmp_path: Path
) -> None:
    client.load(folder, kind="value", bins=21)
    batch = ragged(np.random.default_rng(16), [6, 3])
    mask = np.ones(9, np.float32)
    mask[batch["cu_seqlens"][:-1]] = 0
    returns = np.where(np.arange(9) % 2 == 0, 0.9, 0.2).astype(np.float32)
    zeros = np.zeros(9, np.float32)
    tensors = {**batch, "mask": mask, "value.returns": returns, "value.old_values": zeros}
    streams = [{"kind": "value", "coefficient": 1.0, "clip": None}]
    for k in range(60):
        client.accumulate(tensors, streams, normalizer=7.0)
        client.step(expected_step=k)
    values = client.score(batch)["values"]
    np.testing.assert_allclose(values[mask > 0], returns[mask > 0], atol=0.1)
    client.run("save_model", model="m", path=str(tmp_path / "saved"), optimizer=True)
    client.load(tmp_path / "saved", kind="value", bins=21, initialization="pretrained")
    np.testing.assert_array_equal(client.score(batch)["values"], values)
    with pytest.raises(OperationError, match="has 21 bins, and one number was asked for"):
        client.load(tmp_path / "saved", kind="value", initialization="pretrained")


def test_a_head_is_loaded_as_it_was_trained(client: Client, folder: str, tmp_path: Path) -> None:
    for bounded in (False, True):
        path = tmp_path / str(bounded)
        client.load(folder, kind="value", bounded=bounded)
        client.run("save_model", model="m", path=str(path), optimizer=False)
        again: dict[str, Any] = {"kind": "value", "initialization": "pretrained"}
        client.load(path, bounded=bounded, **again)
        with pytest.raises(OperationError, match="load it as it was trained") as caught:
            client.load(path, bounded=not bounded, **again)
        assert caught.value.code == "bad_arguments"
        # Earlier folders don't say what it is.
        save_file(load_file(path / VALUE_HEAD), path / VALUE_HEAD)
        client.load(path, bounded=not bounded, **again)


def test_bins_have_no_clip_and_no_bound(client: Client, folder: str) -> None:
    for changes in ({"kind": "value", "bounded": True}, {"kind": "causal"}):
        with pytest.raises(OperationError, match="bins is 5, which a value model has that is not"):
            client.load(folder, bins=5, **changes)
    client.load(folder, kind="value", bins=5)
    batch = ragged(np.random.default_rng(16), [3])
    ones = np.array([0, 1, 1], np.float32)
    tensors = {**batch, "mask": ones, "value.returns": ones, "value.old_values": ones}
    with pytest.raises(OperationError, match="a categorical value head has no squared error"):
        client.accumulate(tensors, [{"kind": "value", "coefficient": 1.0, "clip": 0.2}])
