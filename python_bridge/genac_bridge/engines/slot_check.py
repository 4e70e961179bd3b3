"""Tries out at loading whether a model can be sampled in slots; see `sampling_check`."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch

from ..models.model import LoadedModel, accepts
from ..models.ways import TOGETHER
from .cache import make_cache
from .sampling_check import (
    OWNERS,
    ROUGH,
    TOLERANCE,
    Differs,
    Trial,
    Trials,
    check_way,
    difference,
    first_line,
    undisturbed,
)
from .serving_copy import ServingCopy, Unfit
from .slots import Slots

#: In its own type the copy may differ by so many times what the loop does.
LIKE_THE_LOOP = 2.0
#: Where the trial's sequences go, and where they are moved to after the first step.
SLOTS, MOVED = np.array([4, 0, 5, 2]), np.array([1, 3, 0, 2])


def fits_slots(model: LoadedModel) -> bool:
    """Returns whether a model on a GPU is sampled in slots. Why it is not goes to the log.

    A CPU gains nothing from it: there nothing is recorded, and the copy costs memory.
    """
    if model.device.type != "cuda":
        return False
    reason = why_not(model)
    if reason is not None:
        print(
            f"sampling: {model.name!r} is not served from a copy of its weights, and is sampled "
            f"more slowly: {reason}",
            file=sys.stderr,
            flush=True,
        )
    return reason is None


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
        reason: str | None = None
        try:
            serving = ServingCopy(model, shared=True)
        except Unfit as error:
            return str(error)
        except Exception as error:
            return first_line(error)
        for trial in Trials(model, TOLERANCE):
            try:
                compare(Slots(serving, 6, 64 * 9, by_length=False, capture=False), trial)
            except Differs as error:
                reason = reason or str(error)
            except Exception as error:
                return first_line(error)
            else:
                return None
    return reason or "it has no trial"


@torch.inference_mode()
def try_out(model: LoadedModel, serving: ServingCopy, by_length: bool) -> str | None:
    """Returns what is wrong with the weights' copy in its own type; None: nothing."""
    with undisturbed(model):
        trial = next(
            iter(Trials(model, ROUGH if serving.dtype == torch.bfloat16 else TOLERANCE)), None
        )
        if trial is None:
            return "it has no trial"
        try:
            trial.tolerance = max(trial.tolerance, LIKE_THE_LOOP * loop_rounding(model, trial))
            compare(Slots(serving, 6, 64 * 9, by_length, capture=False), trial)
        except Exception as error:
            return first_line(error)
    return None


def loop_rounding(model: LoadedModel, trial: Trial) -> float:
    """Returns the largest difference that the loop's own way of sampling has, which was found exact
    in float32: it grows with the width of the network and the size of its logits.
    """
    free = replace(trial, tolerance=float("inf"), seen=0.0)
    with model.autocast():
        check_way(model, model.way, free)
    return free.seen


def compare(slots: Slots, trial: Trial) -> None:
    """Feeds the trial's tokens as sampling does. Raises `Differs`, or what the network raises."""
    new = trial.tokens.shape[1]
    lengths = np.array([len(prompt) for prompt in trial.prompts])[OWNERS]
    places = SLOTS
    logits = slots.read(trial.prompts, OWNERS, places, lengths + new)
    for step in range(new + 1):
        off = difference(logits.float().log_softmax(-1), trial.expected[:, step])
        if not off <= trial.tolerance:
            raise Differs(
                f"sampled log-probabilities differ by {off:.2g} from those of the whole text"
            )
        if step == new:
            return
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
