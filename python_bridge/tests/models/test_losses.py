"""Each stream by hand: numbers worked out on paper stand beside the call."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genac_bridge.models import losses
from genac_bridge.wire.arguments import CrossEntropy, Entropy, Kl, PolicyGradient, ValueLoss


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def logs(*numbers: float) -> Tensor:
    return torch.tensor([math.log(n) for n in numbers], dtype=torch.float32, requires_grad=True)


def test_clipped_surrogate_on_both_sides() -> None:
    # Old probability 0.5 throughout, so the ratios are 1.5, 1.5, 0.5, 0.5, 1.1; clip 0.2 below, 0.3
    # above.
    logprobs = logs(0.75, 0.75, 0.25, 0.25, 0.55)
    advantages = tensor(2.0, -2.0, 2.0, -2.0, 1.0)
    stream = PolicyGradient(coefficient=1.0, clip_low=0.2, clip_high=0.3)
    loss, counts = losses.policy_gradient(
        stream, logprobs, advantages, logs(0.5, 0.5, 0.5, 0.5, 0.5).detach()
    )
    # min(1.5 x 2, 1.3 x 2) = 2.6; min(-3, -2.6) = -3; min(1, 1.6) = 1; min(-1, -1.6) = -1.6; 1.1.
    assert loss.item() == pytest.approx(-(2.6 - 3.0 + 1.0 - 1.6 + 1.1), abs=1e-6)
    assert counts["clipped_high"].item() == 1
    assert counts["clipped_low"].item() == 1
    assert counts["ratio"].item() == pytest.approx(1.5 + 1.5 + 0.5 + 0.5 + 1.1, rel=1e-6)
    # k3 of each: ratio - 1 - log ratio.
    assert counts["approximate_kl"].item() == pytest.approx(
        sum(r - 1 - math.log(r) for r in (1.5, 1.5, 0.5, 0.5, 1.1)), rel=1e-5
    )
    loss.backward()
    # d(-ratio A)/dlogp = -ratio A where it is not clipped, 0 where it is.
    torch.testing.assert_close(logprobs.grad, tensor(0.0, 3.0, -1.0, 0.0, -1.1))


def test_weighted_cross_entropy_takes_weights_of_both_signs() -> None:
    logprobs = logs(0.5, 0.25)
    loss, counts = losses.cross_entropy(logprobs, tensor(1.0, -0.5))
    assert loss.item() == pytest.approx(math.log(2) - 0.5 * math.log(4), abs=1e-6)
    assert counts["ce_weight"].item() == 0.5
    loss.backward()
    torch.testing.assert_close(logprobs.grad, tensor(-1.0, 0.5))


def test_kl_is_k3_of_policy_against_reference() -> None:
    logprobs = logs(0.5, 0.5)
    loss, _ = losses.kl_to_reference(logprobs, logs(0.25, 0.5).detach())
    # d = log(1/2): exp(d) - 1 - d = 0.5 - 1 + log 2; d = 0 gives 0.
    assert loss.item() == pytest.approx(math.log(2) - 0.5, rel=1e-5)
    loss.backward()
    # Derivative by logp: 1 - exp(d).
    torch.testing.assert_close(logprobs.grad, tensor(0.5, 0.0))


def test_value_loss_with_and_without_clip() -> None:
    values = torch.tensor([0.9, 0.1, 0.55], requires_grad=True)
    returns, old = tensor(1.0, 1.0, 0.0), tensor(0.5, 0.5, 0.5)
    loss, counts = losses.value_loss(ValueLoss(coefficient=1.0, clip=0.2), values, returns, old)
    # Clipped values .7, .3, .55. Squares: (.01 or .09) (.81 or .49) (.3025): the worse of each.
    assert loss.item() == pytest.approx(0.5 * (0.09 + 0.81 + 0.3025), rel=1e-5)
    assert counts["value_clipped"].item() == 1
    loss.backward()
    # Where the clipped branch is worse, its gradient is 0.
    torch.testing.assert_close(values.grad, tensor(0.0, -0.9, 0.55))
    plain, _ = losses.value_loss(
        ValueLoss(coefficient=1.0, clip=None), values.detach(), returns, old
    )
    assert plain.item() == pytest.approx(0.5 * (0.01 + 0.81 + 0.3025), rel=1e-5)


def test_entropy_and_temperature() -> None:
    logits = torch.tensor([[math.log(0.5), math.log(0.25), math.log(0.25)]])
    assert losses.entropies(logits, 1.0).item() == pytest.approx(1.5 * math.log(2), rel=1e-6)
    # At temperature 0.5 probabilities are squared: 4/6, 1/6, 1/6.
    expected = -(4 / 6 * math.log(4 / 6) + 2 / 6 * math.log(1 / 6))
    assert losses.entropies(logits, 0.5).item() == pytest.approx(expected, rel=1e-6)
    assert losses.token_logprobs(logits, torch.tensor([0]), 0.5).item() == pytest.approx(
        math.log(4 / 6), rel=1e-6
    )


def test_entropy_of_a_forbidden_token_is_finite() -> None:
    logits = torch.tensor([[0.0, 0.0, -math.inf]])
    assert losses.entropies(logits, 1.0).item() == pytest.approx(math.log(2), rel=1e-6)


def test_total_adds_streams_with_their_coefficients() -> None:
    inputs = {
        "pg.advantages": tensor(1.0),
        "pg.old_logprobs": logs(0.5).detach(),
        "ce.weights": tensor(3.0),
    }
    inputs["kl.reference_logprobs"] = logs(0.25).detach()
    streams = [
        PolicyGradient(coefficient=2.0, clip_low=0.2, clip_high=0.2),
        CrossEntropy(coefficient=0.5),
        Kl(coefficient=10.0),
        Entropy(coefficient=0.1),
    ]
    loss, counts = losses.total(streams, inputs.__getitem__, logs(0.5), tensor(0.7), None)
    expected = 2.0 * -1.0 + 0.5 * 3.0 * math.log(2) + 10.0 * (math.log(2) - 0.5) - 0.1 * 0.7
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert counts["entropy"].item() == pytest.approx(0.7)
    assert counts["ce_loss"].item() == pytest.approx(3.0 * math.log(2), rel=1e-6)
