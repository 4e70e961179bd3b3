"""`accumulate` and `step`: right-padded micro-batches, logits only where needed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..wire.arguments import Accumulate, Step, ValueLoss
from ..wire.arguments import Entropy as EntropyStream
from ..wire.context import BadArguments, BadState, Context, OperationError, Tensors
from . import losses
from .activations import checkpointed
from .head import statistics_of
from .memory import head_rows, recomputes
from .micro_batches import MicroBatch, not_first, plan, send
from .model import LoadedModel
from .optimizer import clip_factor
from .ragged import refuse_others, take, take_sequences
from .scoring import refuse_overlong
from .sharing import can_share, plan_shared


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
        if model.masters is not None:
            model.masters.forget()
        model.accumulations = 0
        lost = f"every gradient accumulated since step {model.step} was discarded"
        if isinstance(error, OperationError):
            raise OperationError(error.code, f"{error}; {lost}") from error
        add_note(error, lost)
        raise
    finally:
        model.network.eval()


def shares_prefixes(model: LoadedModel) -> bool:
    return model.loading is not None and model.loading.share_prefixes


def add_note(error: BaseException, words: str) -> None:
    """Does what `error.add_note` does, which Python 3.10 lacks; `run` puts notes into its
    message.
    """
    setattr(error, "__notes__", [*getattr(error, "__notes__", []), words])  # noqa: B010  # mypy knows no such attribute


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
    sums: dict[str, Tensor] = {}
    count, done, sequences = int(chosen.sum()), 0, 0
    on_device = {name: send(values, device) for name, values in inputs.items()}
    text = send(ids.astype(np.int64), device)
    with contextlib.ExitStack() as within:
        within.enter_context(
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        )
        drops = lora_dropout(model)
        if recomputes(model, int(np.diff(cu).max(initial=0))):
            within.enter_context(checkpointed(model.network, drops))
        # Each sequence drops other numbers.
        shared = not drops and shares_prefixes(model) and can_share(model)
        planned = plan_shared if shared else plan
        for batch in planned(model, ids, cu, chosen, arguments.micro_batch_tokens):
            context.check()
            for counts in backward(model, arguments, batch, text, on_device):
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


def backward(
    model: LoadedModel,
    arguments: Accumulate,
    batch: MicroBatch,
    ids: Tensor,
    inputs: dict[str, Tensor],
) -> Iterator[losses.Counts]:
    """Adds the gradient of one micro-batch; yields the counts of each part of its tokens.

    The loss is a sum over tokens. So where their logits are too many to be held at once, each part
    goes backward through the head by itself, and then all of them together through the network.
    """
    entropy = any(isinstance(stream, EntropyStream) for stream in arguments.streams)

    def loss_of(
        tokens: Tensor,
        logprobs: Tensor | None,
        entropies: Tensor | None,
        outputs: Tensor | None,
    ) -> tuple[Tensor, losses.Counts]:
        values = None if outputs is None else losses.Outputs(outputs, model.value_head)
        loss, counts = losses.total(
            arguments.streams, lambda name: inputs[name][tokens], logprobs, entropies, values
        )
        loss = loss / arguments.normalizer
        return loss, {**counts, "loss": loss.detach()}

    def of_tokens(rows: Tensor, tokens: Tensor) -> tuple[Tensor, losses.Counts]:
        with model.autocast():
            statistics = statistics_of(
                model.base.get_output_embeddings(),
                rows,
                ids[tokens],
                arguments.temperature,
                entropy,
            )
        return loss_of(tokens, *statistics, None)

    if not (model.kind == "causal" and model.splits_head):
        with model.autocast():
            if model.kind == "value":
                outputs = model.value_outputs_at(batch.ids, batch.positions, batch.tree)
                loss, counts = loss_of(batch.tokens, None, None, outputs)
            else:
                logits = model.logits_at(batch.ids, batch.positions, batch.tree)
                statistics = losses.of_logits(
                    logits, ids[batch.tokens], arguments.temperature, entropy
                )
                loss, counts = loss_of(batch.tokens, *statistics, None)
        descend(model, loss)
        yield counts
        return
    with model.autocast():
        hidden = model.hidden_at(batch.ids, batch.positions, batch.tree)
    size = head_rows(model)
    if len(hidden) <= size:
        loss, counts = of_tokens(hidden, batch.tokens)
        descend(model, loss)
        yield counts
        return
    gradients = []
    for rows, tokens in zip(hidden.split(size), batch.tokens.split(size), strict=True):
        part = rows.detach().requires_grad_(hidden.requires_grad)
        loss, counts = of_tokens(part, tokens)
        descend(model, loss)
        gradients.append(part.grad)
        yield counts
    if hidden.requires_grad:
        descend(model, hidden, torch.cat(gradients))


def descend(model: LoadedModel, result: Tensor, gradient: Tensor | None = None) -> None:
    """Goes backward from `result`; all gradients are then where the optimizer finds them."""
    result.backward(gradient)
    if model.masters is not None:
        model.masters.gather()


def lora_dropout(model: LoadedModel) -> bool:
    """Turns LoRA's dropout on, where it has any, seeded by step and accumulation: resuming drops
    the same. Returns whether it has.
    """
    active = False
    for name, module in model.network.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" in name and module.p > 0:
            module.train()
            active = True
    if active:
        torch.manual_seed(model.step * 1_000_003 + model.accumulations)
    return active


def step(model: LoadedModel, arguments: Step, context: Context) -> tuple[float, float]:
    """One optimizer step with the accumulated gradient; the L2 norms of the gradient before it is
    clipped, and of the change of the weights.

    Raises `BadState` where the model's step or accumulations are not those expected, and
    `OperationError` for a gradient that is not finite, which is discarded. A failure in the middle
    discards the gradient too, and says that weights may have moved. A change that is not finite
    is an `OperationError` that says that the weights are broken.
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
    factor = clip_factor(grad_norm, arguments.max_grad_norm)
    try:
        update_norm = model.optimizer.step(arguments.learning_rate, factor)
    except BaseException as error:
        # Weights that have moved would move again, by a gradient that was clipped twice.
        model.optimizer.clear()
        add_note(
            error,
            f"the gradient was discarded, and some weights may have moved already: restore step "
            f"{model.step} from a checkpoint",
        )
        raise
    finally:
        model.accumulations = 0
        if model.masters is not None:
            model.masters.refresh()
    if not math.isfinite(update_norm):
        raise OperationError(
            "internal",
            f"step: the change of model {model.name!r} has norm {update_norm}; its weights are "
            f"broken now: restore step {model.step} from a checkpoint",
        )
    model.step += 1
    return grad_norm, update_norm
