"""Sampling in slots: a row that has finished leaves its slot to the next sequence, and the host
looks every few steps, while the device is already at the next ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models.model import LoadedModel
from .decoding import hand_over
from .endings import Endings
from .engine import REASONS, Completion, GenerationRequest
from .random import uniforms
from .slots import COLUMNS, LOOK, Draw, Slots, rounded_up

#: Free slots are filled once they are this part of all: reading few prompts costs nearly what
#: reading many does.
FILL_AT = 0.125
#: Fewest rows of a step; fewer take as long.
FEWEST = 8


@dataclass
class Block:
    """Tokens that the device draws, or has drawn: `steps` for each of the sequences `numbers`."""

    numbers: np.ndarray
    #: Tokens that each sequence had before, int64 [rows].
    before: np.ndarray
    steps: int
    #: [steps, rows]; on the host once `ready`.
    tokens: Tensor
    logprobs: Tensor
    ready: Any
    #: Rows that the step computed.
    computed: int


class SlotDecoder:
    """Decodes one request's sequences, which `order` names by their place in it.

    `read`: tokens of prompts that are read at once.
    """

    def __init__(
        self, model: LoadedModel, slots: Slots, request: GenerationRequest, rows: int, read: int
    ) -> None:
        self.model, self.slots, self.request = model, slots, request
        self.most_read = read
        options = request.options
        self.draw = Draw(options.temperature, options.top_k, options.top_p)
        self.is_stop = np.zeros(model.vocabulary, bool)
        self.is_stop[list(options.stop_tokens)] = True
        self.strings = Endings(model, request)
        count = len(request.seeds)
        self.owner = np.arange(count) // request.per_prompt
        self.lengths = np.array([len(prompt) for prompt in request.prompts], np.int64)
        self.limits = request.limits[self.owner]
        #: Prompts of like length are read together, so that little is padding.
        self.pending = deque(np.argsort(self.lengths[self.owner], kind="stable").tolist())
        #: By sequence: tokens that the device has drawn or will have, and those the host has.
        self.launched = np.zeros(count, np.int64)
        self.parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        #: By slot, the sequence in it; -1: none.
        self.at = np.full(rows, -1, np.int64)
        self.blocks: deque[Block] = deque()

    def run(self) -> None:
        while True:
            self.request.progress.context.check()
            self.fill()
            launched = self.launch()
            if not self.blocks:
                return
            while len(self.blocks) > launched:
                self.take(self.blocks.popleft())

    def fill(self) -> None:
        """Gives free slots to the sequences that wait for one."""
        free = np.flatnonzero(self.at < 0)
        running = len(self.at) - len(free)
        if not self.pending or (running and len(free) < max(1, FILL_AT * len(self.at))):
            return
        chosen = [self.pending.popleft() for _ in range(min(len(free), len(self.pending)))]
        start = 0
        while start < len(chosen):
            end, prompts = start, set[int]()
            while end < len(chosen):
                prompts.add(int(self.owner[chosen[end]]))
                # They are sorted: the last is the longest.
                if end > start and (
                    len(prompts) * self.lengths[self.owner[chosen[end]]] > self.most_read
                ):
                    break
                end += 1
            self.read(np.array(chosen[start:end]), free[start:end])
            start = end

    def read(self, numbers: np.ndarray, slots: np.ndarray) -> None:
        """Reads the prompts of these sequences into these slots and draws their first tokens."""
        self.request.progress.context.check()
        distinct, owners = np.unique(self.owner[numbers], return_inverse=True)
        prompts = [self.request.prompts[prompt] for prompt in distinct]
        lengths = self.lengths[distinct]
        self.request.progress.padding += int(len(lengths) * lengths.max() - lengths.sum())
        reach = self.lengths[self.owner[numbers]] + self.limits[numbers] - 1
        logits = self.slots.read(prompts, owners, slots, reach)
        uniform = self.slots.send(uniforms(self.request.seeds[numbers], 0, 1)[:, 0])
        tokens, logprobs = self.slots.choose(logits, uniform, self.draw)
        self.slots.tokens.index_copy_(0, self.slots.send(slots), tokens)
        self.at[slots] = numbers
        self.push(numbers, 1, tokens[None], logprobs[None], len(numbers))

    def launch(self) -> int:
        """Starts the next steps of all rows; 1 if there are any."""
        self.gather()
        here = np.flatnonzero(self.at >= 0)
        numbers = self.at[here]
        left = self.limits[numbers] - self.launched[numbers] if len(here) else np.zeros(0)
        if not (left > 0).any():
            return 0
        steps, slots = int(min(LOOK, left.max())), self.slots
        rows = bucket(int(here[-1]) + 1, slots.rows)
        draws = np.zeros((LOOK, rows))
        if self.draw.temperature > 0:
            seeds, starts = self.request.seeds[numbers], self.launched[numbers]
            draws[:steps, here] = uniforms(seeds, starts, steps).T
        slots.draws[:, :rows].copy_(slots.send(draws), non_blocking=True)
        slots.turn.zero_()
        reach = (self.lengths[self.owner[numbers]] + self.launched[numbers]).max() + steps
        for _ in range(steps):
            slots.step(rows, rounded_up(int(reach), COLUMNS), self.draw)
        where = slots.send(here)
        self.push(
            numbers,
            steps,
            slots.drawn[:steps].index_select(1, where),
            slots.logprobs[:steps].index_select(1, where),
            rows,
        )
        return 1

    def push(
        self, numbers: np.ndarray, steps: int, tokens: Tensor, logprobs: Tensor, computed: int
    ) -> None:
        before = self.launched[numbers]
        self.launched[numbers] = before + steps
        tokens, logprobs = (p.to("cpu", non_blocking=True) for p in (tokens, logprobs))
        ready = torch.cuda.Event() if self.slots.on_cuda else None
        if ready is not None:
            ready.record()
        self.blocks.append(Block(numbers, before, steps, tokens, logprobs, ready, computed))

    def gather(self) -> None:
        """Moves the rows together once half as many slots would hold them."""
        here = np.flatnonzero(self.at >= 0)
        if self.pending or len(here) == 0:
            return
        fewer = bucket(len(here), self.slots.rows)
        beyond = here[here >= fewer]
        if len(beyond) == 0:
            return
        free = np.flatnonzero(self.at[:fewer] < 0)[: len(beyond)]
        numbers = self.at[beyond]
        columns = int((self.lengths[self.owner[numbers]] + self.launched[numbers]).max())
        self.slots.move(beyond, free, min(columns, self.slots.columns))
        self.at[free], self.at[beyond] = numbers, -1

    def take(self, block: Block) -> None:
        """Looks at what was drawn: which sequences have finished, and why."""
        if block.ready is not None:
            block.ready.synchronize()
        tokens, logprobs = block.tokens.numpy().T, block.logprobs.numpy().T
        progress = self.request.progress
        useful = 0
        ended: list[int] = []
        done: list[Completion] = []
        stops = self.is_stop[tokens]
        for row, number in enumerate(block.numbers.tolist()):
            if number in progress.finished:
                continue
            before = int(block.before[row])
            count, reason = self.end(number, before, tokens[row], stops[row])
            useful += count
            parts = self.parts.setdefault(number, [])
            parts.append((tokens[row, :count], logprobs[row, :count]))
            if reason is not None:
                ended.append(number)
                ids, logs = (np.concatenate(kind) for kind in zip(*parts, strict=True))
                done.append(Completion(ids.astype(np.int32), logs.copy(), REASONS[reason]))
                del self.parts[number]
        progress.padding += block.computed * block.steps - useful
        if ended:
            self.at[np.isin(self.at, ended)] = -1
            hand_over(self.model, progress, ended, done)
        alive = self.at[self.at >= 0]
        part = (self.launched[alive] / self.limits[alive]).sum()
        progress.context.progress(min(1.0, (len(progress.finished) + part) / len(self.owner)))

    def end(
        self, number: int, before: int, tokens: np.ndarray, stops: np.ndarray
    ) -> tuple[int, int | None]:
        """Returns how many of a sequence's new tokens belong to it, and the index of the reason why
        it ended; None: it goes on.
        """
        left = int(self.limits[number]) - before
        found = np.flatnonzero(stops[:left])
        count = int(found[0]) + 1 if len(found) else min(left, len(tokens))
        reason = 1 if len(found) else (0 if count == left else None)
        may_end = self.strings.may_end
        if may_end is not None:
            given = [t for part, _ in self.parts.get(number, []) for t in part.tolist()]
            for step in range(count - (reason == 1)):
                given.append(int(tokens[step]))
                if may_end[tokens[step]] and self.strings.ended(number, given):
                    return step + 1, 2
        return count, reason


def bucket(rows: int, most: int) -> int:
    """Returns the rows of the step that decodes `rows`: all, a half of them, a quarter, ..."""
    size = most
    while size // 2 >= max(rows, FEWEST):
        size = -(-size // 2)
    return size
