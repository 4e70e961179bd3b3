"""Norms in kernels: where they may stand, and on a GPU what they say (`pytest -k cuda`)."""

from __future__ import annotations

import copy
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_batches import ALL_STREAMS, batch_of
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from conftest import Client
from genac_bridge.models import norms

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def plain(hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    normed = hidden.float() * torch.rsqrt(hidden.float().square().mean(-1, keepdim=True) + eps)
    return weight * normed.to(hidden.dtype)


@pytest.fixture
def in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels' formula in torch's operations, where there is no GPU."""
    module: Any = types.ModuleType("norm_kernels")
    module.RmsNorm = types.SimpleNamespace(apply=plain)
    monkeypatch.setitem(sys.modules, "genac_bridge.models.norm_kernels", module)


def norm_of(kind: Any, width: int = 24) -> nn.Module:
    norm: nn.Module = kind(width, eps=1e-5).bfloat16()
    with torch.no_grad():
        norm.weight.normal_(generator=torch.Generator().manual_seed(1))
    return norm


def test_stands_only_where_it_says_the_same(in_torch: None) -> None:
    assert norms.agrees(norm_of(LlamaRMSNorm))
    # Its factor is 1 + weight.
    assert not norms.agrees(norm_of(GemmaRMSNorm))
    assert norm_of(LlamaRMSNorm).weight.grad is None


def test_nowhere_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genac_bridge.models.norm_kernels", None)
    assert not norms.agrees(norm_of(LlamaRMSNorm))


def test_a_copy_reads_its_own_weight(in_torch: None) -> None:
    norm: Any = norm_of(LlamaRMSNorm)
    norm.forward = norms.KernelNorm(norm)
    copied = copy.deepcopy(norm)
    with torch.no_grad():
        norm.weight.zero_()
    hidden = torch.ones(1, 24, dtype=torch.bfloat16)
    assert not norm(hidden).any()
    assert copied(hidden).any()


@on_gpu
@pytest.mark.parametrize("width", [24, 64, 576, 1536, 3584])
@pytest.mark.parametrize("rows", [1, 3, 700])
def test_cuda_kernels_are_near_float64(width: int, rows: int) -> None:
    from genac_bridge.models.norm_kernels import RmsNorm

    generator = torch.Generator().manual_seed(width + rows)
    drawn = [torch.randn(shape, generator=generator) for shape in ((rows, width), (width,))]
    hidden, weight = (t.bfloat16().cuda().requires_grad_() for t in drawn)
    slope = torch.randn(rows, width, generator=generator).bfloat16().cuda()
    doubles = [t.detach().double().requires_grad_() for t in (hidden, weight)]
    scale = torch.rsqrt(doubles[0].square().mean(-1, keepdim=True) + 1e-5)
    want = doubles[1] * (doubles[0] * scale)
    want.backward(slope.double())
    have = RmsNorm.apply(hidden, weight, 1e-5)
    have.backward(slope)
    torch.testing.assert_close(have, plain(hidden, weight, 1e-5), rtol=1e-2, atol=1e-2)
    gradients = [(hidden.grad, doubles[0].grad), (weight.grad, doubles[1].grad)]
    for got, exact in [(have, want), *gradients]:
        assert got is not None
        assert exact is not None
        assert float((got.double() - exact).norm() / exact.norm()) < 0.006


@on_gpu
def test_cuda_training_with_kernels_is_training_without(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(np.random.default_rng(3), [7, 12, 30, 5])
    found = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(norms, "agrees", lambda module: False)
        client.load(folder, device="cuda", dtype="bfloat16")
        model = client.operations.models["m"]
        replaced = [m for m in model.network.modules() if "forward" in vars(m)]
        assert len(replaced) == (5 if fused else 0)
        client.accumulate(batch, ALL_STREAMS)
        found.append(client.gradients())
    for name, gradient in found[0].items():
        assert float((gradient - found[1][name]).norm() / found[1][name].norm()) < 0.05, name
