"""Random batches and operations, one after another: the masters move as float32 weights do, and
the network holds them rounded.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_batches import ALL_STREAMS, batch_of, reference_loss

from conftest import LOADING, Client, llama, word_tokenizer
from genac_bridge.models import masters, training
from genac_bridge.wire.context import OperationError

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": ["q_proj", "down_proj"]}
OPTIMIZER = {"betas": (0.9, 0.95), "eps": 1e-8}


KINDS = ["accumulate"] * 4 + ["fail", "break", "step", "step", "publish", "save"]


@contextlib.contextmanager
def breaking(network: torch.nn.Module) -> Iterator[None]:
    """Within, a backward pass fails once most weights have their gradients."""

    def fail(_: torch.Tensor) -> None:
        raise RuntimeError("on purpose")

    handle = next(p for p in network.parameters() if p.requires_grad).register_hook(fail)
    try:
        yield
    finally:
        handle.remove()


class Reference:
    """AdamW over float32 copies of the trained weights."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = {name: weight.clone() for name, weight in weights.items()}
        groups = [
            {"params": [w for w in self.weights.values() if w.ndim >= 2], "weight_decay": 0.01},
            {"params": [w for w in self.weights.values() if w.ndim < 2], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, **OPTIMIZER)

    def step(self, gradients: dict[str, torch.Tensor], rate: float, most: float | None) -> float:
        """One step; returns the norm of the gradients."""
        norm = float(torch.stack([g.double().norm() for g in gradients.values()]).norm())
        for name, weight in self.weights.items():
            weight.grad = gradients[name] * (1.0 if most is None else min(1.0, most / norm))
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        return norm


def trained(client: Client) -> dict[str, torch.Tensor]:
    model = client.operations.models["m"]
    return {n: w for n, w in client.weights().items() if n in model.optimizer.parameters}  # type: ignore[union-attr]  # loaded with one


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("offload", [False, True], ids=["", "offload"])
def test_masters_move_as_float32_does(
    client: Client, folder: str, tmp_path: Path, lora: Any, offload: bool
) -> None:
    loading = {**LOADING, "offload_optimizer": offload}
    client.load(folder, dtype="bfloat16", lora=lora, loading=loading)
    model = client.operations.models["m"]
    reference, random = Reference(trained(client)), np.random.default_rng(29)
    done = 0
    saved = None
    for _ in range(80):
        what = random.choice(KINDS)
        batch = batch_of(random, random.integers(1, 14, 4).tolist())
        if what == "accumulate":
            client.accumulate(batch, ALL_STREAMS, micro_batch_tokens=16)
            done += 1
        elif what == "fail":
            broken = {**batch, "pg.old_logprobs": np.full_like(batch["mask"], -1000.0)}
            broken["pg.advantages"] = np.full_like(batch["mask"], -1.0)
            with pytest.raises(OperationError, match="discarded"):
                client.accumulate(broken, ALL_STREAMS, micro_batch_tokens=16)
            done = 0
        elif what == "break":
            with breaking(model.network), pytest.raises(OperationError, match="on purpose"):
                client.accumulate(batch_of(random, [9]), ALL_STREAMS)
            done = 0
        elif what == "step" and done > 0:
            gradients = {n: g for n, g in client.gradients().items() if n in reference.weights}
            rate = float(random.choice([1e-2, 1e-4, 1e-9]))
            most = random.choice([None, 0.5])
            result = client.step(model.step, done, learning_rate=rate, max_grad_norm=most)
            norm = reference.step(gradients, rate, most)
            assert result["grad_norm"] == pytest.approx(norm, rel=1e-5)
            done = 0
        elif what == "publish":
            client.publish()
        elif what == "save":
            client.run("save_model", model="m", path=str(tmp_path), optimizer=True)
            saved = trained(client)
        for name, weight in trained(client).items():
            assert weight.dtype == torch.float32
            torch.testing.assert_close(weight, reference.weights[name], rtol=2e-6, atol=2e-7)
            own = dict(model.network.named_parameters())[name]
            assert own.grad is None
            assert torch.equal(own, weight.bfloat16())
    assert model.step > 3
    assert saved is not None
    client.run("restore_model", model="m", path=str(tmp_path))
    for name, weight in trained(client).items():
        assert torch.equal(weight, saved[name])


@pytest.mark.parametrize("seed", range(6))
def test_random_batches_have_the_gradient_of_the_rounded_weights(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = np.random.default_rng(seed)
    word_tokenizer().save_pretrained(tmp_path)
    llama(47, tie_word_embeddings=bool(random.integers(2))).save_pretrained(tmp_path)
    loading = {**LOADING, "gradient_checkpointing": bool(random.integers(2))}
    client.load(tmp_path, dtype="bfloat16", loading=loading, seed=seed)
    rows, waiting = int(random.choice([1, 5, 1000])), int(random.choice([1, 3000, 2**27]))
    monkeypatch.setattr(training, "head_rows", lambda _: rows)
    monkeypatch.setattr(masters, "MOST_WAITING", waiting)
    network = copy.deepcopy(client.operations.models["m"].network).double()
    temperature = float(random.choice([0.7, 1.0, 1.3]))
    loss = torch.zeros((), dtype=torch.float64)
    for _ in range(2):
        batch = batch_of(random, [9, *random.integers(1, 12, 3).tolist()])
        size = random.choice([None, 8, 30])
        client.accumulate(batch, ALL_STREAMS, temperature=temperature, micro_batch_tokens=size)
        loss = loss + reference_loss(network, batch, temperature)[0]
    loss.backward()
    for (name, have), want in zip(client.gradients().items(), network.parameters(), strict=True):
        assert want.grad is not None
        off = float((have.double() - want.grad).norm() / want.grad.norm())
        assert off < 0.06, name
