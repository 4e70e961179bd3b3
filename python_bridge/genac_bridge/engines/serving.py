"""The operation `sample`: prompts and seeds for a model's engine, texts of its completions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..models.model import LoadedModel
from ..models.prompts import encode_prompts
from ..models.ragged import cumulative, join, refuse_others, take, take_sequences
from ..wire.arguments import Sample
from ..wire.context import BadArguments, Context, OperationError, Tensors
from . import calls
from .engine import Completion, GenerationRequest, Options, Progress
from .random import join_seeds


def sample(
    model: LoadedModel, arguments: Sample, tensors: Tensors, context: Context
) -> tuple[dict[str, Any], Tensors]:
    """Returns the result and the tensors of `sample`, which serves what was published last."""
    engine = model.engine
    if engine is None:
        raise BadArguments(
            f"sample: model {arguments.model!r} is a value model, which writes no text"
        )
    prompts = take_prompts(model, arguments, tensors)
    prefixes = take_prefixes(model, prompts, arguments.max_new_tokens, tensors)
    per_prompt = arguments.completions_per_prompt
    count = len(prompts) * per_prompt
    seeds = join_seeds(take(tensors, "seeds", "uint32", (count, 2)))
    limits = np.array([arguments.max_new_tokens - len(before) for before in prefixes])
    answers = Answers(model, arguments, prefixes, limits, context)
    request = GenerationRequest(
        prompts=prompts,
        per_prompt=per_prompt,
        seeds=seeds,
        limits=limits.copy(),
        options=options_of(model, arguments),
        batch_size=arguments.batch_size,
        progress=Progress(context, answers.add),
        begun=prefixes,
    )
    version = engine.version
    done = answers.complete(calls.generate(model, engine, request))
    result = {
        "texts": [answers.texts[number] for number in range(count)],
        "finish_reasons": [completion.reason for completion in done],
        "version": version,
        "padding_tokens": request.progress.padding,
        "cached_tokens": request.progress.cached,
    }
    return result, {
        "prompt_ids": join(prompts, "int32"),
        "prompt_cu_seqlens": cumulative([len(ids) for ids in prompts]),
        **completion_tensors(done, [answers.ends[number] for number in range(count)]),
    }


class Answers:
    """Finished sequences, checked; their texts are streamed where `arguments` say so.

    `prefixes` int32 [P] ids: the beginning of each prompt's completions. `limits` int [P]: the most
    new tokens of each prompt's completions.
    """

    def __init__(
        self,
        model: LoadedModel,
        arguments: Sample,
        prefixes: list[np.ndarray],
        limits: np.ndarray,
        context: Context,
    ) -> None:
        #: By the sequence's number: the text of the whole completion, and int32 [T] for its new
        #: tokens: UTF-16 units of the text that are complete after each.
        self.texts: dict[int, str] = {}
        self.ends: dict[int, np.ndarray] = {}
        self._done: dict[int, Completion] = {}
        self._model, self._arguments = model, arguments
        self._prefixes, self._limits, self._context = prefixes, limits, context

    def add(self, numbers: list[int], done: list[Completion]) -> None:
        """Completions of the sequences `numbers`, from the engine.

        Raises `OperationError` for what is no completion of theirs.
        """
        per_prompt = self._arguments.completions_per_prompt
        count = len(self._prefixes) * per_prompt
        for number in numbers:
            if not (isinstance(number, int | np.integer) and 0 <= number < count):
                raise self._fault(f"on_finished has the sequence {number!r} of {count}")
        again = [number for number in numbers if number in self._done]
        if again or len(set(numbers)) != len(numbers):
            raise self._fault(f"on_finished has a sequence twice: {again or numbers}")
        if len(numbers) != len(done):
            raise self._fault(
                f"on_finished has {len(done)} completions of {len(numbers)} sequences"
            )
        numbers = [int(number) for number in numbers]
        done = [self._checked(number, own) for number, own in zip(numbers, done, strict=True)]
        prefixes = [self._prefixes[number // per_prompt] for number in numbers]
        whole = [np.concatenate([before, c.ids]) for before, c in zip(prefixes, done, strict=True)]
        texts, all_ends = self._model.decoder.decode(whole)
        ends = [end[len(before) :] for before, end in zip(prefixes, all_ends, strict=True)]
        self._done.update(zip(numbers, done, strict=True))
        self.texts.update(zip(numbers, texts, strict=True))
        self.ends.update(zip(numbers, ends, strict=True))
        if self._arguments.stream:
            data = {
                "indices": numbers,
                "texts": texts,
                "finish_reasons": [completion.reason for completion in done],
            }
            self._context.partial(data, completion_tensors(done, ends))

    def complete(self, done: list[Completion]) -> list[Completion]:
        """Adds those that were not added before; returns all N, in order, checked.

        Raises `OperationError` for one that is not what was added before.
        """
        for number, early in self._done.items():
            if not calls.is_equal(early, self._checked(number, done[number])):
                raise self._fault(f"completion {number} is not what on_finished had")
        late = [number for number in range(len(done)) if number not in self._done]
        if late:
            self.add(late, [done[number] for number in late])
        return [self._done[number] for number in range(len(done))]

    def _checked(self, number: int, completion: Completion) -> Completion:
        limit = int(self._limits[number // self._arguments.completions_per_prompt])
        return calls.checked(self._model, number, completion, limit)

    def _fault(self, words: str) -> OperationError:
        return calls.fault(calls.name_of(self._model), words)


def options_of(model: LoadedModel, arguments: Sample) -> Options:
    """How the engine draws. Raises `BadArguments` for stop tokens outside the vocabulary."""
    for token in arguments.stop_token_ids:
        if token >= model.vocabulary:
            raise BadArguments(
                f"sample: stop_token_ids holds {token}, outside the vocabulary "
                f"(0..{model.vocabulary - 1})"
            )
    stops = {t for t in (*model.eos_token_ids, *arguments.stop_token_ids) if t < model.vocabulary}
    return Options(
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        stop_tokens=tuple(sorted(stops)),
        stop_strings=tuple(arguments.stop_strings),
    )


def take_prompts(model: LoadedModel, arguments: Sample, tensors: Tensors) -> list[np.ndarray]:
    """Returns the ids of every prompt, int32 [T]. Raises `BadArguments` for empty ones."""
    if arguments.prompts is None:
        refuse_others(tensors, {"seeds", "prompt_ids", "prompt_cu_seqlens", "prefix_lengths"})
        ids, cu = take_sequences(tensors, "prompt_ids", "prompt_cu_seqlens", model.vocabulary)
        prompts = [ids[cu[i] : cu[i + 1]] for i in range(len(cu) - 1)]
    else:
        refuse_others(tensors, {"seeds"})
        literal = model.literal if arguments.literal else None
        encoded = encode_prompts(
            model.tokenizer, arguments.prompts, "sample: prompts", literal, model.template_options
        )
        prompts = [np.array(ids, np.int32) for ids in encoded]
    for index, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise BadArguments(
                f"sample: prompt {index} has no tokens; a model needs at least one to begin with"
            )
    return prompts


def take_prefixes(
    model: LoadedModel, prompts: list[np.ndarray], max_new_tokens: int, tensors: Tensors
) -> list[np.ndarray]:
    """Returns the ids at the end of each prompt that are the beginning of its completions.

    Raises `BadArguments` for what leaves no room for `max_new_tokens`.
    """
    given = "prefix_lengths" in tensors
    lengths = (
        take(tensors, "prefix_lengths", "int32", (len(prompts),))
        if given
        else np.zeros(len(prompts))
    ).tolist()
    limit = model.context_length
    for index, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        if not 0 <= length < min(len(prompt), max_new_tokens):
            raise BadArguments(
                f"sample: prefix_lengths[{index}] is {length}; it must be less than prompt "
                f"{index}'s {len(prompt)} tokens and less than max_new_tokens, {max_new_tokens}, "
                "of which it is a part"
            )
        tokens = len(prompt) - int(length)
        if limit is not None and tokens + max_new_tokens > limit:
            raise BadArguments(
                f"sample: prompt {index} has {tokens} tokens and max_new_tokens is "
                f"{max_new_tokens}: together more than the model's context of {limit} "
                f"({model.name!r}). Nothing is cut: shorten the prompt, lower max_new_tokens, or "
                "take a model with a longer context"
            )
    return [
        prompt[len(prompt) - int(length) :] for prompt, length in zip(prompts, lengths, strict=True)
    ]


def completion_tensors(done: list[Completion], ends: list[np.ndarray]) -> Tensors:
    """Returns the tensors of finished sequences, as `sample` sends them."""
    return {
        "completion_ids": join([completion.ids for completion in done], "int32"),
        "completion_cu_seqlens": cumulative([len(completion.ids) for completion in done]),
        "logprobs": join([completion.logprobs for completion in done], "float32"),
        "text_ends": join(ends, "int32"),
    }
