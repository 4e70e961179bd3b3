"""Value models: what the head reads, and that its loss trains head and backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import Client, ragged, split


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
