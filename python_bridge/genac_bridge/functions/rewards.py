"""Reward functions with TRL's signature, for some responses at a time; what they give is checked
one by one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from ..wire.context import BadArguments, OperationError
from .call import find
from .own_code import run_own

GIVEN = ("prompts", "completions", "completion_ids")

Answer = list[float | dict[str, str] | None]


def prepare(function: str, columns: list[str] | None = None) -> None:
    """Finds the function; raises `BadArguments` where it is not there or does not take TRL's
    keywords.

    `columns`: those that the problems have; None: not known yet.
    """
    refuse_bad_signature(
        function, find(function), None if columns is None else dict.fromkeys(columns)
    )


def judge(
    function: str,
    prompts: list[Any],
    completions: list[Any],
    completion_ids: list[Any],
    columns: dict[str, list[Any]],
) -> Answer:
    """Calls `function(prompts=..., completions=..., completion_ids=..., **columns)`, which may be
    async.

    Returns for each response a finite number, None (not applicable), or `{"not_a_number": ...}`
    with what stands there instead. Raises `OperationError`: with the traceback where the function
    raised, and where it did not return one value for each response.
    """
    call = find(function)
    taken = [name for name in columns if name in GIVEN]
    if taken:
        raise BadArguments(
            f"{function}: a column can't be named {', '.join(taken)}; rename it in the task"
        )
    refuse_bad_signature(function, call, columns)
    keywords = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids}
    answer = run_own(function, call, {**keywords, **columns})
    return checked(function, answer, len(prompts))


def refuse_bad_signature(
    name: str, function: Callable[..., Any], columns: dict[str, Any] | None
) -> None:
    """TRL passes every keyword. `columns` None: they are not known yet."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have none
        return
    keywords = [*GIVEN, *(columns or ())]
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        refused = [keyword for keyword in keywords if keyword not in named]
        if refused:
            raise BadArguments(
                f"{name} does not take {', '.join(refused)}, and every reward function is given "
                "all keywords: add **kwargs to it"
            )
    if columns is not None:
        wanted = [n for n, p in named.items() if p.default is p.empty and n not in keywords]
        if wanted:
            raise BadArguments(
                f"{name} needs {', '.join(wanted)}, which the problems have no column for (they "
                f"have {', '.join(columns) or 'none'})"
            )


def checked(function: str, answer: Any, count: int) -> Answer:
    """One value for each response; an array or a tensor is taken as a list."""
    if not isinstance(answer, list | tuple) and hasattr(answer, "tolist"):
        answer = answer.tolist()
    if not isinstance(answer, list | tuple):
        raise OperationError(
            "function_error",
            f"{function} returned a {type(answer).__name__}, not a list with a number for each "
            "response",
        )
    if len(answer) != count:
        raise OperationError(
            "function_error", f"{function} returned {len(answer)} rewards for {count} responses"
        )
    return [number(value) for value in answer]


def number(value: Any) -> float | dict[str, str] | None:
    if value is None:
        return None
    if isinstance(value, str | bytes):  # float() would read it
        return {"not_a_number": f"{value!r} (a {type(value).__name__})"}
    try:
        result = float(value)
    except (TypeError, ValueError, RuntimeError):
        return {"not_a_number": f"{str(value)[:80]} (a {type(value).__name__})"}
    return result if math.isfinite(result) else {"not_a_number": str(result)}
