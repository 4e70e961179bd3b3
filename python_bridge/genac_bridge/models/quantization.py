"""Quantized weights (bitsandbytes and others), as Transformers loads them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..wire.context import BadArguments
from ..wire.errors import one_line


def quantization(options: dict[str, Any]) -> Any:
    """Returns Transformers' config of these options. Raises `BadArguments`.

    `load_in_4bit` or `load_in_8bit` alone is bitsandbytes'.
    """
    from transformers.quantizers.auto import AutoQuantizationConfig

    given = dict(options)
    if given.get("load_in_4bit") or given.get("load_in_8bit"):
        given.setdefault("quant_method", "bitsandbytes")
    try:
        config = AutoQuantizationConfig.from_dict(given)
        ignored = sorted(set(options) - set(config.to_dict()) - {"_load_in_4bit", "_load_in_8bit"})
    except Exception as error:
        raise BadArguments(
            f"load_model: quantization_config {options} is not valid: {one_line(error)}"
        ) from None
    if ignored:
        raise BadArguments(
            f"load_model: quantization_config has {', '.join(ignored)}, which "
            f"{config.quant_method} does not know"
        )
    return config


def is_quantized(network: Any) -> bool:
    return getattr(network, "hf_quantizer", None) is not None or bool(
        getattr(network, "is_quantized", False)
    )


def says_quantized(config: Any) -> bool:
    """Does a model's own config say that its weights are quantized?"""
    both = (config, config.get_text_config())
    return any(getattr(one, "quantization_config", None) is not None for one in both)


def ready_for_lora(network: nn.Module) -> nn.Module:
    """Freezes the weights, and converts those that are not quantized to float32."""
    from peft import prepare_model_for_kbit_training

    prepared: nn.Module = prepare_model_for_kbit_training(network, use_gradient_checkpointing=False)
    return prepared


def refuse_training(source: str, trained: bool, adapted: bool) -> None:
    """Raises `BadArguments` for quantized weights that an optimizer would have to move."""
    if trained and not adapted:
        raise BadArguments(
            f"load_model: the weights of {source!r} are quantized, and no optimizer can move them; "
            "train it with `lora`, or load it without quantization"
        )


def device_map(device: torch.device) -> dict[str, Any]:
    """Quantized weights are put on their device while they are read."""
    return {"": device}
