"""What the TypeScript side calls through pythonia: one function, JSON text in and out, nothing
else.
"""

from __future__ import annotations

import json
from typing import Any

from ..wire.context import OperationError
from ..wire.orphan import die_with_parent
from .call import call


def follow(parent: int) -> None:
    """Ends this process with the one that started it, however stuck the interpreter is."""
    die_with_parent(parent)


def answer(text: str) -> str:
    """Calls `{"function": ..., "keywords": ..., "characters": ..., "items": ...}`; the answer is
    `{"value": ...}` or `{"error": ...}` as JSON text.

    The value is plain JSON of at most so many characters, with at most so many items in a list.
    Never raises an `Exception`.
    """
    try:
        request = json.loads(text)
        value = call(request["function"], request["keywords"])
        refuse_long_lists(value, request["items"], "answer")
        result = json.dumps({"value": value}, allow_nan=False)
        if len(result) > request["characters"]:
            raise OperationError(
                "function_error",
                f"{request['function']} answered with {len(result)} characters of JSON, more than "
                f"{request['characters']}",
            )
    except OperationError as error:
        return json.dumps({"error": str(error), "code": error.code})
    except (Exception, SystemExit) as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}", "code": "function_error"})
    return result


def refuse_long_lists(value: Any, most: int, where: str) -> None:
    if isinstance(value, list):
        if len(value) > most:
            raise OperationError(
                "function_error", f"{where} is a list of {len(value)} items, more than {most}"
            )
        for index, item in enumerate(value):
            refuse_long_lists(item, most, f"{where}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            refuse_long_lists(item, most, f"{where}[{key!r}]")
