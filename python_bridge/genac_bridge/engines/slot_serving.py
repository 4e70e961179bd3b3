"""Serves a model from a copy of its weights, in slots that are kept between requests."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..models import memory
from ..models.model import LoadedModel, largest
from .engine import Completion, GenerationRequest
from .fused import fuse
from .serving_copy import ServingCopy
from .slot_attention import why_not_by_length
from .slot_cache import planned_bytes
from .slot_decoding import FEWEST, SlotDecoder
from .slots import COLUMNS, Slots, rounded_up

#: Tokens of prompts that are read at once, and rows that are decoded at once, at most.
MOST_READ, MOST_ROWS = 2**16, 1024
#: Without a GPU.
CPU_READ, CPU_BYTES = 2**11, 2**32
#: Parts of the memory beside the weights: for keys, values and logits of the rows, and for reading
#: prompts.
ROWS_PART, READ_PART = 0.6, 0.3
#: Part of the memory, and recorded steps, that the slots of a model may hold while others work:
#: less than the plans leave over. To make and record few rows again takes longer than to sample.
KEPT_PART, MOST_GRAPHS = 0.02, 64
#: What drawing a token holds for each logit: itself, its log-prob and probability, and their parts.
LOGIT_BYTES = 16


class SlotServing:
    """The copy, the slots, and what was recorded of the steps in them."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.copy = ServingCopy(model)
        self.slots: Slots | None = None
        #: Record decoding steps, where the device can.
        self.capture = True
        width = largest(model.config, "head_dim") or (
            model.config.hidden_size // model.config.num_attention_heads
        )
        reason = why_not_by_length(model.device, model.dtype, width)
        self.by_length = reason is None
        self._fused = False
        if reason is not None and model.device.type == "cuda":
            print(f"sampling: attention by masks: {reason}", file=sys.stderr, flush=True)

    def publish(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        self.copy.publish(weights)
        if not self._fused:
            self._fused = True
            fuse(self.copy.network, self.by_length)

    @torch.inference_mode()
    def generate(self, request: GenerationRequest) -> list[Completion]:
        """Returns the completions of a request, in order."""
        count = len(request.seeds)
        if count == 0:
            return []
        lengths = np.array([len(prompt) for prompt in request.prompts])
        columns = rounded_up(int((lengths + request.limits).max()), COLUMNS)
        most = self.most_rows(columns)
        rows = min(count, request.batch_size or most)
        if self.slots is None or self.slots.rows < rows or self.slots.columns < columns:
            self.slots = None
            room = max(rows, min(rounded_up(rows, FEWEST), most))
            self.slots = Slots(self.copy, room, columns, self.by_length, self.capture)
        try:
            SlotDecoder(self._model, self.slots, request, rows, self.most_read()).run()
        except BaseException:
            # Numbers that are not finite may lie in it, and rows of this request.
            self.slots = None
            raise
        return [request.progress.finished[number] for number in range(count)]

    def release(self, small_too: bool) -> None:
        """Frees the cache and what was recorded, and the next request makes them again. A small
        cache of a GPU is kept unless `small_too`.
        """
        total = memory.device_bytes(self._model.device)
        slots, self.slots = self.slots, None
        if small_too or total is None or slots is None or len(slots.recorded) > MOST_GRAPHS:
            return
        takes = slots.rows * self._row_bytes(slots.columns)
        if takes <= KEPT_PART * memory.share(self._model) * total:
            self.slots = slots

    def _row_bytes(self, columns: int) -> int:
        """Returns what a row takes: keys, values and logits."""
        kept = planned_bytes(self._model.config, 1, columns, self.copy.dtype)
        return kept + LOGIT_BYTES * self._model.vocabulary

    def most_rows(self, columns: int) -> int:
        """Returns how many rows are decoded at once: as many as their part of the memory holds."""
        each = self._row_bytes(columns)
        return max(1, min(MOST_ROWS, int(self._left() * ROWS_PART) // each))

    def most_read(self) -> int:
        """Returns how many tokens of prompts are read at once."""
        hidden = largest(self._model.config, "hidden_size") or 1024
        inner = largest(self._model.config, "intermediate_size") or 4 * hidden
        each = (6 * hidden + 3 * inner) * self.copy.dtype.itemsize
        most = MOST_READ if self._model.device.type == "cuda" else CPU_READ
        return max(512, min(most, int(self._left() * READ_PART) // each))

    def _left(self) -> int:
        """Returns the bytes beside the weights of all models of this process. It does not depend
        on the moment, and nor does the size of a batch.
        """
        model = self._model
        total = memory.device_bytes(model.device)
        if total is None:
            return CPU_BYTES
        return memory.left(model, total, memory.others(model.device, model.name))
