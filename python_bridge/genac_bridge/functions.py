"""`call`: a Python function by name, plain JSON in and out."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
import traceback
from collections.abc import Callable
from typing import Any

from .context import BadArguments, OperationError


def find(name: str) -> Callable[..., Any]:
    """The function that `package.module:function` names (`function` may be dotted: a static method)."""
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise BadArguments(f"call: {name!r} is not of the form 'package.module:function'")
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise BadArguments(
                f"call: there is no module {error.name!r}; is it on PYTHONPATH of the worker?"
            ) from error
        raise OperationError("function_error", f"importing {module_name} failed: {traceback.format_exc()}") from error
    except Exception as error:
        raise OperationError("function_error", f"importing {module_name} failed: {traceback.format_exc()}") from error
    for part in path.split("."):
        if not hasattr(target, part):
            raise BadArguments(f"call: {module_name} has no {path!r}")
        target = getattr(target, part)
    if not callable(target):
        raise BadArguments(f"call: {name} is a {type(target).__name__}, not a function")
    return target


def plain_json(value: Any, where: str = "answer") -> Any:
    """`value` if it is plain JSON, tuples as lists; raises `ValueError` that names the place and the type of what is not."""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if type(value) is int:
        if not -(2**53) < value < 2**53:
            raise ValueError(f"{where} is the integer {value}, too large to survive as a JSON number (2^53)")
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON has no word for")
        return value
    if isinstance(value, list | tuple):
        return [plain_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r} of type {type(key).__name__}; keys must be strings")
        return {key: plain_json(item, f"{where}[{key!r}]") for key, item in value.items()}
    kind = type(value)
    raise ValueError(
        f"{where} is a {kind.__module__}.{kind.__qualname__}, not plain JSON; convert it (float(x), x.tolist())"
    )


def call(name: str, keywords: dict[str, Any]) -> Any:
    """Calls the function; coroutines are awaited. What it raises becomes `function_error` with its traceback."""
    function = find(name)

    async def awaited(coroutine: Any) -> Any:
        return await coroutine

    try:
        answer = function(**keywords)
        if inspect.isawaitable(answer):
            answer = asyncio.run(awaited(answer))
    except Exception as error:
        raise OperationError(
            "function_error", f"{name} raised {type(error).__name__}: {error}\n{traceback.format_exc()}"
        ) from error
    try:
        return plain_json(answer)
    except ValueError as error:
        raise OperationError("function_error", f"{name} did not answer with plain JSON: {error}") from None
