"""What samples from a model: the interface of engines, and what goes in and out of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
from torch import Tensor

from ..wire.context import Context

Reason: TypeAlias = Literal["length", "stop_token", "stop_string"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True)
class Options:
    """How tokens are drawn, and what ends a completion."""

    max_new_tokens: int
    temperature: float
    """0: greedy."""
    top_k: int | None
    top_p: float | None
    stop_tokens: tuple[int, ...]
    """Ids of the vocabulary; the model's own end-of-sequence tokens are among them."""
    stop_strings: tuple[str, ...]
    """A completion ends with the new token that completes one of these in its text, of which
    `begun` is the beginning."""


@dataclass
class Completion:
    """The new tokens of one sequence."""

    ids: np.ndarray
    """int32 [T], the end-of-sequence token among them."""
    logprobs: np.ndarray
    """float32 [T], of the distribution at the temperature, before top-k and top-p; at temperature 0
    of the distribution at 1."""
    reason: Reason
    """Why it ended."""


@dataclass
class Progress:
    """What an engine reports while it samples."""

    context: Context
    """`check()` raises where the request was cancelled; `progress()` takes the part that is done,
    0 to 1."""
    on_finished: Callable[[list[int], list[Completion]], None] | None = None
    """Is given the numbers and completions of sequences that have finished, each once. An engine
    that does not call it early need not call it."""
    padding: int = 0
    """Tokens that were computed for padding."""
    cached: int = 0
    """Prompt tokens that were not computed, because an engine had their keys and values."""
    finished: dict[int, Completion] = field(default_factory=dict)
    """Completions by the number of their sequence."""

    def finish(self, numbers: list[int], completions: list[Completion]) -> None:
        """Reports sequences that have finished."""
        self.finished.update(zip(numbers, completions, strict=True))
        if self.on_finished is not None:
            self.on_finished(numbers, completions)


@dataclass
class GenerationRequest:
    """What to sample: P prompts, N = P * per_prompt sequences; sequence i continues prompt
    i // per_prompt.
    """

    prompts: list[np.ndarray]
    """int32 [T] each, never empty."""
    per_prompt: int
    seeds: np.ndarray
    """uint64 [N]."""
    limits: np.ndarray
    """int [P]: the most new tokens of each prompt's completions, from 1 to
    `options.max_new_tokens`."""
    options: Options
    batch_size: int | None
    """Sequences that are decoded at once; None: the engine's choice."""
    progress: Progress
    begun: list[np.ndarray] = field(default_factory=list)
    """int32 [T] for each prompt: the tokens at its end that are the beginning of its completions,
    whose stop strings may begin there; an empty list: there are none."""


class Engine(Protocol):
    """Samples from one model. Its constructor is given the `LoadedModel` and the `LoadModel`
    arguments; `publish` is called once before anything else.
    """

    @property
    def reproducible(self) -> bool:
        """Do a sequence's tokens depend on its prompt, its seed and the weights alone?"""

    @property
    def version(self) -> int:
        """Optimizer steps in the weights that it serves."""

    def generate(self, request: GenerationRequest) -> list[Completion]:
        """Returns the N completions, in order, sampled from the published weights.

        They are checked; those that it reported before must be the same.

        Raises `OperationError` for what can be said in a sentence.
        """

    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Takes its own snapshot of these weights. From now on it serves them, whatever training
        does to the live ones.

        `weights`: every parameter of the loaded network, by the network's name for it.
        """

    def close(self) -> None:
        """Frees what it holds; another model takes the name. A worker that ends does not call
        this: processes that the engine starts must end when the worker does.
        """
