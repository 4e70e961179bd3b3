"""The additive loss terms of `accumulate`, each a sum over tokens, and what they count.

All tensors are float32 [M]: one entry for each masked token of a micro-batch. The formulas are
those of `src/bridge/operations.ts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from ..wire.arguments import CrossEntropy, Entropy, Kl, PolicyGradient, Stream, ValueLoss
from ..wire.context import BadArguments
from .value_head import ValueHead, histogram

Counts = dict[str, Tensor]
INPUTS: dict[type, tuple[str, ...]] = {
    PolicyGradient: ("pg.advantages", "pg.old_logprobs"),
    CrossEntropy: ("ce.weights",),
    Kl: ("kl.reference_logprobs",),
    Entropy: (),
    ValueLoss: ("value.returns", "value.old_values"),
}


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Log-probabilities [M] of `targets` [M] under `logits` [M, V] at `temperature`."""
    scaled = logits.float() if temperature == 1.0 else logits.float() / temperature
    return -functional.cross_entropy(scaled, targets, reduction="none")


def entropies(logits: Tensor, temperature: float) -> Tensor:
    """Entropy in nats [M] of the distributions that `logits` [M, V] give at `temperature`."""
    logprobs = (logits.float() / temperature).log_softmax(-1)
    # Where a logit is -inf, p log p is 0 and not nan.
    return -(logprobs.exp() * logprobs.clamp_min(-1e4)).sum(-1)


def of_logits(
    logits: Tensor, targets: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [M] of `targets` [M] and, if asked for, entropies [M] under `logits`
    [M, V].
    """
    logprobs = token_logprobs(logits, targets, temperature)
    return logprobs, entropies(logits, temperature) if with_entropy else None


def policy_gradient(
    stream: PolicyGradient, logprobs: Tensor, advantages: Tensor, old: Tensor
) -> tuple[Tensor, Counts]:
    """PPO's clipped surrogate (Schulman 2017, eq. 7), negated.

    `approximate_kl` is the estimator k3 of KL(old || new).
    """
    difference = logprobs - old
    ratio = difference.exp()
    clipped = ratio.clamp(1 - stream.clip_low, 1 + stream.clip_high)
    loss = -(ratio * advantages).minimum(clipped * advantages).sum()
    counts = {
        "pg_loss": loss,
        "ratio": ratio.sum(),
        "clipped_low": ((ratio < 1 - stream.clip_low) & (advantages < 0)).sum(),
        "clipped_high": ((ratio > 1 + stream.clip_high) & (advantages > 0)).sum(),
        "approximate_kl": (difference.expm1() - difference).sum(),
    }
    return loss, counts


def cross_entropy(logprobs: Tensor, weights: Tensor) -> tuple[Tensor, Counts]:
    """Weighted cross-entropy, -w log p."""
    loss = -(weights * logprobs).sum()
    return loss, {"ce_loss": loss, "ce_weight": weights.sum()}


def kl_to_reference(logprobs: Tensor, reference: Tensor) -> tuple[Tensor, Counts]:
    """Schulman's estimator k3: exp(d) - 1 - d, d = reference - policy
    (joschu.net/blog/kl-approx.html).

    On tokens of the policy its mean estimates KL(policy || reference). Its gradient is another
    one's: that of KL(reference || policy). GRPO's KL term is the same (arXiv 2402.03300, eq. 4).
    """
    difference = reference - logprobs
    loss = (difference.expm1() - difference).sum()
    return loss, {"kl": loss}


def value_loss(
    stream: ValueLoss, values: Tensor, returns: Tensor, old: Tensor
) -> tuple[Tensor, Counts]:
    """Half the squared error; with `clip` the worse of it and that of the value clipped around the
    old one.
    """
    error = (values - returns) ** 2
    if stream.clip is None:
        return 0.5 * error.sum(), {
            "value_loss": 0.5 * error.sum(),
            "value_clipped": error.new_zeros(()),
        }
    near = (old + (values - old).clamp(-stream.clip, stream.clip) - returns) ** 2
    loss = 0.5 * error.maximum(near).sum()
    return loss, {"value_loss": loss, "value_clipped": (near > error).sum()}


@dataclass
class Outputs:
    """Of a value model: the head's outputs [M, 1 or bins], and the head."""

    outputs: Tensor
    head: ValueHead | None


def loss_of_values(
    stream: ValueLoss, given: Outputs, returns: Tensor, old: Tensor
) -> tuple[Tensor, Counts]:
    """`value_loss` of the values; of a categorical head the cross-entropy with a histogram around
    each return (HL-Gauss). Raises `BadArguments` for a clip, which it has no meaning for.
    """
    outputs, head = given.outputs, given.head
    assert head is not None
    if head.bins is None:
        return value_loss(stream, head.values(outputs), returns, old)
    if stream.clip is not None:
        raise BadArguments(
            "accumulate: the stream 'value' has a clip, and a categorical value head has no "
            "squared error to clip: pass null"
        )
    target = histogram(returns, head.bins)
    loss = -(target * outputs.log_softmax(-1)).sum()
    return loss, {"value_loss": loss, "value_clipped": loss.new_zeros(())}


def total(
    streams: list[Stream],
    inputs: Callable[[str], Tensor],
    logprobs: Tensor | None,
    entropy: Tensor | None,
    values: Outputs | None,
) -> tuple[Tensor, Counts]:
    """Returns the sum of all streams with their coefficients (not divided by anything), and their
    counts;

    `inputs` gives a stream's tensor [M].
    """
    loss: Tensor | None = None
    counts: Counts = {}
    for stream in streams:
        given = [inputs(name) for name in INPUTS[type(stream)]]
        if isinstance(stream, ValueLoss):
            assert values is not None
            term, seen = loss_of_values(stream, values, *given)
        elif isinstance(stream, Entropy):
            assert entropy is not None
            term, seen = -entropy.sum(), {"entropy": entropy.sum()}
        else:
            assert logprobs is not None
            if isinstance(stream, PolicyGradient):
                term, seen = policy_gradient(stream, logprobs, *given)
            elif isinstance(stream, CrossEntropy):
                term, seen = cross_entropy(logprobs, *given)
            else:
                term, seen = kl_to_reference(logprobs, *given)
        weighted = stream.coefficient * term
        loss = weighted if loss is None else loss + weighted
        counts.update({name: count.detach() for name, count in seen.items()})
    assert loss is not None
    return loss, counts
