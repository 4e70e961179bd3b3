"""LoRA: adapters that are added to a model, adapters in folders, and the base of each."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from peft import LoraConfig, PeftModel, PeftType, get_peft_model, get_peft_model_state_dict
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.save_and_load import load_peft_weights
from torch import nn
from transformers.pytorch_utils import Conv1D

from ..wire.arguments import LoraOptions
from ..wire.context import BadArguments
from ..wire.errors import one_line
from .digest import plain_digest

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
#: File of an adapter that this worker wrote: the digest of the base it was trained over.
BASE = "genac_base.json"
#: Modules that PEFT adapts where none are named, by model type.
KNOWN = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
#: Here PEFT rewrites its own choice for fused experts, and then finds nothing.
REWRITTEN = ("mixtral",)


def is_adapter(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, CONFIG))


def add_lora(
    network: nn.Module, options: LoraOptions, kind: str, seed: int, revision: str | None
) -> nn.Module:
    """Adds an adapter that changes nothing yet. Raises `BadArguments`."""
    targets: Any = options.target_modules
    if targets == "all-linear" or (targets is None and not has_default(network)):
        targets = linear_modules(network)
    alpha: Any = options.alpha  # PEFT declares an int, but takes any number
    config = LoraConfig(
        r=options.rank,
        lora_alpha=alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        task_type="FEATURE_EXTRACTION" if kind == "value" else "CAUSAL_LM",
        revision=revision,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(network, config)
        except ValueError as error:
            raise BadArguments(f"load_model: LoRA could not be added: {one_line(error)}") from None


def has_default(network: Any) -> bool:
    """Returns whether PEFT knows modules of this architecture to adapt, and they are there."""
    names = KNOWN.get(getattr(network.config, "model_type", ""))
    if not names or getattr(network.config, "model_type", "") in REWRITTEN:
        return False
    ends = (names,) if isinstance(names, str) else tuple(names)
    return any(name.split(".")[-1] in ends for name, _ in network.named_modules())


def linear_modules(network: Any) -> list[str]:
    """Names of the linear layers but the head's, as short as they are unique to them.

    Leaves out layers of the architecture's own types (routers that give a tuple, grouped layers),
    and those whose weights a fused kernel of Mamba reads by itself.
    """
    head = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    fused = {
        name
        for name, module in network.named_modules()
        if hasattr(module, "A_log") or hasattr(module, "dt_bias")
    }
    chosen, others = [], []
    for name, module in network.named_modules():
        linear = type(module) in (nn.Linear, Conv1D) or (
            isinstance(module, nn.Linear) and type(module).__module__.startswith("bitsandbytes")
        )
        parent, _, last = name.rpartition(".")
        if not linear or module is head or (parent in fused and last == "out_proj"):
            others.append(last)
        else:
            chosen.append(name)
    return sorted(
        {name if name.split(".")[-1] in others else name.split(".")[-1] for name in chosen}
    )


def read_config(folder: str) -> dict[str, Any]:
    """Returns the contents of `adapter_config.json`, checked. Raises `BadArguments`."""
    where = os.path.join(folder, CONFIG)
    try:
        with open(where, encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        raise BadArguments(f"load_model: {where!r} could not be read: {one_line(error)}") from None
    if not isinstance(config, dict):
        raise BadArguments(
            f"load_model: {where!r} is not an adapter's config: it is no JSON object"
        )
    if not any(os.path.isfile(os.path.join(folder, name)) for name in WEIGHTS):
        raise BadArguments(
            f"load_model: {folder!r} has an {CONFIG} but no weights ({' or '.join(WEIGHTS)})"
        )
    kind = config.get("peft_type")
    if kind not in set(PeftType):
        raise BadArguments(
            f"load_model: {where!r} says peft_type {json.dumps(kind)}, which PEFT does not know"
        )
    if kind in (
        "PROMPT_TUNING",
        "P_TUNING",
        "PREFIX_TUNING",
        "CPT",
        "MULTITASK_PROMPT_TUNING",
        "ADAPTION_PROMPT",
    ):
        raise BadArguments(
            f"load_model: {where!r} says peft_type {kind}, which adds to the prompt and not to the "
            "weights; use an adapter of the weights, such as LoRA"
        )
    return config


def base_of(folder: str, config: dict[str, Any]) -> str:
    """Returns the folder or Hub name of the adapter's base. Raises `BadArguments`."""
    where = os.path.join(folder, CONFIG)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise BadArguments(
            f"load_model: {where!r} names no base model (base_model_name_or_path is "
            f"{json.dumps(base)}); write the base's folder or Hub name there, or merge the adapter "
            "into its base"
        )
    base = os.path.expanduser(base)
    # As PEFT wrote it, or moved together with the adapter.
    for candidate in (
        base,
        os.path.join(folder, base),
        os.path.join(os.path.dirname(folder), base),
    ):
        if os.path.isdir(candidate):
            if not os.path.isfile(os.path.join(candidate, "config.json")):
                raise BadArguments(
                    f"load_model: {where!r} names the base model {base!r}, which is no model "
                    "folder (it has no config.json); write the base's folder or Hub name into "
                    "base_model_name_or_path"
                )
            return candidate
    if os.path.isabs(base) or base.startswith((".", "~")) or base.count("/") > 1:
        raise BadArguments(
            f"load_model: {where!r} names the base model {base!r}, and there is no such folder; "
            "write where the base is now into base_model_name_or_path"
        )
    return base


