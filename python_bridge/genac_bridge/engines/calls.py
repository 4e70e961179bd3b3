"""Calls of an engine, which may be the user's: its errors name it, and its answers are checked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..functions.own_code import guarded
from ..models.model import LoadedModel
from ..wire.context import OperationError, no_memory
from .engine import REASONS, Completion, Engine, GenerationRequest

T = TypeVar("T")
#: The engines that are no classes of the user's.
TRANSFORMERS, VLLM = BUILT_IN = ("transformers", "vllm")


def name_of(model: LoadedModel) -> str:
    """Returns the name of a model's engine, as `load_model` gave it."""
    return TRANSFORMERS if model.loading is None else model.loading.engine


def fault(name: str, words: str) -> OperationError:
    """Returns the error for an engine that does what none may do."""
    code = "internal" if name in BUILT_IN else "function_error"
    return OperationError(code, f'engine "{name}": {words}')


def called(name: str, part: str, work: Callable[[], T]) -> T:
    """Returns what `work` does, which calls `part` of the engine `name`.

    Whatever a class of the user's raises, `SystemExit` too, becomes one `OperationError` that names
    it; see `guarded`.
    """
    if name in BUILT_IN:
        return work()

    def with_memory() -> T:
        try:
            return work()
        except Exception as error:
            if not no_memory(error):
                raise
            raise OperationError(
                "out_of_memory", f'engine "{name}": no memory left in {part}: {error}'
            ) from error

    return guarded(name.rpartition(":")[0], f'engine "{name}": {part} raised', with_memory)


def publish(model: LoadedModel) -> None:
    """Has the model's engine, if it has one, serve its weights as they are now.

    Raises `OperationError`.
    """
    engine = model.engine
    if engine is None:
        return
    name = name_of(model)
    called(name, "publish", lambda: engine.publish(model.named_parameters(), model.step))
    version = called(name, "version", lambda: engine.version)
    if type(version) is not int or version != model.step:
        raise fault(
            name, f"its version is {version!r} after it was given the weights of step {model.step}"
        )


def close(engine: Engine, name: str) -> None:
    """Closes an engine that another takes the place of. An error is only written to the log."""
    try:
        called(name, "close", engine.close)
    except OperationError as error:
        print(error, file=sys.stderr, flush=True)


def generate(model: LoadedModel, engine: Engine, request: GenerationRequest) -> list[Completion]:
    """Returns as many completions as the request has sequences, which are not checked yet.

    Raises `OperationError`.
    """
    name, count = name_of(model), len(request.seeds)
    done: Any = called(name, "generate", lambda: engine.generate(request))
    if not isinstance(done, list | tuple):
        raise fault(name, f"generate gave {type(done).__name__} instead of a list of completions")
    if len(done) != count:
        raise fault(name, f"generate gave {len(done)} completions instead of {count}")
    return list(done)


def checked(model: LoadedModel, number: int, completion: Any, limit: int) -> Completion:
    """Returns the completion of sequence `number` with ids int32 and logprobs float32 [T].

    `limit`: the most tokens that it may have. Raises `OperationError` for what is no completion.
    """
    name, which = name_of(model), f"completion {number}"
    if not isinstance(completion, Completion):
        raise fault(name, f"{which} is a {type(completion).__name__} instead of a Completion")
    ids = _flat(name, f"{which}: ids", completion.ids, "iu", "integers")
    logprobs = _flat(name, f"{which}: logprobs", completion.logprobs, "f", "floats")
    if not 1 <= len(ids) <= limit:
        raise fault(name, f"{which} has {len(ids)} tokens; its limit allows 1 to {limit}")
    outside = ids[(ids < 0) | (ids >= model.vocabulary)]
    if len(outside) > 0:
        raise fault(
            name,
            f"{which} has the token {outside[0]}, outside the vocabulary "
            f"(0..{model.vocabulary - 1})",
        )
    if len(logprobs) != len(ids):
        raise fault(name, f"{which} has {len(ids)} tokens and {len(logprobs)} logprobs")
    if not np.isfinite(logprobs).all():
        raise fault(name, f"{which} has a logprob that is not finite")
    if completion.reason not in REASONS:
        raise fault(
            name,
            f"{which} has the reason {completion.reason!r}; there are {', '.join(REASONS)}",
        )
    return Completion(ids.astype(np.int32), logprobs.astype(np.float32), completion.reason)


def is_equal(one: Completion, other: Completion) -> bool:
    """Returns whether two checked completions are the same."""
    return (
        one.reason == other.reason
        and np.array_equal(one.ids, other.ids)
        and np.array_equal(one.logprobs, other.logprobs)
    )


def _flat(name: str, which: str, given: Any, kinds: str, words: str) -> np.ndarray:
    try:
        array = np.asarray(given)
    except Exception as error:
        raise fault(name, f"{which} can't be read as an array: {error}") from error
    if array.ndim != 1 or (array.dtype.kind not in kinds and array.size > 0):
        raise fault(
            name,
            f"{which} are {array.dtype} of shape {list(array.shape)}; they must be {words} of one "
            "dimension",
        )
    return array
