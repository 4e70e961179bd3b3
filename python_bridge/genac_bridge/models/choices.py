"""`choices`: how likely a model goes on with each of a few short answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..wire.arguments import Choices
from ..wire.context import BadArguments, Context, Tensors
from .head import logits_of
from .memory import head_rows
from .micro_batches import MicroBatch, plan, plan_fixed
from .model import LoadedModel
from .ragged import refuse_others, take_sequences
from .scoring import refuse_overlong

#: Tokens of an answer that were read, and for each next token the answers that go on with it.
Node = tuple[int, ...]


@torch.inference_mode()
def choices(
    model: LoadedModel, arguments: Choices, tensors: Tensors, context: Context
) -> tuple[int, Tensors]:
    """Returns the number of tokens read and `logprobs` float32 [N, C]: of each sequence, the
    log-probability that it goes on with each answer.

    An answer that begins another ("1" and "10") has the probability that its last token is not
    followed by the other's next one. On a CPU, where no `micro_batch_tokens` are given, a
    sequence's numbers don't depend on the others, to the last digit. Raises `BadArguments` for
    answers that can't be told apart.
    """
    refuse_others(tensors, {"ids", "cu_seqlens"})
    ids, cu = take_sequences(tensors, "ids", "cu_seqlens", model.vocabulary)
    if model.kind != "causal":
        raise BadArguments(f"choices: model {model.name!r} is a value model, which writes no text")
    if len(cu) > 1 and np.diff(cu).min() < 1:
        raise BadArguments("choices: a sequence has no tokens; a model needs one to go on from")
    answers = check(model, arguments.choices)
    # Answers end with the last token, which is never read itself.
    refuse_overlong(model, cu + np.arange(len(cu)) * max(len(a) for a in answers), "choices")
    nexts: dict[Node, set[int]] = {}
    for answer in answers:
        for k in range(len(answer)):
            nexts.setdefault(answer[:k], set()).add(answer[k])
    read = 0
    steps: dict[Node, dict[int, np.ndarray]] = {}
    for number, (node, tokens) in enumerate(nexts.items()):
        steps[node], count = next_logprobs(model, arguments, ids, cu, node, sorted(tokens), context)
        read += count
        context.progress((number + 1) / len(nexts))
    return read, {"logprobs": combined(answers, steps, len(cu) - 1)}


def check(model: LoadedModel, given: list[list[int]]) -> list[Node]:
    answers = [tuple(answer) for answer in given]
    for index, answer in enumerate(answers):
        if not answer:
            raise BadArguments(f"choices: choices[{index}] has no tokens")
        outside = [token for token in answer if token >= model.vocabulary]
        if outside:
            raise BadArguments(
                f"choices: choices[{index}] has the token {outside[0]}, outside the vocabulary "
                f"(0..{model.vocabulary - 1})"
            )
    if len(set(answers)) < len(answers):
        raise BadArguments("choices: two of them are the same tokens, and can't be told apart")
    return answers


def next_logprobs(
    model: LoadedModel,
    arguments: Choices,
    ids: np.ndarray,
    cu: np.ndarray,
    node: Node,
    tokens: list[int],
    context: Context,
) -> tuple[dict[int, np.ndarray], int]:
    """Log-probabilities float32 [N] of each of `tokens` behind every sequence and `node`; and how
    many tokens were read.
    """
    behind = np.array([*node, tokens[0]], np.int32)  # the last one is predicted, not read
    count = len(cu) - 1
    longer_cu = (cu + np.arange(count + 1) * len(behind)).astype(cu.dtype)
    longer = np.insert(ids, np.repeat(cu[1:], len(behind)), np.tile(behind, count))
    last = longer_cu[1:] - 1
    chosen = np.zeros(len(longer), bool)
    chosen[last] = True
    row_of = np.zeros(len(longer), np.int64)
    row_of[last] = np.arange(count)
    wanted = torch.tensor(tokens, device=model.device)
    found = np.zeros((count, len(tokens)), np.float32)
    limit = arguments.micro_batch_tokens
    exact = limit is None and model.device.type == "cpu"
    for batch in (
        plan_fixed(model, longer, longer_cu)
        if exact
        else plan(model, longer, longer_cu, chosen, limit)
    ):
        context.check()
        for chosen_here, logits in logits_of_batch(model, batch):
            logprobs = (logits.float() / arguments.temperature).log_softmax(1)
            found[row_of[chosen_here.cpu().numpy()]] = logprobs[:, wanted].cpu().numpy()
    return dict(zip(tokens, found.T, strict=True)), len(longer) - count


def logits_of_batch(model: LoadedModel, batch: MicroBatch) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields parts of a micro-batch's chosen tokens and their logits [M, V], as many at once as
    memory is planned for: of short sequences a micro-batch has thousands.
    """
    if not model.splits_head:
        with model.autocast():
            logits = model.logits_at(batch.ids, batch.positions)
        yield batch.tokens, logits
        return
    head, size = model.base.get_output_embeddings(), head_rows(model)
    with model.autocast():
        hidden = model.hidden_at(batch.ids, batch.positions)
    for rows, tokens in zip(hidden.split(size), batch.tokens.split(size), strict=True):
        with model.autocast():
            logits = logits_of(head, rows)
        yield tokens, logits


def combined(
    answers: list[Node], steps: dict[Node, dict[int, np.ndarray]], count: int
) -> np.ndarray:
    """The chain rule along each answer; float32 [N, C]."""
    result = np.zeros((count, len(answers)), np.float32)
    for index, answer in enumerate(answers):
        total = np.zeros(count, np.float64)
        for k, token in enumerate(answer):
            total += steps[answer[:k]][token]
        if answer in steps:
            others = np.exp(np.stack(list(steps[answer].values())).astype(np.float64)).sum(0)
            total += np.log(np.clip(1 - others, 1e-12, None))
        result[:, index] = total
    return result
