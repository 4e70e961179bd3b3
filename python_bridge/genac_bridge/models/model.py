"""Models by name, and how hidden states, logits and values are read from any Hugging Face
architecture.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..wire.arguments import LoadingOptions
from ..wire.context import BadState
from .head import logits_of
from .literal import Literal
from .masters import Masters
from .optimizer import Optimizer
from .tokens import TextDecoder
from .value_head import ValueHead
from .ways import TOGETHER, Way

if TYPE_CHECKING:
    from ..engines.engine import Engine
    from .activations import Activations
    from .trees import Tree


@dataclass
class LoadedModel:
    """A model under a name, with its optimizer and counters."""

    name: str
    kind: str
    #: A causal language model, or for kind `value` its backbone; wrapped by PEFT where it has LoRA.
    network: nn.Module
    #: Kind `value` only.
    value_head: ValueHead | None
    tokenizer: Any
    config: Any
    device: torch.device
    dtype: torch.dtype
    loading: LoadingOptions | None = None
    optimizer: Optimizer | None = None
    #: Steps in the weights.
    step: int = 0
    #: What samples from it; None: a value model, which writes no text.
    engine: Engine | None = None
    #: Accumulations in the gradient.
    accumulations: int = 0
    eos_token_ids: list[int] = field(default_factory=list)
    splits_head: bool = False
    #: How its sequences are sampled; `sampling_check` tried it out.
    way: Way = TOGETHER
    #: It is served from a copy of its weights, in slots; `slot_check` tried it out.
    in_slots: bool = False
    #: Why a GPU does not serve it from a copy of its weights; None: it does, or it is no GPU.
    slow_because: str | None = None
    #: Its own positions are 0, 1, 2, ..., as `position_ids` say them.
    counts_from_zero: bool = True
    #: Of the weights under an adapter.
    base_digest: str | None = None
    #: Its base weights are not float32 but quantized.
    quantized: bool = False
    #: The float32 weights under a bfloat16 network; None: the network's own are trained.
    masters: Masters | None = None
    #: With every activation kept, and with those of layers computed again; None: not counted.
    activations: tuple[Activations, Activations] | None = None
    #: Does training read shared beginnings once, as the sequences themselves? None: not tried.
    reads_trees: bool | None = None
    _decoder: TextDecoder | None = None
    _literal: Literal | None = None

    @property
    def base(self) -> Any:
        """The network without PEFT's wrapper."""
        return (
            self.network.get_base_model() if isinstance(self.network, PeftModel) else self.network
        )

    @property
    def version(self) -> int:
        """Steps in the weights that its engine serves; without an engine, in its weights."""
        return self.step if self.engine is None else self.engine.version

    @property
    def vocabulary(self) -> int:
        return int(self.base.get_input_embeddings().weight.shape[0])

    @property
    def context_length(self) -> int | None:
        """Positions that the architecture was made for, and in which a sequence does not change
        the others of its batch; None: it has no such limit.
        """
        names = ("max_position_embeddings", "n_positions", "max_seq_len")
        values = (getattr(self.config, name, None) for name in names)
        made_for = next((v for v in values if isinstance(v, int) and v > 0), None)
        return min((v for v in (made_for, short_rope(self.config)) if v is not None), default=None)

    @property
    def template_options(self) -> dict[str, Any]:
        """What its chat template is given with every chat."""
        return self.loading.chat_template_kwargs if self.loading is not None else {}

    @property
    def decoder(self) -> TextDecoder:
        if self._decoder is None:
            self._decoder = TextDecoder(self.tokenizer, self.vocabulary)
        return self._decoder

    @property
    def literal(self) -> Literal:
        """Encodes other people's text."""
        if self._literal is None:
            self._literal = Literal(self.tokenizer)
        return self._literal

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Every parameter once, the value head's under `value_head.`: those that are trained in
        float32, whatever the network computes in.
        """
        masters = {} if self.masters is None else self.masters.weights
        named = [(name, masters.get(name, own)) for name, own in self.network.named_parameters()]
        if self.value_head is not None:
            named += [
                (f"value_head.{name}", parameter)
                for name, parameter in self.value_head.named_parameters()
            ]
        return named

    def full_precision(self) -> contextlib.AbstractContextManager[None]:
        """Within, the network's own trained parameters are float32."""
        return contextlib.nullcontext() if self.masters is None else self.masters.in_place()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Computes in `dtype` where the weights are of another: quantized ones, and those of
        architectures that fail with bfloat16 weights.
        """
        if self.dtype == torch.float32 or self.masters is not None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def hidden_states(self, ids: Tensor, tree: Tree | None = None) -> Tensor:
        """Returns the last hidden states [rows, width, hidden] of right-padded ids; causal
        attention needs no mask for padding on the right. `tree`: what rows that are trees need.
        """
        backbone = self.network if self.kind == "value" else self.base.base_model
        # Without a cache, Transformers looks at the positions' values, which meta tensors lack.
        return backbone(
            input_ids=ids, use_cache=ids.is_meta, **arguments_of(tree)
        ).last_hidden_state

    def hidden_at(self, ids: Tensor, positions: Tensor, tree: Tree | None = None) -> Tensor:
        """Returns the last hidden states [M, hidden] at `positions` [M] of the flattened,
        right-padded ids [rows, width].
        """
        return self.hidden_states(ids, tree).flatten(0, 1).index_select(0, positions)

    def logits_at(self, ids: Tensor, positions: Tensor, tree: Tree | None = None) -> Tensor:
        """Returns the logits [M, V] at `positions` [M] of the flattened, right-padded ids [rows,
        width].

        The head costs most where the vocabulary is large, so only these positions are computed.
        """
        if self.splits_head:
            hidden = self.hidden_at(ids, positions, tree)
            return logits_of(self.base.get_output_embeddings(), hidden)
        return (
            self.network(input_ids=ids, use_cache=False, **arguments_of(tree))
            .logits.flatten(0, 1)
            .index_select(0, positions)
        )

    def value_outputs_at(self, ids: Tensor, positions: Tensor, tree: Tree | None = None) -> Tensor:
        """Returns the value head's outputs float32 [M, 1 or bins] at `positions` [M] of the
        flattened, right-padded ids [rows, width].
        """
        assert self.value_head is not None
        hidden = self.hidden_at(ids, positions, tree)
        with torch.autocast(self.device.type, enabled=False):
            outputs: Tensor = self.value_head(hidden.float())
        return outputs

    def values_at(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Returns the values float32 [M] at the same places."""
        assert self.value_head is not None
        return self.value_head.values(self.value_outputs_at(ids, positions))


