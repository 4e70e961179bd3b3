"""The head of a causal model: from hidden states to log-probs of tokens, in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from . import losses


def product(hidden: Tensor, weight: Tensor) -> Tensor:
    """Returns the logits [M, V] of hidden states [M, d] under a head's weight [V, d].

    Of bfloat16 they are float32, added up in float32 and never rounded: logits of 8 bits move
    log-probabilities by hundredths. All else keeps its type. On CUDA, autograd can't follow it.
    """
    if weight.dtype != torch.bfloat16:
        return hidden @ weight.t()
    if weight.is_cuda:
        return torch.mm(hidden.to(weight.dtype), weight.t(), out_dtype=torch.float32)
    return hidden.float() @ weight.float().t()


class HeadLogprobs(torch.autograd.Function):
    """Log-probs and entropies of a linear head, with one [M, V] in memory between forward and
    backward: autograd's own operations keep four.

    The gradient is written out: with p the probabilities, 1[j] one at the target, H the entropy,
    g and e the gradients of log-prob and entropy, that of logit j is
    (g (1[j] - p[j]) - e p[j] (log p[j] + H)) / temperature.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor | None]:
        logits = product(hidden, weight)
        if bias is not None:
            logits += bias
        if temperature != 1.0:
            logits /= temperature
        logprobs = logits.log_softmax(-1)
        del logits
        chosen = logprobs.gather(1, targets[:, None]).squeeze(1)
        entropy = None
        if with_entropy:
            # Where a logit is -inf, p log p is 0 and not nan.
            entropy = -(logprobs.exp() * logprobs.clamp_min(-1e4)).sum(-1)
        ctx.save_for_backward(hidden, weight, targets, chosen, entropy)
        ctx.logprobs, ctx.temperature, ctx.has_bias = logprobs, temperature, bias is not None
        return chosen, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, chosen, entropy = ctx.saved_tensors
        logprobs, ctx.logprobs = ctx.logprobs, None
        of_logprob, of_entropy = gradients
        if of_logprob is None:
            of_logprob = torch.zeros_like(chosen)
        of_logprob = of_logprob / ctx.temperature
        at_target = of_logprob * (1 - chosen.exp())
        slope = torch.empty_like(logprobs, dtype=weight.dtype)
        if of_entropy is None or entropy is None:
            torch.mul(logprobs.exp_(), -of_logprob[:, None], out=slope)
        else:
            of_entropy = of_entropy / ctx.temperature
            factor = logprobs.clamp_min(-1e4).add_(entropy[:, None]).mul_(of_entropy[:, None])
            at_target = at_target - factor.gather(1, targets[:, None]).squeeze(1) * chosen.exp()
            factor.add_(of_logprob[:, None]).neg_()
            torch.mul(logprobs.exp_(), factor, out=slope)
        slope.scatter_(1, targets[:, None], at_target.to(slope.dtype)[:, None])
        needs_hidden, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        return (
            (slope @ weight).to(hidden.dtype) if needs_hidden else None,
            slope.t() @ hidden.to(slope.dtype) if needs_weight else None,
            slope.sum(0) if needs_bias else None,
            None,
            None,
            None,
        )


def is_plain(head: nn.Module) -> bool:
    """Returns whether a head is one bfloat16 matrix, whose logits need not be rounded."""
    return type(head) is nn.Linear and head.weight.dtype == torch.bfloat16


def logits_of(head: nn.Module, hidden: Tensor) -> Tensor:
    """Returns the logits [M, V] of hidden states [M, d]."""
    if not is_plain(head):
        logits: Tensor = head(hidden)
        return logits
    assert isinstance(head, nn.Linear)
    logits = product(hidden, head.weight)
    return logits if head.bias is None else logits + head.bias


def statistics_of(
    head: nn.Module, hidden: Tensor, targets: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Returns the log-probs float32 [M] of `targets` int64 [M] after hidden states [M, d], at
    `temperature`, and the entropies float32 [M] where they are asked for.
    """
    if not is_plain(head):
        return losses.of_logits(head(hidden), targets, temperature, with_entropy)
    found: tuple[Tensor, Tensor | None] = HeadLogprobs.apply(
        hidden, head.weight, head.bias, targets, temperature, with_entropy
    )
    return found
