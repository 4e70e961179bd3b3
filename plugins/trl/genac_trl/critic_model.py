"""Which model the critic starts from, and how its files are read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from genac_bridge.models.tokens import has_tokenizer

from .config import WITHOUT_MODEL, critic_option, has_critic

#: What TRL gives to the actor's `from_pretrained`, and the critic has by the same names.
PASSED = ("revision", "trust_remote_code", "attn_implementation", "quantization_config")
#: Where and how the actor's weights lie in memory, which does not concern the critic.
PLACING = (
    "device_map",
    "low_cpu_mem_usage",
    "max_memory",
    "offload_buffers",
    "offload_folder",
    "offload_state_dict",
    "tp_plan",
    "use_cache",
    "use_kernels",
)
DTYPES = {"auto": "auto", "bfloat16": "bfloat16", "float32": "float32"}


def early_start(args: Any, model: Any, loading: dict[str, Any]) -> CriticStart | None:
    """Returns what `critic_start` will return, if that is known before TRL loads the actor."""
    chosen = critic_option(args, "critic_model")
    if chosen is not None:
        return CriticStart(str(chosen), is_default=False)
    if not starts_from_actor(args):
        return CriticStart(None)
    if not isinstance(model, str) or _lacks_tokenizer(args, model):
        return None
    return CriticStart(model, loading)


@dataclass
class CriticStart:
    """`model`: folder or Hub name; None: the controller's config names it, or the critic has none.
    `options`: of the critic, by the controller's names.
    `is_default`: it is the actor's own checkpoint, for a critic that needs a model."""

    model: str | None
    options: dict[str, Any] = field(default_factory=dict)
    is_default: bool = True


def starts_from_actor(args: Any) -> bool:
    """Returns whether the critic's model, if it needs one, is the actor's own checkpoint."""
    chosen = str(critic_option(args, "critic"))
    if not has_critic(args) or chosen in WITHOUT_MODEL or chosen.startswith((".", "/", "~")):
        return False
    if critic_option(args, "critic_model") is not None:
        return False
    return "model" not in _critic_in_file(args)


def critic_start(trainer: Any, model: Any, loading: dict[str, Any]) -> CriticStart:
    """Without `critic_model` the critic starts from the actor's own checkpoint: the name that the
    trainer was given, else the model's weights as they are, written to `OUTPUT_DIR/critic-start`;
    for a PEFT adapter its base model.

    `loading`: what `loading_options` gave.
    """
    known = early_start(trainer.args, model, loading)
    if known is not None:
        return known
    plain = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, str):
        source: str | None = model
    else:
        source = _written_base(plain)
    if source is not None:
        return CriticStart(source, loading | _tokenizer(trainer, source))
    folder = Path(trainer.args.output_dir, "critic-start").resolve()
    base = plain.get_base_model() if hasattr(plain, "peft_config") else plain
    base.save_pretrained(folder, state_dict=_without_adapter(base) if base is not plain else None)
    trainer.processing_class.save_pretrained(folder)
    # Its code runs in this process already.
    own_code = type(base).__module__.startswith("transformers_modules")
    return CriticStart(str(folder), {"trust_remote_code": True} if own_code else {})


def loading_options(args: Any, model: Any, quantization_config: Any) -> dict[str, Any]:
    """Returns what TRL gives to the actor's `from_pretrained`, for a critic that starts from the
    same files.

    Empty if the critic has its own model, or the actor is in memory. The file of
    `controller_config` goes before. Raises `ValueError` for what a critic can't have.
    """
    if not isinstance(model, str) or not starts_from_actor(args):
        return {}
    given = {
        name: value for name, value in (args.model_init_kwargs or {}).items() if value is not None
    }
    if quantization_config is not None:
        given["quantization_config"] = quantization_config
    if getattr(args, "trust_remote_code", False):
        given.setdefault("trust_remote_code", True)
    options = {name: given.pop(name) for name in PASSED if name in given}
    quantized = options.get("quantization_config")
    if quantized is not None:
        options["quantization_config"] = _plain(
            quantized if isinstance(quantized, dict) else quantized.to_dict()
        )
    dtype = given.pop("dtype", given.pop("torch_dtype", None))
    if dtype is not None and critic_option(args, "critic_dtype") is None:
        name = str(dtype).removeprefix("torch.")
        if name not in DTYPES:
            raise ValueError(
                f"model_init_kwargs has dtype {name!r}, in which the critic, which starts from the "
                "actor's checkpoint, can't compute: give it one in `critic_dtype` ('auto', "
                "'bfloat16' or 'float32')"
            )
        options["dtype"] = DTYPES[name]
    foreign = sorted(set(given) - set(PLACING))
    if foreign:
        raise ValueError(
            f"model_init_kwargs has {', '.join(foreign)}, which can't be given to the critic, and "
            "the critic starts from the actor's checkpoint: name a model of its own in "
            "`critic_model`, or in the file of `controller_config`"
        )
    return {name: value for name, value in options.items() if name not in _critic_in_file(args)}


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON of a quantization's config: dtypes and enums by their names."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        return getattr(value, "value", value)

    return {name: plain(value) for name, value in options.items() if not name.startswith("_")}


def _written_base(plain: Any) -> str | None:
    """Returns the folder or Hub name of an adapter's base.

    None: there is no adapter, or its base was made in memory.
    """
    if not hasattr(plain, "peft_config"):
        return None
    named = next(iter(plain.peft_config.values())).base_model_name_or_path
    if not named or (os.path.isabs(named) and not os.path.isdir(named)):
        return None
    return str(named)


def _without_adapter(base: Any) -> dict[str, torch.Tensor]:
    """Returns the base's weights by their own names, as they are without the adapter."""
    own: dict[str, torch.Tensor] = {}
    for name, tensor in base.state_dict().items():
        if "lora_" in name or ".modules_to_save." in name:
            continue
        own[name.replace(".base_layer.", ".").replace(".original_module.", ".")] = tensor
    return own


def _lacks_tokenizer(args: Any, source: str) -> bool:
    return (
        os.path.isdir(source)
        and not has_tokenizer(source)
        and "tokenizer" not in _critic_in_file(args)
    )


def _tokenizer(trainer: Any, source: str) -> dict[str, Any]:
    """Returns the trainer's tokenizer, where the critic's source has none, in
    `OUTPUT_DIR/critic-tokenizer`.
    """
    if not _lacks_tokenizer(trainer.args, source):
        return {}
    folder = Path(trainer.args.output_dir, "critic-tokenizer").resolve()
    trainer.processing_class.save_pretrained(folder)
    return {"tokenizer": str(folder)}


def reads_log_probabilities(args: Any) -> bool:
    """Do the options or the file of `controller_config` cut where tokens are improbable?"""
    credit = _section_in_file(args, "credit")
    by = critic_option(args, "segmentation") or credit.get("segmentation")
    return isinstance(by, dict) and by.get("by") == "low-probability"


def _critic_in_file(args: Any) -> dict[str, Any]:
    return _section_in_file(args, "critic")


def _section_in_file(args: Any, name: str) -> dict[str, Any]:
    """Returns a section of the file of `controller_config`; empty: there is none."""
    import yaml

    path = critic_option(args, "controller_config")
    if path is None:
        return {}
    try:
        config = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}  # the controller says what is wrong with it
    section = config.get(name) if isinstance(config, dict) else None
    return section if isinstance(section, dict) else {}
