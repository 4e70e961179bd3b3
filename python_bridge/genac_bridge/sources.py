"""Where a model comes from, a folder or a name on the Hub: which files are read, and why a source
can't be used, in one sentence.
"""

from __future__ import annotations

import os
from typing import Any

from transformers import PretrainedConfig

from .wire.arguments import LoadingOptions
from .wire.context import BadArguments
from .wire.errors import one_line

WEIGHT_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def check_folder(source: str, pretrained: bool) -> None:
    """A folder that is no model folder gets one sentence, not a stack of a hub client's errors."""
    if not os.path.isdir(source):
        if os.path.isabs(source) or source.startswith(("./", "../", "~")) or source.count("/") > 1:
            raise BadArguments(f"load_model: there is no folder {source!r}")
        return  # a name on the Hub
    files = os.listdir(source)
    if "adapter_config.json" in files:
        return
    if "config.json" not in files:
        raise BadArguments(
            f"load_model: {source!r} is not a model folder: it has no config.json (it holds "
            f"{sorted(files)[:8]})"
        )
    if (
        pretrained
        and not any(name in files for name in WEIGHT_NAMES)
        and not any(f.endswith(".safetensors") for f in files)
    ):
        raise BadArguments(
            f"load_model: {source!r} has a config.json but no weights; pass initialization "
            "'random' to draw them"
        )


def unusable(source: str, kind: str, error: Exception) -> str:
    """What to say of a source that could not be loaded: a name without a folder is first of all
    that.
    """
    reason = one_line(error)
    if "trust_remote_code" in str(error):
        return (
            f"load_model: {source!r} brings code of its own, which runs with your rights; "
            "set `trust_remote_code: true` if you trust it"
        )
    if isinstance(error, ImportError):
        return f"load_model: {source!r} needs a package that is not installed here: {reason}"
    if os.path.isdir(source):
        return f"load_model: {source!r} could not be loaded as a {kind} model: {reason}"
    return (
        f"load_model: there is no folder {source!r}, and as a name on the Hub it could not be had: "
        f"{reason}"
    )


def files_of(loading: LoadingOptions) -> dict[str, Any]:
    """Which files `from_pretrained` reads."""
    return {"revision": loading.revision or "main", "trust_remote_code": loading.trust_remote_code}


def refuse_kernel(source: str, loading: LoadingOptions) -> None:
    """A model's config.json may name an attention kernel of the Hub, which is code."""
    if loading.trust_remote_code or loading.attn_implementation is not None:
        return
    try:
        config, _ = PretrainedConfig.get_config_dict(source, revision=loading.revision or "main")
    except Exception:
        return  # loading the source says what is wrong with it
    pending: list[Any] = [config]
    while pending:
        part = pending.pop()
        if not isinstance(part, dict):
            continue
        pending.extend(part.values())
        named = [part.get(key) for key in ("_attn_implementation", "attn_implementation")]
        kernel = next((name for name in named if isinstance(name, str) and "/" in name), None)
        if kernel is not None:
            raise BadArguments(
                f"load_model: the config.json of {source!r} names the attention kernel {kernel!r}, "
                "which is code of the Hub and runs with your rights; set `attn_implementation` to "
                "another, or `trust_remote_code: true` if you trust it"
            )
