"""One request of the controller's in vLLM: its sequences go in, vLLM is stepped, completions come
out as they finish.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models.model import LoadedModel
from ..decoding import hand_over
from ..endings import Endings
from ..engine import Completion, GenerationRequest, Reason

#: Tokens between two looks at a sequence, where no stop string may end it.
LOOK = 32


class Stepping:
    """Samples the sequences of `request` with `llm`, vLLM's `LLMEngine`."""

    def __init__(self, llm: Any, model: LoadedModel, request: GenerationRequest) -> None:
        self._llm, self._model, self._request = llm, model, request
        self._progress = request.progress
        #: vLLM is not asked: what a text holds is for the model's decoder to say.
        self._strings = Endings(model, request)
        #: Of the sequences that vLLM has, by its name for each.
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, list[int]] = {}
        self._logprobs: dict[int, list[float]] = {}

    def run(self) -> list[Completion]:
        """Returns the completions, in order.

        Whatever it raises, vLLM has none of the sequences any more.
        """
        count = len(self._request.seeds)
        most = self._request.batch_size or count
        begun = 0
        try:
            while len(self._progress.finished) < count:
                self._progress.context.check()
                while begun < count and len(self._numbers) < most:
                    self._begin(begun)
                    begun += 1
                for output in self._llm.step():
                    self._take(output)
                tokens = sum(len(ids) for ids in self._ids.values())
                whole = max(1, self._request.options.max_new_tokens)
                done = len(self._progress.finished) + tokens / whole
                self._progress.context.progress(min(1.0, done / count))
        finally:
            if self._numbers:
                self._llm.abort_request(list(self._numbers))
        return [self._progress.finished[number] for number in range(count)]

    def _begin(self, number: int) -> None:
        name = str(number)
        prompt = self._request.prompts[number // self._request.per_prompt]
        self._numbers[name] = number
        self._ids[number], self._logprobs[number] = [], []
        self._llm.add_request(name, {"prompt_token_ids": prompt.tolist()}, self._parameters(number))

    def _parameters(self, number: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        options = self._request.options
        return SamplingParams(
            temperature=options.temperature,
            top_k=options.top_k or 0,
            top_p=1.0 if options.top_p is None else options.top_p,
            # vLLM takes signed ones, and -1 for none.
            seed=int(self._request.seeds[number]) >> 1,
            max_tokens=int(self._request.limits[number // self._request.per_prompt]),
            stop_token_ids=list(options.stop_tokens),
            ignore_eos=True,  # they are among the stop tokens
            logprobs=0,  # of the token that was drawn, and no others
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            stream_interval=LOOK if self._strings.may_end is None else 1,
        )

    def _take(self, output: Any) -> None:
        number = self._numbers.get(output.request_id)
        if number is None:
            return  # vLLM had computed it before the abort
        (part,) = output.outputs
        ids, logprobs = self._ids[number], self._logprobs[number]
        new, given = list(part.token_ids), [] if part.logprobs is None else part.logprobs.logprobs
        by_token = isinstance(part.stop_reason, int)
        reason: Reason | None = None
        may_end = self._strings.may_end
        for place, (token, logprob) in enumerate(zip(new, given, strict=True)):
            ids.append(token)
            logprobs.append(logprob)
            if by_token and place == len(new) - 1:
                break  # it ends the sequence by itself
            if may_end is not None and may_end[token] and self._strings.ended(number, ids):
                reason = "stop_string"
                break
        if part.finish_reason is not None and reason is None:
            reason = "stop_token" if by_token else "length"
        if reason is None:
            return
        del self._numbers[output.request_id], self._ids[number], self._logprobs[number]
        if part.finish_reason is None:
            self._llm.abort_request([output.request_id])
        self._progress.cached += output.num_cached_tokens or 0
        done = Completion(np.array(ids, np.int32), np.array(logprobs, np.float32), reason)
        hand_over(self._model, self._progress, [number], [done])
