"""Rows in slots: prompts that are read into them, and a decoding step over all of them.

All that a step reads and writes lies in the same place at every step, so that on CUDA it is
recorded once as a graph and replayed: launching its thousand kernels one by one from Python takes
longer than running them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..models.head import logits_of
from ..models.ragged import pad
from . import slot_attention
from .sampling import pick
from .serving_copy import ServingCopy
from .slot_cache import Reading, SlotCache, Writing

#: Steps between two looks at what was drawn.
LOOK = 8
#: Columns by which the part of the room that is attended to grows, where kernels take a mask.
COLUMNS = 128


#: Without cuDNN's, which is built anew for every shape.
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass(frozen=True)
class Draw:
    """How tokens are drawn; see `Options`."""

    temperature: float
    top_k: int | None
    top_p: float | None


@dataclass
class Step:
    """A decoding step over the first slots, as `slot_attention.Lengths` has it."""

    by_length: bool
    used: Tensor


def rounded_up(count: int, least: int) -> int:
    """Returns the room for `count` columns or rows: a multiple of `least`, or of an eighth of it
    where that is more, so that there are few sizes.
    """
    unit = max(least, 2 ** max(0, (count - 1).bit_length() - 4))
    return -(-count // unit) * unit


class Slots:
    """`rows` slots of `columns` tokens each. `capture`: record the step where the device can.

    `by_length`: Triton's kernels work, so attention takes lengths and a step costs what its rows
    have read; else it takes a mask over a part of the room.
    """

    def __init__(
        self, serving: ServingCopy, rows: int, columns: int, by_length: bool, capture: bool
    ) -> None:
        self.serving, self.rows, self.columns = serving, rows, columns
        self.by_length = by_length
        self.device = next(serving.network.parameters()).device
        self.cache = SlotCache(serving.config.num_hidden_layers, rows, columns)
        self.backbone = serving.network.base_model
        self.head = serving.network.get_output_embeddings()

        def numbers(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        #: The token that each row reads next, the column and position that it gets, and the last
        #: one that a row ever gets: one that has finished stays there until it leaves.
        self.tokens, self.positions, self.last = numbers(rows), numbers(rows), numbers(rows)
        #: Steps since the last look, and by it: uniforms, tokens and their log-probabilities.
        self.turn = numbers(1)
        self.draws = numbers(LOOK, rows, dtype=torch.float64)
        self.drawn = numbers(LOOK, rows)
        self.logprobs = numbers(LOOK, rows, dtype=torch.float32)
        self._begins = torch.arange(rows, device=self.device) * columns
        self._all_columns = torch.arange(columns, device=self.device)
        self.recorded: dict[Any, torch.cuda.CUDAGraph | None] = {}
        self._pool = torch.cuda.graph_pool_handle() if capture and self.on_cuda else None
        self._tried: set[Any] = set()

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def send(self, array: np.ndarray) -> Tensor:
        """Returns an array on the device. The host does not wait."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.on_cuda else tensor

    def read(
        self, prompts: list[np.ndarray], owners: np.ndarray, slots: np.ndarray, last: np.ndarray
    ) -> Tensor:
        """Reads distinct prompts; row i, of prompt `owners[i]`, gets the slot `slots[i]` and may
        reach position `last[i]`. Returns the logits [rows, V] after each row's prompt.
        """
        lengths = np.array([len(prompt) for prompt in prompts])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        ids = self.send(pad(np.concatenate(prompts), starts, lengths, left=False))
        as_read = len(owners) == len(prompts) and bool((owners == np.arange(len(owners))).all())
        of_rows = self.send(owners)
        where = self.send(slots)
        self.cache.begin(Reading(where, None if as_read else of_rows))
        slot_attention.current.step = None
        with sdpa_kernel(KERNELS):
            hidden = self.backbone(
                input_ids=ids, past_key_values=self.cache, use_cache=True
            ).last_hidden_state
        ends = self.send(np.arange(len(prompts)) * ids.shape[1] + lengths - 1)
        logits = logits_of(self.head, hidden.flatten(0, 1).index_select(0, ends))
        self.positions.index_copy_(0, where, self.send(lengths[owners]))
        self.last.index_copy_(0, where, self.send(last))
        return logits if as_read else logits.index_select(0, of_rows)

    def logits(self, rows: int, columns: int) -> Tensor:
        """Reads the next token of the first `rows` rows; returns the logits [rows, V] after it."""
        positions = self.positions[:rows]
        mask = None
        if not self.by_length:
            beyond = self._all_columns[:columns] > positions[:, None]
            zeros = torch.zeros_like(beyond, dtype=self.serving.dtype)
            mask = zeros.masked_fill_(beyond, -torch.inf)[:, None, None]
        self.cache.begin(Writing(rows, columns, self._begins[:rows] + positions))
        slot_attention.current.step = Step(self.by_length, (positions + 1).int())
        try:
            with sdpa_kernel(KERNELS):
                hidden = self.backbone(
                    input_ids=self.tokens[:rows, None],
                    position_ids=positions[:, None],
                    attention_mask=mask,
                    past_key_values=self.cache,
                    use_cache=True,
                ).last_hidden_state
        finally:
            slot_attention.current.step = None
        return logits_of(self.head, hidden[:, -1])

    def choose(self, logits: Tensor, uniform: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Returns the tokens int64 [rows] and log-probabilities float32 [rows] that `uniform`
        float64 [rows] draws from logits [rows, V].
        """
        plain = draw.top_k is None and (draw.top_p is None or draw.top_p >= 1.0)
        if self.by_length and plain and draw.temperature > 0:
            from . import draw_kernels  # Triton is only where CUDA is

            return draw_kernels.draw(logits.float(), uniform, draw.temperature)
        uniforms = None if draw.temperature == 0 else uniform
        return pick(logits, uniforms, draw.temperature, draw.top_k, draw.top_p)

    def _step(self, rows: int, columns: int, draw: Draw) -> None:
        logits = self.logits(rows, columns)
        uniform = self.draws[:, :rows].index_select(0, self.turn)[0]
        tokens, logprobs = self.choose(logits, uniform, draw)
        self.drawn[:, :rows].index_copy_(0, self.turn, tokens[None])
        self.logprobs[:, :rows].index_copy_(0, self.turn, logprobs[None])
        self.tokens[:rows].copy_(tokens)
        self.positions[:rows].add_(1)
        torch.minimum(self.positions[:rows], self.last[:rows], out=self.positions[:rows])
        self.turn.add_(1)

    def step(self, rows: int, columns: int, draw: Draw) -> None:
        """Every one of the first `rows` rows reads its token and draws the next, within the first
        `columns` columns; the draws are in row `turn` of `draws`, and so is what was drawn.
        """
        columns = self.columns if self.by_length else min(columns, self.columns)
        key = (rows, columns, draw)
        if self._pool is None or key not in self.recorded:
            # The first is not recorded: libraries set themselves up in it.
            self.recorded[key] = None
            self._step(rows, columns, draw)
            return
        if self.recorded[key] is None and key not in self._tried:
            self._tried.add(key)
            self.recorded[key] = self._record(rows, columns, draw)
        graph = self.recorded[key]
        if graph is None:
            self._step(rows, columns, draw)
        else:
            graph.replay()

    def _record(self, rows: int, columns: int, draw: Draw) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                self._step(rows, columns, draw)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            print(
                f"sampling: a decoding step could not be recorded and is launched kernel by "
                f"kernel: {str(error).splitlines()[0]}",
                file=sys.stderr,
                flush=True,
            )
            return None
        finally:
            # A capture that fails does not leave its stream by itself.
            torch.cuda.set_stream(stream)
        return graph

    def move(self, sources: np.ndarray, targets: np.ndarray, columns: int) -> None:
        """Rows leave the slots `sources` for the slots `targets`, with `columns` of their room."""
        source, target = self.send(sources), self.send(targets)
        self.cache.move(source, target, columns)
        for numbers in (self.tokens, self.positions, self.last):
            numbers.index_copy_(0, target, numbers.index_select(0, source))
