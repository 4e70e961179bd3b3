"""Does vLLM serve the weights that are trained? A few tokens that it sampled are scored by the
trainer's network after every transfer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...models.model import LoadedModel
from ...models.scoring import score
from ...wire.arguments import Score
from ...wire.context import NullContext, OperationError
from ..engine import Completion, GenerationRequest, Options, Progress

#: The probe: so many sequences of so many new tokens after a prompt of at most so many.
SEQUENCES, NEW_TOKENS, PROMPT = 4, 8, 40
#: Not 1, where log-probabilities before and after the temperature are the same.
TEMPERATURE = 0.8
#: Largest difference between log-probabilities of the same tokens that the same weights give, in
#: nats, where nothing else changed.
STILL = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


@dataclass
class Reading:
    """What both sides say of the probe's tokens, [SEQUENCES * NEW_TOKENS]."""

    ids: np.ndarray
    served: np.ndarray
    """Log-probabilities by vLLM, float32 in nats."""
    trained: np.ndarray
    """The same by the trainer's network."""


class Probe:
    """Compares after each transfer. `limit`: of the mean difference, in nats per token."""

    def __init__(self, model: LoadedModel, limit: float) -> None:
        self._model, self._limit = model, limit
        #: Since vLLM's answer last changed.
        self._before: Reading | None = None
        context = model.context_length
        length = PROMPT if context is None else min(PROMPT, context - NEW_TOKENS)
        #: int32 [at most PROMPT], tokens from all over the vocabulary.
        self._prompt = ((np.arange(length) * 7919 + 11) % model.vocabulary).astype(np.int32)

    def check(self, generate: Callable[[GenerationRequest], list[Completion]]) -> None:
        """Raises `OperationError` where vLLM serves other weights than the network's."""
        now = self._read(generate(self._request()))
        gap = float(np.abs(now.served - now.trained).mean())
        if not gap <= self._limit:
            raise self._fault(
                f"it does not serve the weights that are trained: its log-probabilities of the "
                f"same {len(now.ids)} tokens differ by {gap:.3g} nats per token, and "
                f"{self._limit:g} is allowed (engine.max_logprob_gap)"
            )
        before = self._before
        if before is None or not _same(before, now):
            self._before = now
            return
        moved = float(np.abs(now.trained - before.trained).max())
        if moved > STILL[self._model.dtype]:
            raise self._fault(
                f"it still serves old weights: training changed the log-probabilities of the same "
                f"tokens by up to {moved:.3g} nats, and vLLM's are what they were"
            )

    def _request(self) -> GenerationRequest:
        return GenerationRequest(
            prompts=[self._prompt],
            per_prompt=SEQUENCES,
            seeds=np.arange(1, SEQUENCES + 1, dtype=np.uint64),
            limits=np.array([NEW_TOKENS]),
            options=Options(NEW_TOKENS, TEMPERATURE, None, None, (), ()),
            batch_size=None,
            progress=Progress(NullContext()),
        )

    def _read(self, done: list[Completion]) -> Reading:
        prompt = len(self._prompt)
        sequences = [np.concatenate([self._prompt, completion.ids]) for completion in done]
        tensors = {
            "ids": np.concatenate(sequences).astype(np.int32),
            "cu_seqlens": np.cumsum([0, *(len(ids) for ids in sequences)]).astype(np.int32),
        }
        asked = Score(
            model=self._model.name,
            temperature=TEMPERATURE,
            entropy=False,
            micro_batch_tokens=None,
        )
        _, answer = score(self._model, asked, tensors, NullContext())
        rows = answer["logprobs"].reshape(len(done), -1)
        return Reading(
            ids=np.concatenate([completion.ids for completion in done]),
            served=np.concatenate([completion.logprobs for completion in done]),
            trained=rows[:, prompt:].reshape(-1),
        )

    def _fault(self, words: str) -> OperationError:
        return OperationError(
            "internal", f"engine 'vllm' of model {self._model.name!r} is refused: {words}"
        )


def _same(one: Reading, other: Reading) -> bool:
    return np.array_equal(one.ids, other.ids) and np.array_equal(one.served, other.served)