def arguments_of(tree: Tree | None) -> dict[str, Tensor]:
    """Returns the network's further inputs for rows that are trees."""
    if tree is None:
        return {}
    return {"attention_mask": tree.mask, "position_ids": tree.positions}


def accepts(network: Any, name: str) -> bool:
    """Returns whether the architecture's forward takes the argument `name`."""
    return name in inspect.signature(network.forward).parameters


def largest(config: Any, *names: str) -> int | None:
    """Returns the first of these entries that the config has; of a list (a number for each layer),
    its largest.
    """
    for name in names:
        try:
            value = getattr(config, name, None)
        except Exception:  # some say so where layers differ
            continue
        if isinstance(value, list | tuple):
            value = max((v for v in value if isinstance(v, int)), default=None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def short_rope(config: Any) -> int | None:
    """Returns the positions of the short factors of `longrope`; None: it has another rope.

    Transformers takes the long factors for a whole batch as soon as one sequence is longer.
    """
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(rope, dict):
        return None
    own, found = "original_max_position_embeddings", []
    for part in (rope, *rope.values()):  # of all layers, or of each type of layers
        if isinstance(part, dict) and part.get("rope_type", part.get("type")) == "longrope":
            found.append(part.get(own) or getattr(config, own, None))
    return min((n for n in found if isinstance(n, int) and n > 0), default=None)


@torch.no_grad()
def broken(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """Returns in words which weights hold nan or infinity first; None: none do. Quantized ones
    are skipped. The host waits once.
    """
    # Of these types the smallest and the largest number, or nan, take no copy.
    types = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    plain = [(name, w) for name, w in named if w.dtype in types and w.numel() > 0]
    whole = [
        torch.stack(w.aminmax()).isfinite().all().to(plain[0][1].device, non_blocking=True)
        for _, w in plain
    ]
    for (name, _), fine in zip(plain, torch.stack(whole).tolist() if whole else [], strict=True):
        if not fine:
            return f"its weights are broken: {name} is not finite"
    return None


def make_current(device: torch.device) -> None:
    """Makes a GPU the current one. Triton's kernels, recorded graphs and events belong to the
    current GPU, wherever their tensors are.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)


def find(models: dict[str, LoadedModel], name: str) -> LoadedModel:
    """Returns the model of this name, whose device is the current one from now on.

    Raises `BadState`.
    """
    if name not in models:
        raise BadState(f"no model {name!r} is loaded; loaded are {sorted(models) or 'none'}")
    make_current(models[name].device)
    return models[name]
