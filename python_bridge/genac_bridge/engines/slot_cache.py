"""Keys and values in slots of fixed room: one slot for each row that is being decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


@dataclass
class Reading:
    """Prompts that are read: prompt `owners[i]` goes into slot `slots[i]`; int64 [rows] each."""

    slots: Tensor
    #: None: prompt i goes into slot `slots[i]`.
    owners: Tensor | None


@dataclass
class Writing:
    """A decoding step over the first `rows` slots and `columns` columns."""

    rows: int
    columns: int
    #: int64 [rows]: where each row's new token goes, slots laid end to end.
    places: Tensor


class SlotLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """Keys and values [slots, columns, heads, width]: a token's numbers lie together."""

    def __init__(self, slots: int, columns: int) -> None:
        super().__init__()
        self.slots, self.columns = slots, columns
        self.now: Reading | Writing | None = None
        self.room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes keys and values [rows, heads, tokens, width]; returns those to attend to."""
        states = (key_states, value_states)
        if self.room is None:
            # Zeros: what no row has written yet is multiplied by 0, and must be finite for that.
            self.room = tuple(  # type: ignore[assignment]  # of two
                s.new_zeros((self.slots, self.columns, s.shape[1], s.shape[3])) for s in states
            )
            self.is_initialized = True
        assert self.room is not None
        now = self.now
        if isinstance(now, Reading):
            for room, state in zip(self.room, states, strict=True):
                part = state.transpose(1, 2)
                if now.owners is not None:
                    part = part.index_select(0, now.owners)
                room[:, : part.shape[1]].index_copy_(0, now.slots, part)
            return states
        assert now is not None
        seen = []
        for room, state in zip(self.room, states, strict=True):
            part = state.transpose(1, 2).flatten(0, 1)
            room.flatten(0, 1).index_copy_(0, now.places, part)
            seen.append(room[: now.rows, : now.columns].transpose(1, 2))
        return seen[0], seen[1]

    def move(self, sources: Tensor, targets: Tensor, columns: int) -> None:
        """Copies the first `columns` of slots `sources` into slots `targets`."""
        for room in self.room or ():
            room[:, :columns].index_copy_(0, targets, room[:, :columns].index_select(0, sources))

    def get_seq_length(self) -> int:
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def bytes(self) -> int:
        return sum(room.nbytes for room in self.room or ())


class SlotCache(Cache):  # type: ignore[misc]  # transformers is not typed
    """A layer of slots for each layer of the network."""

    def __init__(self, layers: int, slots: int, columns: int) -> None:
        super().__init__(layers=[SlotLayer(slots, columns) for _ in range(layers)])

    def begin(self, now: Reading | Writing) -> None:
        """Says what the next pass of the network does."""
        for layer in self.layers:
            layer.now = now

    def move(self, sources: Tensor, targets: Tensor, columns: int) -> None:
        for layer in self.layers:
            layer.move(sources, targets, columns)

    def bytes(self) -> int:
        """Returns the bytes that it holds; 0 before the first prompt."""
        return sum(layer.bytes() for layer in self.layers)


def planned_bytes(config: Any, slots: int, columns: int, dtype: torch.dtype) -> int:
    """Returns the bytes of a cache of this size, from the config alone."""
    heads = config.num_attention_heads
    kv = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    size = torch.empty(0, dtype=dtype).element_size()
    return int(2 * config.num_hidden_layers * kv * width * slots * columns * size)
