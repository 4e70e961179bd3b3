"""`score`, `accumulate` and `step`: right-padded micro-batches, logits only where needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..wire.arguments import Accumulate, Score, Step, ValueLoss
from ..wire.arguments import Entropy as EntropyStream
from ..wire.context import BadArguments, BadState, Context, OperationError, Tensors
from . import losses
from .model import LoadedModel, largest
from .optimizer import clip_factor
from .ragged import micro_batches, pad, refuse_others, take, take_sequences

#: Numbers of activations that a micro-batch may hold, where the worker chooses.
CPU_ACTIVATIONS = 2**22
GPU_ACTIVATIONS = 2**30


@dataclass
class MicroBatch:
    #: Right-padded inputs [rows, width].
    ids: Tensor
    #: Where in the flattened inputs the predictions of the chosen tokens are read [M].
    positions: Tensor
    #: Which of all tokens they predict, int64 [M].
    tokens: np.ndarray
    #: Sequences that have a chosen token.
    sequences: int


def choose_micro_batch(model: LoadedModel) -> int:
    """Returns the padded tokens of one forward pass: what fits caches and memory."""
    config = model.config
    vocabulary = model.vocabulary if model.kind == "causal" else 0
    numbers = vocabulary + 12 * (largest(config, "hidden_size") or 1024) * (
        largest(config, "num_hidden_layers") or 1
    )
    limit = GPU_ACTIVATIONS if model.device.type == "cuda" else CPU_ACTIVATIONS
    return max(512, min(16384, limit // numbers))


def plan(
    model: LoadedModel, ids: np.ndarray, cu: np.ndarray, chosen: np.ndarray, limit: int | None
) -> Iterator[MicroBatch]:
    """Yields micro-batches that together predict every chosen token once (`chosen` bool [T], never
    a sequence's first token).

    A sequence is cut after its last chosen token, which itself is predicted and not read; one
    without a chosen token is left out.
    """
    flat = np.flatnonzero(chosen)
    owner = np.searchsorted(cu, flat, side="right") - 1
    offset = flat - cu[owner]
    needed = np.zeros(len(cu) - 1, np.int64)
    np.maximum.at(needed, owner, offset)
    used = np.flatnonzero(needed)
    first = np.searchsorted(owner, np.arange(len(cu)))
    for picked in micro_batches(needed[used], limit or choose_micro_batch(model)):
        rows = used[picked]
        lengths = needed[rows]
        width = int(lengths.max())
        counts = first[rows + 1] - first[rows]
        chosen_here = np.concatenate([np.arange(first[r], first[r + 1]) for r in rows])
        positions = np.repeat(np.arange(len(rows)) * width, counts) + offset[chosen_here] - 1
        yield MicroBatch(
            ids=torch.from_numpy(pad(ids, cu[rows], lengths, left=False)).to(model.device),
            positions=torch.from_numpy(positions).to(model.device),
            tokens=flat[chosen_here],
            sequences=len(rows),
        )


def not_first(cu: np.ndarray, total: int) -> np.ndarray:
    """Returns bool [T]: every token but the first of each sequence."""
    chosen = np.ones(total, bool)
    chosen[cu[:-1][np.diff(cu) > 0]] = False
    return chosen


def refuse_overlong(model: LoadedModel, cu: np.ndarray, operation: str) -> None:
    """A sequence beyond the positions that the model was made for gives numbers without meaning, or
    an error from deep inside.
    """
    lengths = np.diff(cu)
    limit = model.context_length
    if limit is None or len(lengths) == 0 or lengths.max() <= limit:
        return
    index = int(lengths.argmax())
    raise BadArguments(
        f"{operation}: sequence {index} has {lengths[index]} tokens, more than the context of "
        f"{limit} of model {model.name!r}; shorten it, or take a model with a longer context"
    )


@torch.inference_mode()
def score(
    model: LoadedModel, arguments: Score, tensors: Tensors, context: Context
) -> tuple[int, Tensors]:
    """Returns the log-probs, entropies or values of all tokens; the number of tokens and the
    tensors of the answer.
    """
    refuse_others(tensors, {"ids", "cu_seqlens"})
    ids, cu = take_sequences(tensors, "ids", "cu_seqlens", model.vocabulary)
    refuse_overlong(model, cu, "score")
    causal = model.kind == "causal"
    if not causal and arguments.entropy:
        raise BadArguments(
            f"score: model {model.name!r} is a value model, which has no entropy; pass entropy "
            "false"
        )
    first = np.zeros(len(ids), np.float32)
    second = np.zeros(len(ids), np.float32)
    done = 0
    for batch in plan(model, ids, cu, not_first(cu, len(ids)), arguments.micro_batch_tokens):
        context.check()
        with model.autocast():
            if causal:
                logits = model.logits_at(batch.ids, batch.positions)
                targets = torch.from_numpy(ids[batch.tokens].astype(np.int64)).to(model.device)
                first[batch.tokens] = (
                    losses.token_logprobs(logits, targets, arguments.temperature).cpu().numpy()
                )
                if arguments.entropy:
                    second[batch.tokens] = (
                        losses.entropies(logits, arguments.temperature).cpu().numpy()
                    )
            else:
                first[batch.tokens] = model.values_at(batch.ids, batch.positions).cpu().numpy()
        done += len(batch.tokens)
        context.progress(done / max(1, len(ids)))
    if not causal:
        return len(ids), {"values": first}
    return len(ids), {"logprobs": first, "entropies": second} if arguments.entropy else {
        "logprobs": first
    }


def check_streams(model: LoadedModel, arguments: Accumulate) -> set[str]:
    """Refuses streams that this model can't have; the names of the tensors that they read."""
    kinds = [type(stream) for stream in arguments.streams]
    if len(set(kinds)) != len(kinds):
        raise BadArguments(
            "accumulate: a kind of stream is given twice; add its weights up instead"
        )
    for kind in kinds:
        if (kind is ValueLoss) != (model.kind == "value"):
            raise BadArguments(
                f"accumulate: model {model.name!r} is a {model.kind} model; "
                + (
                    "it takes the stream 'value' only"
                    if model.kind == "value"
                    else "the stream 'value' needs a value model"
                )
            )
    return {name for kind in kinds for name in losses.INPUTS[kind]}


def take_inputs(
    names: set[str], tensors: Tensors, cu: np.ndarray, total: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the mask as bool [T] and the streams' tensors, checked: finite wherever the mask is
    1.
    """
    mask = take(tensors, "mask", "float32", (total,))
    if not np.all((mask == 0) | (mask == 1)):
        raise BadArguments(
            "accumulate: 'mask' must hold zeros and ones only; weights go into the streams' tensors"
        )
    chosen = mask == 1
    if np.any(chosen & ~not_first(cu, total)):
        raise BadArguments(
            "accumulate: 'mask' is 1 at the first token of a sequence, which nothing predicts"
        )
    inputs = {name: take(tensors, name, "float32", (total,)) for name in sorted(names)}
    for name, array in inputs.items():
        if not np.isfinite(array[chosen]).all():
            where = int(np.flatnonzero(chosen & ~np.isfinite(array))[0])
            raise BadArguments(
                f"accumulate: {name!r}[{where}] is {array[where]} where the mask is 1"
            )
    return chosen, inputs


def accumulate(
    model: LoadedModel, arguments: Accumulate, tensors: Tensors, context: Context
) -> dict[str, float]:
    """Adds the gradient of (sum of the streams) / normalizer; the statistics.

    Any failure discards every gradient since the last step.
    """
    if model.optimizer is None:
        raise BadState(
            f"accumulate: model {model.name!r} is frozen; load it with an optimizer to train it"
        )
    names = check_streams(model, arguments)
    refuse_others(tensors, {"ids", "cu_seqlens", "mask"} | names)
    ids, cu = take_sequences(tensors, "ids", "cu_seqlens", model.vocabulary)
    refuse_overlong(model, cu, "accumulate")
    chosen, inputs = take_inputs(names, tensors, cu, len(ids))
    try:
        return _accumulate(model, arguments, ids, cu, chosen, inputs, context)
    except BaseException as error:
        model.optimizer.clear()
        model.accumulations = 0
        lost = f"every gradient accumulated since step {model.step} was discarded"
        if isinstance(error, OperationError):
            raise OperationError(error.code, f"{error}; {lost}") from error
        # What `add_note` does, which Python 3.10 lacks; `run` puts notes into its message.
        setattr(error, "__notes__", [*getattr(error, "__notes__", []), lost])  # noqa: B010  # mypy knows no such attribute
        raise
    finally:
        model.network.eval()


def _accumulate(
    model: LoadedModel,
    arguments: Accumulate,
    ids: np.ndarray,
    cu: np.ndarray,
    chosen: np.ndarray,
    inputs: dict[str, np.ndarray],
    context: Context,
) -> dict[str, float]:
    device = model.device
    wants_entropy = any(isinstance(stream, EntropyStream) for stream in arguments.streams)
    sums: dict[str, Tensor] = {}
    count, done, sequences = int(chosen.sum()), 0, 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        lora_dropout(model)
        for batch in plan(model, ids, cu, chosen, arguments.micro_batch_tokens):
            context.check()
            logprobs = entropy = values = None
            with model.autocast():
                if model.kind == "value":
                    values = model.values_at(batch.ids, batch.positions)
                else:
                    logits = model.logits_at(batch.ids, batch.positions)
            if model.kind == "causal":
                targets = torch.from_numpy(ids[batch.tokens].astype(np.int64)).to(device)
                logprobs = losses.token_logprobs(logits, targets, arguments.temperature)
                if wants_entropy:
                    entropy = losses.entropies(logits, arguments.temperature)

            def given(name: str, tokens: np.ndarray = batch.tokens) -> Tensor:
                return torch.from_numpy(inputs[name][tokens]).to(device)

            loss, counts = losses.total(arguments.streams, given, logprobs, entropy, values)
            loss = loss / arguments.normalizer
            loss.backward()
            counts["loss"] = loss.detach()
            for name, value in counts.items():
                sums[name] = sums[name] + value.double() if name in sums else value.double()
            done += len(batch.tokens)
            sequences += batch.sequences
            context.progress(done / count)
    statistics = (
        dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))
        if sums
        else {"loss": 0.0}
    )
    if not math.isfinite(statistics["loss"]):
        raise OperationError(
            "internal", f"accumulate: the loss of model {model.name!r} is {statistics['loss']}"
        )
    model.accumulations += 1
    return {"tokens": float(count), "sequences": float(sequences), **statistics}


def lora_dropout(model: LoadedModel) -> None:
    """Turns LoRA's dropout on, where it has any, seeded by step and accumulation: resuming drops
    the same.
    """
    active = False
    for name, module in model.network.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" in name and module.p > 0:
            module.train()
            active = True
    if active:
        torch.manual_seed(model.step * 1_000_003 + model.accumulations)


def step(model: LoadedModel, arguments: Step, context: Context) -> tuple[float, float]:
    """One optimizer step with the accumulated gradient; the L2 norms of the gradient before it is
    clipped, and of the change of the weights.

    Raises `BadState` where the model's step or accumulations are not those expected, and
    `OperationError` for a gradient that is not finite, which is discarded.
    """
    if model.optimizer is None:
        raise BadState(
            f"step: model {model.name!r} is frozen; load it with an optimizer to train it"
        )
    if model.step != arguments.expected_step:
        raise BadState(
            f"step: model {model.name!r} is at step {model.step}, not "
            f"{arguments.expected_step}; nothing was done"
        )
    if model.accumulations != arguments.expected_accumulations:
        raise BadState(
            f"step: {model.accumulations} accumulations stand in the gradient of model "
            f"{model.name!r}, not {arguments.expected_accumulations}; nothing was done"
        )
    context.check()
    grad_norm = model.optimizer.gradient_norm()
    if not math.isfinite(grad_norm):
        model.optimizer.clear()
        model.accumulations = 0
        raise OperationError(
            "internal",
            f"step: the gradient of model {model.name!r} has norm {grad_norm}; it was discarded, "
            "the weights stay",
        )
    update_norm = model.optimizer.step(
        arguments.learning_rate, clip_factor(grad_norm, arguments.max_grad_norm)
    )
    model.step += 1
    model.accumulations = 0
    return grad_norm, update_norm
