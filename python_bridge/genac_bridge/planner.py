"""What a model will take of its device's memory, before anything of it is loaded."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoConfig

from .loading import auto_class, choose_device, choose_dtype, value_head
from .models import memory
from .models.adapters import add_lora, base_of, is_adapter, read_config
from .models.masters import Masters
from .models.model import LoadedModel, largest
from .models.optimizer import Optimizer
from .models.quantization import says_quantized
from .sources import files_of
from .wire.arguments import LoadModel, parse
from .wire.context import BadArguments
from .wire.errors import one_line

META = torch.device("meta")


def without_weights(arguments: LoadModel) -> LoadedModel:
    """Returns the model that `load_model` would make, but for its weights, which are on the meta
    device, and its tokenizer. Its `dtype` is that of the device asked for.

    Raises `BadArguments` for what can't be planned: quantized weights, and sources whose config
    can't be read.
    """
    source, loading = os.path.expanduser(arguments.source), arguments.loading
    if loading.quantization_config is not None:
        raise BadArguments(f"plan: {source!r} is quantized; its size is known once it is loaded")
    adapter = is_adapter(source)
    base = base_of(source, read_config(source)) if adapter else source
    try:
        config = AutoConfig.from_pretrained(base, **files_of(loading))
        if arguments.initialization == "pretrained" and says_quantized(config):
            raise BadArguments(f"plan: {base!r} is quantized; its size is known once it is loaded")
        with META:
            network: nn.Module = auto_class(arguments.kind).from_config(
                config,
                dtype=torch.float32,
                attn_implementation=loading.attn_implementation,
                trust_remote_code=loading.trust_remote_code,
            )
            if adapter:
                saved = PeftConfig.from_pretrained(source)
                saved.inference_mode = False
                network = get_peft_model(network, saved)
            elif arguments.lora is not None:
                network = add_lora(network, arguments.lora, arguments.kind, 0, loading.revision)
    except BadArguments:
        raise
    except Exception as error:
        raise BadArguments(f"plan: {source!r} can't be planned: {one_line(error)}") from error
    network.eval()
    plain: Any = network.get_base_model() if isinstance(network, PeftModel) else network
    if arguments.optimizer is None:
        network.requires_grad_(False)
    model = LoadedModel(
        name=arguments.model,
        kind=arguments.kind,
        network=network,
        value_head=value_head(arguments, plain, None, META),
        tokenizer=None,
        config=config.get_text_config(),
        device=META,
        dtype=choose_dtype(arguments.dtype, choose_device(arguments.device)),
        loading=loading,
        # As in most architectures; which is found out when it is loaded.
        splits_head=True,
    )
    if model.dtype == torch.bfloat16:
        model.masters = Masters(network)
    if arguments.optimizer is not None:
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        model.optimizer = Optimizer(trained, arguments.optimizer)
    return model


def refuse_too_large(arguments: LoadModel) -> None:
    """Raises `BadArguments` where a model can't fit on its GPU. What can't be planned is not
    refused.
    """
    device = choose_device(arguments.device)
    total = memory.device_bytes(device)
    if total is None:
        return
    try:
        model = without_weights(arguments)
    except BadArguments:
        return
    memory.refuse_too_large(model, device, total)


def plan(models: list[dict[str, Any]], device_bytes: int | None = None) -> list[dict[str, Any]]:
    """Returns the plans of models that one worker loads, as plain JSON: bytes of each part, bytes
    for each token of a micro-batch, and the tokens that fit at once, beside the other models.
    Of a model that can't be planned: `{"reason": ...}`.

    `models`: arguments of `load_model`. `device_bytes`: memory to plan for; null: that of each
    model's device. On a device without planned memory the tokens are null.
    """
    asked = [parse("plan", LoadModel, model) for model in models]
    made = [_tried(arguments) for arguments in asked]
    devices = [choose_device(arguments.device) for arguments in asked]
    on: dict[torch.device, int] = {}
    for model, device in zip(made, devices, strict=True):
        if isinstance(model, LoadedModel):
            total = memory.device_bytes(device) if device_bytes is None else device_bytes
            on[device] = on.get(device, 0) + memory.weights_of(model, total).total
    plans: list[dict[str, Any]] = []
    for model, device in zip(made, devices, strict=True):
        if isinstance(model, str):
            plans.append({"reason": model})
            continue
        total = memory.device_bytes(device) if device_bytes is None else device_bytes
        beside = on[device] - memory.weights_of(model, total).total
        plans.append(_planned(model, device, total, beside))
    return plans


def _tried(arguments: LoadModel) -> LoadedModel | str:
    """Returns the model without weights, its activations counted, or why there is none."""
    try:
        model = without_weights(arguments)
        model.activations = memory.count_activations(model)
    except BadArguments as error:
        return str(error)
    except Exception as error:  # an architecture that can't be run without numbers
        return f"plan: {arguments.source!r} can't be planned: {one_line(error)}"
    return model


def _planned(
    model: LoadedModel, device: torch.device, total: int | None, beside: int
) -> dict[str, Any]:
    assert model.activations is not None
    kept, recomputed = model.activations
    fits = None if total is None else memory.room(model, total, beside)
    return {
        "weights": sum(p.numel() for p in model.network.parameters()),
        "trained": 0 if model.optimizer is None else sum(model.optimizer.sizes),
        "dtype": str(model.dtype)[6:],
        "bytes": {
            **asdict(memory.weights_of(model, total)),
            "logits": memory.head_bytes(model, total),
        },
        "kept_per_token": kept.kept + kept.passing,
        "recomputed_per_token": recomputed.kept + recomputed.passing,
        "cache_per_token": cache_bytes(model),
        "device": str(device),
        "device_bytes": total,
        "share": memory.share(model),
        "tokens": None if fits is None else max(0, fits[0]),
        "tokens_recomputed": None if fits is None else max(0, fits[1]),
    }


def cache_bytes(model: LoadedModel) -> int:
    """Returns the bytes of keys and values of one token; 0 for a model that is not sampled."""
    if model.kind != "causal":
        return 0
    config = model.config
    heads = largest(config, "num_attention_heads") or 1
    width = largest(config, "head_dim") or (largest(config, "hidden_size") or 1024) // heads
    shared = largest(config, "num_key_value_heads") or heads
    layers = largest(config, "num_hidden_layers") or 1
    return 2 * layers * shared * width * model.dtype.itemsize
