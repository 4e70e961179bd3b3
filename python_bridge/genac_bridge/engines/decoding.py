"""The sampling loop: batches of left-padded prompts, a cache that grows, rows dropped as they
finish.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..models.model import LoadedModel, largest
from ..models.ways import Way
from ..wire.context import OperationError
from .endings import Endings
from .engine import REASONS, Completion, GenerationRequest, Progress
from .random import uniforms
from .rows import Rows
from .sampling import pick

#: Rows are dropped from the batch once this part of it has finished: dropping copies the cache,
#: keeping computes for nothing.
DROP_AT = 0.125
#: Uniform draws are made for so many positions at once.
DRAWS = 64

#: Indices of `REASONS`.
STOP_TOKEN, STOP_STRING = 1, 2


class Stops:
    """What ends a completion of `model`."""

    def __init__(self, model: LoadedModel, request: GenerationRequest) -> None:
        tokens = torch.zeros(model.vocabulary, dtype=torch.bool)
        tokens[list(request.options.stop_tokens)] = True
        #: bool [V]
        self.tokens = tokens.to(model.device)
        self.strings = Endings(model, request)


def choose_batch_size(model: LoadedModel, prompt: int, new_tokens: int, per_prompt: int) -> int:
    """Returns how many rows are decoded at once: as many as keep the cache and the reading of the
    prompts within a part of the memory, and no more than still gain speed.

    `prompt`: tokens of the longest prompt; each is read once for its `per_prompt` rows.
    """
    config = model.config
    hidden = largest(config, "hidden_size") or 1024
    attention_heads = largest(config, "num_attention_heads") or 1
    heads = largest(config, "num_key_value_heads") or attention_heads
    head_width = largest(config, "head_dim") or hidden // attention_heads
    size = 2 if model.dtype == torch.bfloat16 else 4
    cached = (
        2
        * (largest(config, "num_hidden_layers") or 1)
        * heads
        * head_width
        * (prompt + new_tokens)
        * size
    )
    # One layer's activations at a time: hidden states, queries and the like, and the MLP's three.
    inner = largest(config, "intermediate_size") or 4 * hidden
    read = prompt * (6 * hidden + 3 * inner) * size // (per_prompt if model.way.selects else 1)
    if not model.way.cached:
        # All of every row is read at once, for each token.
        logits = 0 if model.splits_head else model.vocabulary
        cached, read = 0, (prompt + new_tokens) * (6 * hidden + 3 * inner + logits) * size
    if model.device.type == "cuda":
        return int(
            min(1024, max(1, torch.cuda.mem_get_info(model.device)[0] // 3 // (cached + read)))
        )
    return int(min(512, max(8, 2**31 // (cached + read))))


class Batch:
    """One batch of the request's sequences, `numbers` int [B], decoded until all of them have
    finished. Where rows can be selected, each prompt is read once and its state copied.
    """

    def __init__(
        self,
        model: LoadedModel,
        request: GenerationRequest,
        stops: Stops,
        numbers: np.ndarray,
    ) -> None:
        self.model, self.stops, self.numbers = model, stops, numbers
        self.options, self.progress = request.options, request.progress
        self.total = len(request.seeds)
        self.seeds = request.seeds[numbers]
        prompts = numbers // request.per_prompt
        self.limits = request.limits[prompts]
        self.longest = int(self.limits.max())
        distinct, owners = np.unique(prompts, return_inverse=True)
        given = [request.prompts[prompt] for prompt in distinct]
        self.rows = Rows(model, model.way, given, owners, self.longest)

    def run(self) -> None:
        options, stops, device = self.options, self.stops, self.model.device
        logits = self.rows.read_prompts()
        self.progress.padding += self.rows.padding
        count = len(self.numbers)
        all_tokens = torch.zeros(count, self.longest, dtype=torch.int64, device=device)
        all_logprobs = torch.zeros(count, self.longest, device=device)
        lengths = np.zeros(count, np.int64)
        reasons = np.zeros(count, np.int64)
        alive = np.arange(count)  # which sequence of the batch each row of the cache is
        alive_rows = torch.arange(count, device=device)
        finished = np.zeros(count, bool)
        draws: Tensor | None = None
        for step in range(self.longest):
            self.progress.context.check()
            if options.temperature > 0:
                if step % DRAWS == 0:
                    draws = torch.from_numpy(
                        uniforms(self.seeds[alive], step, min(DRAWS, self.longest - step)).T.copy()
                    ).to(device)
                assert draws is not None
            uniform = draws[step % DRAWS] if draws is not None else None
            tokens, logprobs = pick(
                logits, uniform, options.temperature, options.top_k, options.top_p
            )
            if len(alive) == count:
                all_tokens[:, step], all_logprobs[:, step] = tokens, logprobs
            else:
                all_tokens[alive_rows, step], all_logprobs[alive_rows, step] = tokens, logprobs
            by_token = stops.tokens[tokens].cpu().numpy() & ~finished
            newly = by_token
            if stops.strings.may_end is not None:
                newly = by_token | self._stopped(
                    tokens, all_tokens, alive, finished | by_token, step
                )
            newly = newly | (~finished & (self.limits[alive] == step + 1))
            if newly.any():
                ended = alive[newly]
                lengths[ended] = step + 1
                reasons[alive[by_token]] = STOP_TOKEN
                if stops.strings.may_end is not None:
                    by_string = newly & ~by_token
                    reasons[[i for i in alive[by_string] if self._ended(i, all_tokens, step)]] = (
                        STOP_STRING
                    )
                finished = finished | newly
                self._hand_over(ended, all_tokens, all_logprobs, lengths, reasons)
                remaining = int((~finished).sum())
                if remaining == 0:
                    break
                if self.model.way.selects and len(alive) - remaining >= max(
                    1, DROP_AT * len(alive)
                ):
                    keep = torch.from_numpy(np.flatnonzero(~finished)).to(device)
                    self.rows.keep(keep)
                    tokens = tokens[keep]
                    alive_rows = alive_rows[keep]
                    draws = draws[:, keep] if draws is not None else None
                    alive, finished = alive[~finished], np.zeros(remaining, bool)
            self.progress.padding += int(finished.sum())
            logits = self.rows.read_token(tokens)
            self.progress.context.progress(
                min(
                    1.0,
                    (
                        len(self.progress.finished)
                        + (len(alive) - finished.sum()) * (step + 1) / self.longest
                    )
                    / self.total,
                )
            )

    def _stopped(
        self,
        tokens: Tensor,
        all_tokens: Tensor,
        alive: np.ndarray,
        skip: np.ndarray,
        step: int,
    ) -> np.ndarray:
        """Returns bool [rows]: the rows whose text holds a stop string now."""
        found = np.zeros(len(alive), bool)
        may_end = self.stops.strings.may_end
        assert may_end is not None
        for row in np.flatnonzero(may_end[tokens.cpu().numpy()] & ~skip):
            found[row] = self._ended(alive[row], all_tokens, step)
        return found

    def _ended(self, i: int, all_tokens: Tensor, step: int) -> bool:
        new = all_tokens[i, : step + 1].tolist()
        return self.stops.strings.ended(int(self.numbers[i]), new)

    def _hand_over(
        self,
        ended: np.ndarray,
        tokens: Tensor,
        logprobs: Tensor,
        lengths: np.ndarray,
        reasons: np.ndarray,
    ) -> None:
        rows = torch.from_numpy(ended).to(tokens.device)
        longest = int(lengths[ended].max())
        ids = tokens[rows, :longest].to(torch.int32).cpu().numpy()
        logs = logprobs[rows, :longest].cpu().numpy()
        done = [
            Completion(ids[k, : lengths[i]], logs[k, : lengths[i]], REASONS[reasons[i]])
            for k, i in enumerate(ended)
        ]
        numbers = [int(n) for n in self.numbers[ended]]
        hand_over(self.model, self.progress, numbers, done)


def hand_over(
    model: LoadedModel, progress: Progress, numbers: list[int], done: list[Completion]
) -> None:
    """Reports sequences that have finished. Raises `OperationError` for broken weights."""
    if not all(np.isfinite(completion.logprobs).all() for completion in done):
        raise OperationError(
            "internal",
            f"sample: model {model.name!r} gives probabilities that are not finite; its "
            "weights are broken",
        )
    progress.finish(numbers, done)


def batches(way: Way, order: np.ndarray, lengths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields sequences `order`, sorted by their prompts' `lengths`, in parts of at most `size` that
    the way can take.
    """
    groups = [order] if way.pads else np.split(order, np.flatnonzero(np.diff(lengths)) + 1)
    for group in groups:
        for start in range(0, len(group), min(size, way.rows or size)):
            yield group[start : start + min(size, way.rows or size)]


@torch.inference_mode()
def generate(model: LoadedModel, request: GenerationRequest) -> list[Completion]:
    """Returns the completions of a request, in order."""
    per_prompt = request.per_prompt
    lengths = np.array([len(p) for p in request.prompts], dtype=np.int64)
    # Prompts of like length go together, so that little is padding.
    order = np.repeat(np.argsort(lengths, kind="stable"), per_prompt) * per_prompt + np.tile(
        np.arange(per_prompt), len(lengths)
    )
    if len(order) == 0:
        return []
    size = request.batch_size or choose_batch_size(
        model, int(lengths.max()), request.options.max_new_tokens, per_prompt
    )
    stops = Stops(model, request)
    for numbers in batches(model.way, order, lengths[order // per_prompt], size):
        with model.autocast():
            Batch(model, request, stops, numbers).run()
    return [request.progress.finished[i] for i in range(len(order))]
