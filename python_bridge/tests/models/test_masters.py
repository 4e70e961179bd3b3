"""Training in bfloat16 weights over float32 masters, on the CPU and, where there is one, on a GPU
(`pytest -k cuda`).
"""

from __future__ import annotations

import copy
import gc
import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_batches import ALL_STREAMS, batch_of, reference_loss

from conftest import LOADING, Client, prompts, ragged, split
from genac_bridge.models import masters
from genac_bridge.wire.context import OperationError

no_gpu = not torch.cuda.is_available()
on_devices = pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(no_gpu, reason="no GPU"))]
)
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
LENGTHS = [7, 1, 12, 2, 30, 5]


def load(client: Client, source: str | Path, device: str, **changes: Any) -> Any:
    client.load(source, device=device, dtype="bfloat16", **changes)
    return client.operations.models["m"]


def distance(have: torch.Tensor, want: torch.Tensor) -> float:
    return float((have.double().cpu() - want.double().cpu()).norm() / want.double().cpu().norm())


@on_devices
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradients_are_those_of_the_rounded_weights(
    client: Client, folder: str, device: str, temperature: float
) -> None:
    model = load(client, folder, device)
    network = copy.deepcopy(model.network).double().cpu()
    batch = batch_of(np.random.default_rng(3), LENGTHS)
    result = client.accumulate(
        batch, ALL_STREAMS, normalizer=3.0, temperature=temperature, micro_batch_tokens=24
    )
    loss, counts = reference_loss(network, batch, temperature)
    (loss / 3.0).backward()
    for name in ("tokens", "entropy", "ce_loss", "kl", "pg_loss"):
        assert result["statistics"][name] == pytest.approx(counts[name], rel=0.03, abs=0.03), name
    for (name, gradient), parameter in zip(
        client.gradients().items(), network.parameters(), strict=True
    ):
        assert gradient.dtype == torch.float32
        assert parameter.grad is not None
        assert distance(gradient, parameter.grad) < 0.06, name


@on_devices
def test_no_gradient_is_lost_between_micro_batches(
    client: Client, folder: str, device: str
) -> None:
    """A bfloat16 sum of a large gradient and many small ones would lose the small ones."""
    load(client, folder, device)
    random = np.random.default_rng(5)
    batch = batch_of(random, [9, 9])
    small = {**batch, "ce.weights": batch["ce.weights"] * 2.0**-9}
    stream = [{"kind": "ce", "coefficient": 1.0}]
    inputs = ("ids", "cu_seqlens", "mask", "ce.weights")
    parts = []
    for given in (batch, small):
        client.accumulate({name: given[name] for name in inputs}, stream)
        parts.append(client.gradients())
        client.operations.models["m"].optimizer.clear()  # type: ignore[union-attr]  # loaded with one
        client.operations.models["m"].accumulations = 0
    client.accumulate({name: batch[name] for name in inputs}, stream)
    for _ in range(64):
        client.accumulate({name: small[name] for name in inputs}, stream)
    for name, gradient in client.gradients().items():
        whole = parts[0][name].double() + 64 * parts[1][name].double()
        assert distance(gradient, whole) < 1e-5, name


