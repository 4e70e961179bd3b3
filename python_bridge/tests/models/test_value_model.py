"""Value models: what the head reads, and that its loss trains head and backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import Client, ragged, split
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
