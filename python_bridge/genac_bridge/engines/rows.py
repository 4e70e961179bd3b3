"""The network's side of sampling: rows that are read prompt by prompt, then token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from ..models.model import LoadedModel, accepts
from ..models.ragged import pad
from ..models.ways import Way
from .cache import make_cache, select_rows

#: What architectures call the state that they keep between tokens.
STATES = ("past_key_values", "cache_params", "state")


class Rows:
    """Sequences that grow by a token at a time, read in a given way.

    `prompts` (ids int32) are distinct; `owners[i]` int [rows] says which of them row i continues,
    and `room` how many tokens may follow. `padding` counts the padding that was read.
    """

    def __init__(
        self, model: LoadedModel, way: Way, prompts: list[np.ndarray], owners: np.ndarray, room: int
    ) -> None:
        self.model, self.way = model, way
        self.padding = 0
        if not way.selects:
            # Every row reads its own prompt, for its state can't be copied.
            prompts, owners = [prompts[owner] for owner in owners], np.arange(len(owners))
        self.owners = torch.from_numpy(owners).to(model.device)
        self.as_read = len(prompts) == len(owners) and not bool((owners[1:] <= owners[:-1]).any())
        self.lengths = np.array([len(p) for p in prompts])
        self.width = int(self.lengths.max())
        self.padded = bool((self.lengths != self.width).any())
        starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        ids = pad(np.concatenate(prompts), starts, self.lengths, left=way.cached)
        self.prompt_ids = torch.from_numpy(ids).to(model.device)
        #: Columns of the cache that are filled.
        self.seen = self.width
        self.positions = torch.from_numpy(self.lengths).to(model.device)
        if not way.cached:
            self.whole = torch.nn.functional.pad(self.prompt_ids, (0, room))
            return
        self.name = next((name for name in STATES if accepts(model.base, name)), "past_key_values")
        self.state: Any = None  # the network makes its own
        plain = False
        if way.own and self.name == "past_key_values":
            self.state, plain = make_cache(model.config)
        self.takes_positions = model.counts_from_zero and accepts(model.base, "position_ids")
        # A mask of our own saves building one at every token; other kinds of layers and kernels
        # get the plain one and build theirs.
        self.plain = plain and self.takes_positions and model.config._attn_implementation == "sdpa"
        self.extra: dict[str, Any] = (
            {"logits_to_keep": 1} if accepts(model.base, "logits_to_keep") else {}
        )
        # Keys [rows, capacity] that are not padding.
        columns = torch.arange(self.width + room, device=model.device)
        self.valid = (
            columns[None] >= (self.width - torch.from_numpy(self.lengths).to(model.device))[:, None]
        )

    def read_prompts(self) -> Tensor:
        """Returns the logits [rows, V] after each row's prompt."""
        prompts, width = self.prompt_ids.shape
        self.padding += int(prompts * width - self.lengths.sum())
        logits = self._read_all() if not self.way.cached else self._read_padded()
        if self.as_read:
            return logits
        self._select(self.owners)
        return logits.index_select(0, self.owners)

    def _read_padded(self) -> Tensor:
        width = self.width
        device = self.model.device
        arguments: dict[str, Any] = {**self.extra}
        if self.takes_positions:
            positions = torch.arange(width, device=device)[None] - (width - self.positions)[:, None]
            arguments["position_ids"] = positions.clamp_min(0)
        if self.padded:
            seen = self.valid[:, :width]
            if self.plain:
                causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
                # Padding attends to itself: a row that attends to nothing would be nan, and nan
                # times weight 0 is nan.
                itself = torch.eye(width, dtype=torch.bool, device=device)
                arguments["attention_mask"] = ((causal & seen[:, None]) | itself)[:, None]
            else:
                arguments["attention_mask"] = seen.long()
        return self._forward(self.prompt_ids, arguments)

    def read_token(self, tokens: Tensor) -> Tensor:
        """Returns the logits [rows, V] after one more token a row."""
        self.seen += 1
        if not self.way.cached:
            self.whole.scatter_(1, self.positions[:, None], tokens[:, None])
            self.positions = self.positions + 1
            return self._read_all()
        arguments: dict[str, Any] = {}
        if self.takes_positions:
            arguments["position_ids"] = self.positions[:, None]
        if self.plain:
            # Given even where all is valid: with it, grouped heads share their keys without a copy.
            arguments["attention_mask"] = self.valid[:, None, None, : self.seen]
        elif self.padded and self.name == "past_key_values":
            arguments["attention_mask"] = self.valid[:, : self.seen].long()
        logits = self._forward(tokens[:, None], arguments)
        self.positions = self.positions + 1
        return logits

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows of the batch. For ways that can select rows."""
        self._select(rows)

    def _select(self, rows: Tensor) -> None:
        self.positions = self.positions[rows]
        if not self.way.cached:
            self.whole = self.whole[rows]
            return
        self.state = select_rows(self.state, rows)
        self.valid = self.valid[rows]

    def _forward(self, ids: Tensor, arguments: dict[str, Any]) -> Tensor:
        given = {self.name: self.state} if self.state is not None else {}
        output = self.model.network(input_ids=ids, use_cache=True, **given, **arguments)
        if not self.way.own:
            state = getattr(output, self.name, None)
            if state is None and self.state is None:
                return self._read_again(ids, arguments)
            self.state = self.state if state is None else state
        return output.logits[:, -1]

    def _read_again(self, ids: Tensor, arguments: dict[str, Any]) -> Tensor:
        """For a network that keeps the cache it makes to itself: with one of ours."""
        if self.name != "past_key_values" or not accepts(self.model.base, self.name):
            raise TypeError("it hands out no state to go on from")
        # Modules that hold states drop them in a pass without a cache.
        self.model.network(input_ids=ids[:1, :1], use_cache=False)
        self.state = DynamicCache(config=self.model.config)
        return self._forward(ids, arguments)

    def _read_all(self) -> Tensor:
        ids = self.whole[:, : int(self.positions.max())]
        ends = torch.arange(len(ids), device=ids.device) * ids.shape[1] + self.positions - 1
        return self.model.logits_at(ids, ends)