@on_devices
def test_gradients_that_are_gathered_early_are_the_same(
    client: Client, folder: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(np.random.default_rng(5), [9, 12, 4])
    found = []
    for most in (masters.MOST_WAITING, 1000, 1):
        monkeypatch.setattr(masters, "MOST_WAITING", most)
        load(client, folder, device)
        for _ in range(2):
            client.accumulate(batch, ALL_STREAMS, micro_batch_tokens=16)
        found.append(client.gradients())
    for others in found[1:]:
        for name, gradient in others.items():
            torch.testing.assert_close(gradient, found[0][name], rtol=1e-6, atol=1e-6)


@on_devices
def test_a_step_moves_the_masters_and_rounds_them_once(
    client: Client, folder: str, device: str
) -> None:
    model = load(client, folder, device)
    batch = batch_of(np.random.default_rng(7), [9, 9])
    before = client.weights()
    client.accumulate(batch, ALL_STREAMS)
    gradients = client.gradients()
    result = client.step(learning_rate=1e-5, max_grad_norm=None)
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
    assert result["grad_norm"] == pytest.approx(norm, rel=1e-5)
    after = client.weights()
    change = math.sqrt(
        sum(float((after[n].double() - old.double()).square().sum()) for n, old in before.items())
    )
    # A bfloat16 weight of 0.1 can't move by 1e-5.
    assert result["update_norm"] == pytest.approx(change, rel=1e-4)
    assert change == pytest.approx(1e-5 * math.sqrt(16000), rel=0.1)
    for name, parameter in model.network.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(parameter, after[name].bfloat16()), name


@on_devices
def test_checkpoints_hold_the_masters(
    client: Client, folder: str, tmp_path: Path, device: str
) -> None:
    load(client, folder, device)
    batch = batch_of(np.random.default_rng(8), [9, 9])
    client.accumulate(batch, ALL_STREAMS)
    client.step(learning_rate=1e-4)
    client.run("save_model", model="m", path=str(tmp_path), optimizer=True)
    saved = client.weights()
    client.accumulate(batch, ALL_STREAMS)
    client.step(expected_step=1, learning_rate=1e-4)
    went_on = client.weights()

    load(client, folder, device, seed=1)
    client.run("restore_model", model="m", path=str(tmp_path))
    model = client.operations.models["m"]
    for name, weight in client.weights().items():
        assert torch.equal(weight, saved[name])
        assert weight.dtype == torch.float32
    for name, parameter in model.network.named_parameters():
        assert torch.equal(parameter, saved[name].bfloat16())
    client.accumulate(batch, ALL_STREAMS)
    client.step(expected_step=1, learning_rate=1e-4)
    assert all(torch.equal(weight, went_on[name]) for name, weight in client.weights().items())


@on_devices
def test_moments_in_the_hosts_memory_change_nothing(
    client: Client, folder: str, tmp_path: Path, device: str
) -> None:
    batch = batch_of(np.random.default_rng(8), [9, 9])
    found = []
    for offload in (False, True):
        loading = {**LOADING, "offload_optimizer": offload}
        model = load(client, folder, device, loading=loading)
        for step in range(2):
            client.accumulate(batch, ALL_STREAMS)
            client.step(expected_step=step)
        client.run("save_model", model="m", path=str(tmp_path), optimizer=True)
        load(client, folder, device, loading=loading)
        client.run("restore_model", model="m", path=str(tmp_path))
        client.accumulate(batch, ALL_STREAMS)
        client.step(expected_step=2)
        found.append(client.weights())
        model = client.operations.models["m"]
        places = {
            state[key].device.type
            for part in model.optimizer.parts
            for state in part.state.values()
            for key in ("exp_avg", "exp_avg_sq")
        }
        assert places == {"cpu" if offload else device}
    assert all(torch.equal(weight, found[1][name]) for name, weight in found[0].items())


@on_devices
def test_scores_and_samples_are_of_the_rounded_weights(
    client: Client, folder: str, device: str
) -> None:
    model = load(client, folder, device)
    batch = batch_of(np.random.default_rng(9), [9, 9])
    client.accumulate(batch, ALL_STREAMS)
    client.step()
    client.publish()
    network = copy.deepcopy(model.network).double().cpu()
    texts = ragged(np.random.default_rng(4), [5, 17])
    scored = split(client.score(texts)["logprobs"], texts["cu_seqlens"])
    for ids, logprobs in zip(split(texts["ids"], texts["cu_seqlens"]), scored, strict=True):
        logits = network(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).logits[0]
        wanted = logits.log_softmax(-1)[:-1].gather(1, torch.from_numpy(ids[1:, None]).long())
        np.testing.assert_allclose(logprobs[1:], wanted.detach().squeeze(1), atol=0.03)
    _, out = client.sample(prompts(np.random.default_rng(1), [3, 6]), max_new_tokens=8)
    assert len(out["completion_ids"]) > 0


@on_devices
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_lora_trains_masters_over_a_bfloat16_base(
    client: Client, folder: str, tmp_path: Path, device: str, dropout: float
) -> None:
    # One base for both: what was drawn is not found again.
    client.load(folder, optimizer=None)
    client.run("save_model", model="m", path=str(tmp_path / "base"), optimizer=False)
    base = {"initialization": "pretrained", "lora": {**LORA, "dropout": dropout}}
    model = load(client, tmp_path / "base", device, **base)
    batch = batch_of(np.random.default_rng(17), [9, 12])
    client.accumulate(batch, ALL_STREAMS)
    client.step()
    trained = {name: w for name, w in client.weights().items() if "lora_" in name}
    assert all(weight.dtype == torch.float32 for weight in trained.values())
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    client.run("save_model", model="m", path=str(tmp_path / "adapter"), optimizer=True)
    expected = client.score({name: batch[name] for name in ("ids", "cu_seqlens")})["logprobs"]
    load(client, tmp_path / "base", device, **base)
    client.run("restore_model", model="m", path=str(tmp_path / "adapter"))
    assert all(torch.equal(client.weights()[name], weight) for name, weight in trained.items())
    scored = client.score({name: batch[name] for name in ("ids", "cu_seqlens")})["logprobs"]
    np.testing.assert_array_equal(scored, expected)


@on_devices
def test_a_frozen_model_is_bfloat16_only(client: Client, folder: str, device: str) -> None:
    model = load(client, folder, device, optimizer=None)
    assert {weight.dtype for weight in client.weights().values()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    assert np.isfinite(client.score(ragged(np.random.default_rng(1), [5, 9]))["logprobs"]).all()


@on_devices
def test_a_value_model_learns(client: Client, folder: str, device: str) -> None:
    model = load(client, folder, device, kind="value")
    random = np.random.default_rng(16)
    batch = ragged(random, [6, 3, 9])
    mask = np.ones(18, np.float32)
    mask[batch["cu_seqlens"][:-1]] = 0
    inputs = {"value.returns": random.random(18), "value.old_values": np.zeros(18)}
    tensors = {**batch, "mask": mask, **{n: v.astype(np.float32) for n, v in inputs.items()}}
    stream = [{"kind": "value", "coefficient": 1.0, "clip": None}]
    losses = []
    for k in range(30):
        result = client.accumulate(tensors, stream, normalizer=15.0)
        losses.append(result["statistics"]["value_loss"])
        client.step(expected_step=k)
    assert losses[-1] < 0.1 * losses[0]
    assert model.value_head.weight.dtype == torch.float32


@on_devices
def test_failures_discard_the_masters_gradients(client: Client, folder: str, device: str) -> None:
    model = load(client, folder, device)
    batch = batch_of(np.random.default_rng(11), [5, 5])
    client.accumulate(batch, ALL_STREAMS)
    broken = {**batch, "pg.old_logprobs": np.full(10, -1000.0, np.float32)}
    broken["pg.advantages"] = np.full(10, -1.0, np.float32)
    with pytest.raises(OperationError, match=r"every gradient accumulated .* was discarded"):
        client.accumulate(broken, ALL_STREAMS)
    assert all(parameter.grad is None for _, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.network.parameters())


@on_devices
@pytest.mark.parametrize("kind", ["causal", "value"])
def test_a_model_that_is_replaced_leaves_nothing(
    client: Client, folder: str, device: str, kind: str
) -> None:
    model = load(client, folder, device, kind=kind)
    batch = batch_of(np.random.default_rng(7), [9, 9])
    if kind == "causal":
        client.accumulate(batch, ALL_STREAMS)
        client.step()
    left = [weakref.ref(parameter) for parameter in model.network.parameters()]
    left += [weakref.ref(master) for master in model.masters.weights.values()]
    del model
    load(client, folder, device, kind=kind)
    gc.collect()
    assert [ref() is None for ref in left] == [True] * len(left)
