"""Loading: a folder or a Hub name becomes a model on a device, or one sentence that says why not."""

from __future__ import annotations

import os
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from .arguments import LoadModel, LoraOptions
from .context import BadArguments, no_memory
from .models import VALUE_HEAD, LoadedModel
from .optimizer import Optimizer
from .sampling_check import check_values, choose_way

# A worker's output is a log, where bars that redraw themselves are noise.
transformers_logging.disable_progress_bar()

WEIGHT_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def choose_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadArguments(f"load_model: device {name!r} can't be used here: {str(error).splitlines()[0]}") from None
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


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
            f"load_model: {source!r} is not a model folder: it has no config.json (it holds {sorted(files)[:8]})"
        )
    if (
        pretrained
        and not any(name in files for name in WEIGHT_NAMES)
        and not any(f.endswith(".safetensors") for f in files)
    ):
        raise BadArguments(
            f"load_model: {source!r} has a config.json but no weights; pass initialization 'random' to draw them"
        )


def draw_weights(network: nn.Module, seed: int) -> None:
    """Draws every matrix from N(0, 1/fan_in), embeddings from N(0, 1/width); norms and biases stay as the architecture starts them.

    Tied matrices are drawn once. Drawn on the CPU, so that every device gets the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    transposed = {id(m.weight) for m in network.modules() if type(m).__name__ == "Conv1D"}
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim < 2:
                continue
            fan_in = parameter.shape[-2] if id(parameter) in transposed else parameter.shape[-1]
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.copy_(drawn * fan_in**-0.5)


def unusable(source: str, kind: str, error: Exception) -> str:
    """What to say of a source that could not be loaded: a name without a folder is first of all that."""
    if os.path.isdir(source):
        return f"load_model: {source!r} could not be loaded as a {kind} model: {error}"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"load_model: there is no folder {source!r}, and as a name on the Hub it could not be had: {reason}"


def from_pretrained(source: str, kind: str) -> nn.Module:
    """Float32 weights of a folder or Hub name; refuses one that lacks weights that this kind needs."""
    auto: Any = AutoModel if kind == "value" else AutoModelForCausalLM
    try:
        network, report = auto.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    except Exception as error:
        raise BadArguments(unusable(source, kind, error)) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise BadArguments(
            f"load_model: {source!r} lacks the weights {missing[:4]} ({len(missing)} in all) that a {kind} model needs"
        )
    return network


def add_lora(network: nn.Module, options: LoraOptions, kind: str, seed: int) -> nn.Module:
    alpha: Any = options.alpha  # PEFT declares an int, but takes any number
    config = LoraConfig(
        r=options.rank,
        lora_alpha=alpha,
        lora_dropout=options.dropout,
        target_modules=options.target_modules,
        task_type="FEATURE_EXTRACTION" if kind == "value" else "CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(network, config)
        except ValueError as error:
            raise BadArguments(f"load_model: LoRA could not be added: {error}") from None


def load_tokenizer(source: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(source)
    except Exception as error:
        raise BadArguments(f"load_model: {source!r} has no usable tokenizer: {error}") from error


def stop_ids(network: Any, tokenizer: Any) -> list[int]:
    """End-of-sequence ids, the tokenizer's own first: the one that chat formats end a turn with."""
    found: list[int] = []
    for holder in (tokenizer, getattr(network, "generation_config", None), network.config):
        ids = getattr(holder, "eos_token_id", None)
        for token in ids if isinstance(ids, list | tuple) else [ids]:
            if isinstance(token, int) and token not in found:
                found.append(token)
    return found


@torch.inference_mode()
def head_splits(model: LoadedModel) -> bool:
    """Whether logits are exactly head(backbone(ids)). Some architectures scale or cap them; tried out, not guessed."""
    head = model.base.get_output_embeddings()
    if head is None or model.base.base_model is model.base:
        return False
    ids = torch.arange(6, device=model.device)[None] % model.vocabulary
    try:
        split = head(model.hidden_states(ids))
        return bool(torch.allclose(split, model.network(input_ids=ids, use_cache=False).logits, rtol=1e-6, atol=1e-7))
    except Exception as error:
        if no_memory(error):
            raise
        return False


def load(arguments: LoadModel) -> LoadedModel:
    """Loads or draws a model, its tokenizer, value head and optimizer as `load_model` asks."""
    source = os.path.expanduser(arguments.source)
    pretrained = arguments.initialization == "pretrained"
    check_folder(source, pretrained)
    device = choose_device(arguments.device)
    adapter = os.path.isfile(os.path.join(source, "adapter_config.json"))
    if adapter and arguments.lora is not None:
        raise BadArguments(f"load_model: {source!r} already is a LoRA adapter; pass lora null to go on with it")
    if adapter and not pretrained:
        raise BadArguments(f"load_model: {source!r} is a LoRA adapter, which can't be drawn at random")
    if pretrained:
        weights = PeftConfig.from_pretrained(source).base_model_name_or_path if adapter else source
        if adapter:
            check_folder(str(weights), True)
        network = from_pretrained(str(weights), arguments.kind)
        if adapter:
            network = PeftModel.from_pretrained(network, source, is_trainable=True)
    else:
        config = AutoConfig.from_pretrained(source)
        auto = AutoModel if arguments.kind == "value" else AutoModelForCausalLM
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(arguments.seed)
            network = auto.from_config(config, dtype=torch.float32)
        draw_weights(network, arguments.seed)
    tokenizer = load_tokenizer(source)
    if arguments.lora is not None:
        network = add_lora(network, arguments.lora, arguments.kind, arguments.seed)
    # Dropout would make log-probs of sampling and training differ; training turns LoRA's own back on.
    network.eval().to(device)
    base: Any = network.get_base_model() if isinstance(network, PeftModel) else network
    value_head = None
    if arguments.kind == "value":
        value_head = nn.Linear(base.config.get_text_config().hidden_size, 1)
        nn.init.zeros_(value_head.weight)
        nn.init.zeros_(value_head.bias)
        saved = os.path.join(source, VALUE_HEAD)
        if pretrained and os.path.isfile(saved):
            value_head.load_state_dict(load_file(saved))
        value_head.to(device)
    model = LoadedModel(
        name=arguments.model,
        kind=arguments.kind,
        network=network,
        value_head=value_head,
        tokenizer=tokenizer,
        config=base.config.get_text_config(),
        device=device,
        dtype=choose_dtype(arguments.dtype, device),
        eos_token_ids=stop_ids(base, tokenizer),
    )
    if arguments.kind == "causal":
        model.splits_head = head_splits(model)
        model.way = choose_way(model)
    else:
        check_values(model)
    if arguments.optimizer is not None:
        model.optimizer = Optimizer(
            [(n, p) for n, p in model.named_parameters() if p.requires_grad], arguments.optimizer
        )
    return model
