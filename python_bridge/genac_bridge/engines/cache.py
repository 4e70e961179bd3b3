"""A key-value cache that grows in place. Transformers' own copies every key at every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

#: Columns added when a layer is full.
GROWTH = 64


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """Keys and values [batch, heads, length, width]: views of buffers with room for more."""

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized: bool = False
        self.length = 0
        self.key_buffer: Tensor = torch.empty(0)
        self.value_buffer: Tensor = torch.empty(0)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        start, end = self.length, self.length + key_states.shape[-2]
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.key_buffer = self._room(key_states, end)
            self.value_buffer = self._room(value_states, end)
            self.is_initialized = True
        elif end > self.key_buffer.shape[-2]:
            keys, values = self.key_buffer, self.value_buffer
            self.key_buffer = self._room(keys, end)
            self.value_buffer = self._room(values, end)
            self.key_buffer[:, :, :start] = keys[:, :, :start]
            self.value_buffer[:, :, :start] = values[:, :, :start]
        self.key_buffer[:, :, start:end] = key_states
        self.value_buffer[:, :, start:end] = value_states
        self.length = end
        self.keys, self.values = self.key_buffer[:, :, :end], self.value_buffer[:, :, :end]
        return self.keys, self.values

    @staticmethod
    def _room(like: Tensor, length: int) -> Tensor:
        return like.new_empty((like.shape[0], like.shape[1], length + GROWTH, like.shape[3]))

    def get_seq_length(self) -> int:
        return self.length

    def reorder_cache(self, indices: Tensor) -> None:
        """Keeps these rows, in this order; a row may be named more than once."""
        if not self.is_initialized:
            return
        for name in ("key_buffer", "value_buffer"):
            old = getattr(self, name)
            new = old.new_empty((len(indices), *old.shape[1:]))
            new[:, :, : self.length] = old[:, :, : self.length].index_select(0, indices)
            setattr(self, name, new)
        self.keys, self.values = (
            self.key_buffer[:, :, : self.length],
            self.value_buffer[:, :, : self.length],
        )


def make_cache(config: Any) -> tuple[DynamicCache, bool]:
    """Returns an empty cache for the architecture, and whether all its layers attend to everything
    (no sliding windows, no recurrent states).
    """
    cache = DynamicCache(config=config)
    plain = len(cache.layers) > 0 and all(type(layer) is DynamicLayer for layer in cache.layers)
    if plain:
        cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache, plain


def select_rows(state: Any, rows: Tensor) -> Any:
    """Returns the state of these rows, in this order; a row may be named more than once.

    `state`: a cache, changed in place, or tensors [batch, ...] in lists, tuples and dicts. Raises
    `TypeError` for anything else.
    """
    if isinstance(state, Cache):
        if type(state).batch_select_indices is not Cache.batch_select_indices:
            state.batch_select_indices(rows)  # an architecture's own kind of cache
        else:
            # Layers with states of two kinds inherit `batch_select_indices` for one of them.
            state.reorder_cache(rows)
        return state
    if isinstance(state, Tensor):
        return state.index_select(0, rows)
    if isinstance(state, list | tuple):
        return type(state)(select_rows(part, rows) for part in state)
    if isinstance(state, dict):
        return {name: select_rows(part, rows) for name, part in state.items()}
    raise TypeError(f"rows of a {type(state).__name__} can't be selected")
