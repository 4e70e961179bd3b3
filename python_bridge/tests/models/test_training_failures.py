"""What `accumulate` and `step` leave behind when they fail or are cancelled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_batches import ALL_STREAMS, PPO, batch_of

from conftest import Client
from genac_bridge.models import optimizer
from genac_bridge.wire.context import NullContext, OperationError


class CancelAfter(NullContext):
    """Cancels at the n-th check."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks
        self.checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.checks > self.left:
            raise OperationError("cancelled", "cancelled by the controller")


def test_a_cancel_discards_every_gradient_and_says_so(client: Client, folder: str) -> None:
    client.load(folder)
    batch = batch_of(np.random.default_rng(10), [5, 5, 5])
    client.accumulate(batch, ALL_STREAMS)
    with pytest.raises(
        OperationError,
        match=r"cancelled by the controller; every gradient accumulated since step 0 was discarded",
    ) as caught:
        client.accumulate(batch, ALL_STREAMS, context=CancelAfter(2), micro_batch_tokens=1)
    assert caught.value.code == "cancelled"
    assert client.operations.models["m"].accumulations == 0
    assert all(float(g.abs().sum()) == 0 for g in client.gradients().values())
    assert client.accumulate(batch, ALL_STREAMS)["accumulations"] == 1


def test_a_loss_that_is_not_finite_is_an_error(client: Client, folder: str) -> None:
    client.load(folder)
    batch = batch_of(np.random.default_rng(11), [5, 5])
    batch["pg.old_logprobs"] = np.full(10, -1000.0, np.float32)
    batch["pg.advantages"] = np.full(10, -1.0, np.float32)
    del batch["ce.weights"], batch["kl.reference_logprobs"]
    with pytest.raises(OperationError, match=r"the loss of model 'm' is (inf|nan).*discarded"):
        client.accumulate(batch, [PPO])
    assert all(float(g.abs().sum()) == 0 for g in client.gradients().values())


def test_a_gradient_that_is_not_finite_leaves_the_weights(client: Client, folder: str) -> None:
    client.load(folder)
    batch = batch_of(np.random.default_rng(12), [5, 5])
    client.accumulate(batch, ALL_STREAMS)
    before = client.weights()
    next(iter(client.operations.models["m"].network.parameters())).grad.fill_(math.inf)  # type: ignore[union-attr]  # it has one
    with pytest.raises(
        OperationError,
        match="the gradient of model 'm' has norm inf; it was discarded, the weights stay",
    ):
        client.step()
    assert all(torch.equal(before[name], new) for name, new in client.weights().items())
    assert client.accumulate(batch, ALL_STREAMS)["accumulations"] == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_change_that_is_not_finite_is_no_step(client: Client, folder: str, dtype: str) -> None:
    client.load(folder, dtype=dtype)
    batch = batch_of(np.random.default_rng(12), [5, 5])
    client.accumulate(batch, ALL_STREAMS)
    client.step()
    model = client.operations.models["m"]
    assert model.optimizer is not None
    for state in model.optimizer.parts[0].state.values():
        state["exp_avg"].fill_(math.nan)
    client.accumulate(batch, ALL_STREAMS)
    with pytest.raises(
        OperationError,
        match="change of model 'm' has norm nan; its weights are broken now: restore step 1 from",
    ):
        client.step(expected_step=1)
    assert (model.step, model.accumulations) == (1, 0)


def test_out_of_memory_has_its_own_code(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder)

    def fail(*_: Any) -> None:
        torch.empty(2**50)

    monkeypatch.setattr("genac_bridge.models.losses.token_logprobs", fail)
    with pytest.raises(
        OperationError, match=r"no memory left on the device; every gradient .* was discarded"
    ) as caught:
        client.accumulate(batch_of(np.random.default_rng(13), [5]), ALL_STREAMS)
    assert caught.value.code == "out_of_memory"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_that_fails_in_the_middle_says_so_and_is_not_taken_twice(
    client: Client, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(optimizer, "PART", 2000)
    client.load(folder, dtype=dtype)
    client.run("save_model", model="m", path=str(tmp_path), optimizer=True)
    before = client.weights()
    batch = batch_of(np.random.default_rng(13), [9, 9])
    client.accumulate(batch, ALL_STREAMS)
    model = client.operations.models["m"]
    assert model.optimizer is not None
    parts = model.optimizer.parts

    def fail() -> None:
        raise torch.OutOfMemoryError("on purpose")

    monkeypatch.setattr(parts[len(parts) // 2], "step", fail)
    with pytest.raises(OperationError, match=r"some weights may have moved .* restore step 0") as e:
        client.step()
    assert e.value.code == "out_of_memory"
    moved = [not torch.equal(w, before[name]) for name, w in client.weights().items()]
    assert any(moved)
    assert not all(moved)
    if model.masters is not None:
        for name, parameter in model.network.named_parameters():
            assert torch.equal(parameter, client.weights()[name].bfloat16())
    assert all(float(g.abs().sum()) == 0 for g in client.gradients().values())
    with pytest.raises(OperationError, match="0 accumulations stand in the gradient"):
        client.step()
    client.run("restore_model", model="m", path=str(tmp_path))
    assert all(torch.equal(w, before[name]) for name, w in client.weights().items())
