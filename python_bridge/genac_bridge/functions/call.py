"""`call`: a Python function by name, plain JSON in and out; and a worker of `call` alone."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

from .. import __version__
from ..wire import arguments as args
from ..wire.context import BadArguments, BadState, Context, OperationError, Tensors
from .own_code import guarded, run_own


def load_file(path: str) -> Any:
    """Returns the module that a file holds, loaded once; its folder is on the import path, so that
    it can import its neighbours.
    """
    path = os.path.abspath(os.path.expanduser(path))
    name = f"genac_file_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise BadArguments(f"call: there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(path))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def import_named(name: str) -> Any:
    """Returns the module of this name: an installed one, else one of the working directory, which
    goes behind all others.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0] or os.getcwd() in sys.path:
            raise
    sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    return importlib.import_module(name)


def find(name: str, operation: str = "call") -> Callable[..., Any]:
    """Returns the function that `package.module:function` or `path/to/file.py:function` names
    (`function` may be dotted: a static method).

    `operation`: which one its errors name.
    """
    module_name, colon, path = name.rpartition(":")
    if not colon or not module_name or not path:
        raise BadArguments(
            f"{operation}: {name!r} is not of the form 'package.module:function' or "
            "'file.py:function'"
        )

    def load() -> Any:
        if module_name.endswith(".py"):
            return load_file(module_name)
        try:
            return import_named(module_name)
        except ModuleNotFoundError as error:
            missing = error.name
            if missing is not None and f"{module_name}.".startswith(f"{missing}."):
                raise BadArguments(
                    f"{operation}: there is no module {missing!r}; is it on PYTHONPATH of the "
                    "worker?"
                ) from error
            raise

    def load_whole() -> Any:
        try:
            return load()
        except SystemExit as error:
            hint = 'sys.exit() and argparse belong under `if __name__ == "__main__":`'
            raise SystemExit(f"{error} ({hint})") from error

    target = guarded(module_name, f"importing {module_name} failed:", load_whole)
    for part in path.split("."):
        if not hasattr(target, part):
            raise BadArguments(f"{operation}: {module_name} has no {path!r}")
        target = getattr(target, part)
    if not callable(target):
        raise BadArguments(f"{operation}: {name} is a {type(target).__name__}, not a function")
    return target


def plain_json(value: Any, where: str = "answer") -> Any:
    """Returns `value` if it is plain JSON, tuples as lists; raises `ValueError` that names the
    place and the type of what is not.
    """
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if type(value) is int:
        if not -(2**53) < value < 2**53:
            raise ValueError(
                f"{where} is the integer {value}, too large to survive as a JSON number (2^53)"
            )
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
                raise ValueError(
                    f"{where} has the key {key!r} of type {type(key).__name__}; keys must be "
                    "strings"
                )
        return {key: plain_json(item, f"{where}[{key!r}]") for key, item in value.items()}
    kind = type(value)
    raise ValueError(
        f"{where} is a {kind.__module__}.{kind.__qualname__}, not plain JSON; convert it "
        "(float(x), x.tolist())"
    )


def call(name: str, keywords: dict[str, Any]) -> Any:
    """Calls the function; coroutines are awaited.

    What it raises becomes `function_error` with its traceback.
    """
    answer = run_own(name, find(name), keywords)
    try:
        return plain_json(answer)
    except ValueError as error:
        raise OperationError(
            "function_error", f"{name} did not answer with plain JSON: {error}"
        ) from None


class FunctionOperations:
    """Serves `call` alone, in a worker without models.

    It imports neither PyTorch nor Transformers, and so starts in a moment.
    """

    def ready(self) -> dict[str, Any]:
        return {
            "versions": {"genac_bridge": __version__, "python": platform.python_version()},
            "devices": [],
        }

    def run(
        self, operation: str, arguments: dict[str, Any], tensors: Tensors, context: Context
    ) -> tuple[dict[str, Any], Tensors]:
        if operation != "call":
            raise BadState(f"this worker serves functions only, not {operation}")
        parsed = args.parse("call", args.Call, arguments)
        return {"value": call(parsed.function, parsed.keywords)}, {}
