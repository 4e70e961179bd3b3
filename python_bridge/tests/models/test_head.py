"""Log-probs and gradients of the head, whole and in parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_batches import ALL_STREAMS, batch_of

from conftest import Client
from genac_bridge.models import losses, memory
from genac_bridge.models.head import HeadLogprobs, product

no_gpu = not torch.cuda.is_available()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_entropy", [False, True])
def test_the_written_gradient_is_autograds(
    temperature: float, with_bias: bool, with_entropy: bool
) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = [draw(9, 6), draw(23, 6), draw(23)][: 3 if with_bias else 2]
    targets = torch.randint(23, (9,), generator=generator)
    weights = draw(2, 9)
    found = []
    for written in (True, False):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        hidden, weight, bias = leaves if with_bias else (*leaves, None)
        if written:
            logprobs, entropies = HeadLogprobs.apply(
                hidden, weight, bias, targets, temperature, with_entropy
            )
        else:
            scaled = torch.nn.functional.linear(hidden, weight, bias) / temperature
            every = scaled.log_softmax(-1)
            logprobs = every.gather(1, targets[:, None]).squeeze(1)
            entropies = -(every.exp() * every).sum(-1) if with_entropy else None
        loss = (logprobs * weights[0]).sum()
        if entropies is not None:
            loss = loss + (entropies * weights[1]).sum()
        loss.backward()
        found.append([logprobs.detach(), loss.detach(), *(leaf.grad for leaf in leaves)])
    for have, want in zip(*found, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(no_gpu, reason="no GPU"))]
)
def test_bfloat16_sums_in_float32(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 300, generator=generator).bfloat16().to(device)
    weight = torch.randn(70, 300, generator=generator).bfloat16().to(device)
    targets = torch.randint(70, (50,), generator=generator).to(device)
    logits = product(hidden, weight)
    exact = hidden.double() @ weight.double().t()
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-4)
    leaves = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    logprobs, entropies = HeadLogprobs.apply(*leaves, None, targets, 0.9, True)
    (logprobs.sum() + entropies.sum()).backward()
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    every = (doubles[0] @ doubles[1].t() / 0.9).log_softmax(-1)
    chosen = every.gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(logprobs.double(), chosen, rtol=1e-5, atol=1e-4)
    (chosen.sum() - (every.exp() * every).sum()).backward()
    for leaf, double in zip(leaves, doubles, strict=True):
        assert leaf.grad is not None
        assert double.grad is not None
        assert leaf.grad.dtype == torch.bfloat16
        assert float((leaf.grad.double() - double.grad).norm() / double.grad.norm()) < 0.01


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parts_of_the_logits_give_the_whole_gradient(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    batch = batch_of(np.random.default_rng(5), [11, 4, 9, 11, 3, 16, 8, 2])
    texts = {name: batch[name] for name in ("ids", "cu_seqlens")}
    found = []
    for logits in (2**28, 3 * 47 + 5):
        monkeypatch.setattr(memory, "MOST_LOGITS", logits)
        client.load(folder, dtype=dtype)
        assert memory.head_rows(client.operations.models["m"]) == logits // 47
        statistics = client.accumulate(batch, ALL_STREAMS, temperature=0.8)["statistics"]
        found.append((statistics, client.gradients(), client.score(texts, entropy=True)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5, abs=1e-5)
    close = 1e-5 if dtype == "float32" else 0.01
    for name, gradient in found[1][1].items():
        whole = found[0][1][name]
        assert float((gradient - whole).norm() / whole.norm()) < close, name
    for name in ("logprobs", "entropies"):
        np.testing.assert_allclose(found[1][2][name], found[0][2][name], atol=1e-5)


def test_entropy_where_a_logit_is_impossible() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf]], dtype=torch.float64)
    hidden = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.zeros(3, 1, dtype=torch.float64)
    logprobs, entropy = HeadLogprobs.apply(hidden, weight, logits[0], torch.tensor([1]), 1.0, True)
    assert float(entropy) == pytest.approx(np.log(2))
    (logprobs + entropy).sum().backward()
    assert bool(hidden.grad.isfinite().all())
    assert losses.entropies(logits, 1.0).item() == pytest.approx(np.log(2))
