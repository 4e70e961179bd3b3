"""`score`: log-probs, entropies or values of texts, logits only where needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..wire.arguments import Score
from ..wire.context import BadArguments, Context, Tensors
from .head import statistics_of
from .losses import of_logits
from .memory import head_rows
from .micro_batches import MicroBatch, not_first, plan, send
from .model import LoadedModel
from .ragged import refuse_others, take_sequences


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
    on_device = send(ids.astype(np.int64), model.device)
    first = torch.zeros(len(ids), device=model.device)
    second = torch.zeros(len(ids), device=model.device)
    done = 0
    for batch in plan(model, ids, cu, not_first(cu, len(ids)), arguments.micro_batch_tokens):
        context.check()
        with model.autocast():
            if causal:
                for tokens, logprobs, entropies in read(
                    model, batch, on_device, arguments.temperature, arguments.entropy
                ):
                    first[tokens] = logprobs
                    if entropies is not None:
                        second[tokens] = entropies
            else:
                first[batch.tokens] = model.values_at(batch.ids, batch.positions)
        done += len(batch.tokens)
        context.progress(done / max(1, len(ids)))
    name = "logprobs" if causal else "values"
    answer = {name: first.cpu().numpy()}
    return len(ids), {**answer, "entropies": second.cpu().numpy()} if arguments.entropy else answer


def read(
    model: LoadedModel, batch: MicroBatch, ids: Tensor, temperature: float, entropy: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yields parts of a micro-batch's chosen tokens: which they are of all `ids` int64 [T], their
    log-probs and, if asked for, entropies float32.
    """
    if not model.splits_head:
        logits = model.logits_at(batch.ids, batch.positions)
        yield batch.tokens, *of_logits(logits, ids[batch.tokens], temperature, entropy)
        return
    head = model.base.get_output_embeddings()
    hidden = model.hidden_at(batch.ids, batch.positions)
    size = head_rows(model)
    for rows, tokens in zip(hidden.split(size), batch.tokens.split(size), strict=True):
        yield tokens, *statistics_of(head, rows, ids[tokens], temperature, entropy)