def open_adapter(network: nn.Module, folder: str, base: str) -> nn.Module:
    """Returns the base with a folder's adapter, which stays trainable. Raises `BadArguments`."""
    where = os.path.join(folder, CONFIG)
    try:
        adapted = PeftModel.from_pretrained(network, folder, is_trainable=True)
    except Exception as error:
        text = str(error)
        if "size mismatch" in text:
            sizes = next(line.strip() for line in text.splitlines() if "size mismatch" in line)
            advice = (
                "it was trained over a base of other sizes (a resized embedding?): write that "
                "base's folder"
            )
            raise BadArguments(
                f"load_model: the adapter {folder!r} does not fit the base model {base!r} of its "
                f"{CONFIG}; {advice} into base_model_name_or_path ({sizes})"
            ) from None
        raise BadArguments(
            f"load_model: the adapter of {where!r} could not be put on its base {base!r}: "
            f"{one_line(error)}"
        ) from error
    for config in adapted.peft_config.values():
        # Saved again, it is to be found from everywhere.
        config.base_model_name_or_path = os.path.abspath(base) if os.path.isdir(base) else base
    refuse_changed(adapted, folder)
    return adapted


def refuse_changed(adapted: PeftModel, folder: str) -> None:
    """Raises `BadArguments` where what was loaded is not what the folder holds."""
    held, have = load_peft_weights(folder, device="cpu"), get_peft_model_state_dict(adapted)
    for name, tensor in held.items():
        if name not in have or not torch.equal(have[name].cpu().to(tensor.dtype), tensor):
            raise BadArguments(
                f"load_model: the adapter {folder!r} can't be put on a "
                f"{type(adapted.get_base_model()).__name__}: PEFT did not load {name} as it was "
                "saved"
            )


def base_digest(network: nn.Module) -> str:
    """Returns the digest of the weights that no optimizer moves."""
    return plain_digest([(n, p) for n, p in network.named_parameters() if not p.requires_grad])


def write_base(folder: str, digest: str) -> None:
    with open(os.path.join(folder, BASE), "w", encoding="utf-8") as file:
        json.dump({"digest": digest}, file)


def refuse_other_base(folder: str, digest: str, operation: str) -> None:
    """Raises `BadArguments` where the adapter in `folder` was trained over another base."""
    try:
        with open(os.path.join(folder, BASE), encoding="utf-8") as file:
            trained = json.load(file)["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # written by others
    if trained != digest:
        raise BadArguments(
            f"{operation}: the adapter {folder!r} was trained over other weights than those of the "
            f"base model that its {CONFIG} names now (digest {trained}, now {digest}); bring that "
            "base back, or write its folder into base_model_name_or_path"
        )
