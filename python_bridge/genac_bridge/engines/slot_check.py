"""Tries out at loading whether a model can be sampled in slots; see `sampling_check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel
from transformers.pytorch_utils import Conv1D

from ..models.head import logits_of
from ..models.model import LoadedModel, accepts
from ..models.ways import TOGETHER
from . import slot_attention
from .cache import make_cache
from .sampling_check import (
    FLOOR,
    OWNERS,
    TOLERANCE,
    Differs,
    Trial,
    Trials,
    difference,
    first_line,
    refusal,
    right_padded,
    undisturbed,
)
from .serving_copy import ServingCopy, Unfit
from .slots import KERNELS, Slots

#: In bfloat16 a sequence may typically be off by so many times what rounding does, and a single
#: step by so many; rounding is taken to do so much at least, in nats. See `apart`.
TYPICAL, EACH, LEAST = 4.0, 12.0, 0.0125
#: Tokens of which log-probabilities are compared: those in the tail round most, and are not drawn.
LIKELIEST = 32
#: What rounding to bfloat16 may change a number by, as a part of it.
ROUNDED = 2.0**-8
#: Where the trial's sequences go, and where they are moved to after the first step.
SLOTS, MOVED = np.array([4, 0, 5, 2]), np.array([1, 3, 0, 2])


def fits_slots(model: LoadedModel) -> bool:
    """Returns whether a model on a GPU is sampled in slots. Why it is not goes to the log, and to
    who loads it.

    A CPU gains nothing from it: there nothing is recorded, and the copy costs memory.
    """
    if model.device.type != "cuda":
        return False
    reason = why_not(model)
    if reason is not None:
        tell_slow(model, reason)
    return reason is None


def tell_slow(model: LoadedModel, reason: str) -> None:
    model.slow_because = reason
    print(
        f"sampling: {model.name!r} is not served from a copy of its weights, and is sampled "
        f"more slowly: {reason}",
        file=sys.stderr,
        flush=True,
    )


def why_not(model: LoadedModel) -> str | None:
    """Returns why a model whose way was chosen can't be sampled in slots; None: it can.

    Its weights are float32 still, so that the comparison is sharp.
    """
    if model.quantized:
        return "its weights are quantized"
    if model.way != TOGETHER or not make_cache(model.config)[1]:
        return "it keeps more than keys and values of every token"
    if not (model.counts_from_zero and accepts(model.base, "position_ids")):
        return "it counts positions by itself"
    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return "its attention is not sdpa"
    with undisturbed(model):
        try:
            serving = ServingCopy(model, shared=True)
        except Unfit as error:
            return str(error)
        except Exception as error:
            return first_line(error)
        return refusal(
            Trials(model, TOLERANCE), lambda trial: compare(tried(serving, False), trial)
        )


def tried(serving: ServingCopy, by_length: bool) -> Slots:
    """Returns slots for one trial."""
    return Slots(serving, 6, 64 * 9, by_length, capture=False)


@torch.inference_mode()
def try_out(model: LoadedModel, serving: ServingCopy, by_length: bool) -> str | None:
    """Returns what is wrong with the weights' copy in its own type; None: nothing.

    In float32 `why_not` has compared them sharply. In bfloat16 a trained network can round so much
    that single log-probabilities are off by nats, so there the likeliest are compared, with what
    rounding does to them on these weights.
    """
    half = serving.dtype == torch.bfloat16

    def check(trial: Trial) -> None:
        slots = tried(serving, by_length)
        if half:
            compare_rounded(model, slots, trial)
        else:
            compare(slots, trial)

    with undisturbed(model):
        return refusal(Trials(model, float("inf") if half else TOLERANCE), check)


def compare(slots: Slots, trial: Trial) -> None:
    """Raises `Differs` where a log-probability is off, or what the network raises."""
    for step, logprobs in enumerate(fed(slots, trial)):
        off = difference(logprobs, trial.expected[:, step])
        if not off <= trial.tolerance:
            raise Differs(
                f"sampled log-probabilities differ by {off:.2g} from those of the whole text"
            )


def compare_rounded(model: LoadedModel, slots: Slots, trial: Trial) -> None:
    """Raises `Differs` where log-probabilities are off by more than rounding explains, or what the
    network raises.
    """
    own = whole_texts(model.base, trial)
    with rounded_otherwise(model.base):
        rounding = float(apart(whole_texts(model.base, trial), own).median())
    most = max(LEAST, rounding)
    whole = whole_texts(slots.serving.network, trial)
    copied = float(apart(whole, own).median())
    if not copied <= TYPICAL * most:
        raise Differs(
            f"log-probabilities of its copy are typically off by {copied:.2g}, and rounding makes "
            f"{rounding:.2g}"
        )
    off = apart(torch.stack(list(fed(slots, trial)), 1), whole)
    # The first is of the prompts, and the others of each sequence's steps.
    typical = torch.stack([off[:, 0].median(), *off[:, 1:].median(1).values])
    if not (bool((typical <= TYPICAL * most).all()) and bool((off <= EACH * most).all())):
        raise Differs(
            f"sampled log-probabilities differ by up to {float(off.max()):.2g} from those of the "
            f"whole text, and rounding typically makes {rounding:.2g}"
        )


@contextmanager
def rounded_otherwise(network: nn.Module) -> Iterator[None]:
    """Within, each number that a linear layer returns is off by as much as rounding may be."""
    generators: dict[torch.device, torch.Generator] = {}

    def disturb(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        device = output.device
        if device not in generators:
            generators[device] = torch.Generator(device=device).manual_seed(0)
        drawn = torch.rand(output.shape, generator=generators[device], device=device)
        return (output.float() * (1 + (2 * drawn - 1) * ROUNDED)).to(output.dtype)

    hooks = [
        module.register_forward_hook(disturb)
        for module in network.modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def apart(have: Tensor, want: Tensor) -> Tensor:
    """Returns [...], for log-probabilities [..., V]: the mean absolute difference of those of the
    likeliest tokens of `want`, in nats.
    """
    likeliest, tokens = want.topk(min(LIKELIEST, want.shape[-1]))
    return (have.gather(-1, tokens).clamp_min(FLOOR) - likeliest.clamp_min(FLOOR)).abs().mean(-1)


def whole_texts(network: Any, trial: Trial) -> Tensor:
    """Returns what a causal network says as it reads each text at once, as `Trial.expected`."""
    texts = [np.concatenate([trial.prompts[o], trial.tokens[i]]) for i, o in enumerate(OWNERS)]
    device = next(network.parameters()).device
    slot_attention.current.step = None
    with sdpa_kernel(KERNELS):
        hidden = network.base_model(
            input_ids=right_padded(device, texts), use_cache=False
        ).last_hidden_state
    new = trial.tokens.shape[1]
    ends = [len(trial.prompts[owner]) - 1 for owner in OWNERS]
    read = torch.stack([hidden[i, end : end + new + 1] for i, end in enumerate(ends)])
    logits = logits_of(network.get_output_embeddings(), read.flatten(0, 1))
    return logits.float().log_softmax(-1).unflatten(0, read.shape[:2])


def fed(slots: Slots, trial: Trial) -> Iterator[Tensor]:
    """Feeds the trial's tokens as sampling does; yields the log-probabilities [4, V] after the
    prompts and after each token.
    """
    new = trial.tokens.shape[1]
    lengths = np.array([len(prompt) for prompt in trial.prompts])[OWNERS]
    places = SLOTS
    logits = slots.read(trial.prompts, OWNERS, places, lengths + new)
    yield logits.float().log_softmax(-1)
    for step in range(new):
        where = slots.send(places)
        slots.tokens.index_copy_(0, where, slots.send(trial.tokens[:, step]))
        rows = int(places.max()) + 1
        logits = slots.logits(rows, slots.columns).index_select(0, where)
        slots.positions.add_(1)
        if step == 0:
            # In two parts: a slot is taken only once it is free.
            for part in (np.array([1, 0]), np.array([2, 3])):
                slots.move(places[part], MOVED[part], slots.columns)
            places = MOVED
        yield logits.float().log_softmax(-1)
