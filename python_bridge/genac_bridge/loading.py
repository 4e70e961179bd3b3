"""Makes a model on a device of a folder or a Hub name, or says in one sentence why it can't."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import torch
from peft import PeftModel
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
)
from transformers.utils import logging as transformers_logging

from .engines.calls import TRANSFORMERS
from .engines.choice import add_engine
from .engines.sampling_check import check_values, choose_way, halve
from .engines.slot_check import fits_slots
from .models.adapters import (
    CONFIG,
    add_lora,
    base_digest,
    base_of,
    is_adapter,
    open_adapter,
    read_config,
    refuse_other_base,
)
from .models.chats import refuse_template_options
from .models.memory import count_activations, register
from .models.model import LoadedModel, make_current
from .models.norms import fuse_norms
from .models.optimizer import Optimizer
from .models.quantization import (
    device_map,
    is_quantized,
    quantization,
    ready_for_lora,
    refuse_training,
    says_quantized,
)
from .models.tokens import TOKENIZER_FILES, has_tokenizer
from .models.value_head import ValueHead
from .sources import check_folder, files_of, refuse_kernel, unusable
from .wire.arguments import LoadingOptions, LoadModel
from .wire.context import BadArguments, Context, no_memory
from .wire.errors import one_line

# A worker's output is a log, where bars that redraw themselves are noise.
transformers_logging.disable_progress_bar()


def choose_device(name: str) -> torch.device:
    """Returns the device of this name, a GPU always with its number: `cuda` would be whichever GPU
    is the current one. Raises `BadArguments` for one that can't be used.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadArguments(
            f"load_model: device {name!r} can't be used here: {str(error).splitlines()[0]}"
        ) from None
    return torch.device("cuda", 0) if device == torch.device("cuda") else device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def draw_weights(network: nn.Module, seed: int) -> None:
    """Draws every matrix from N(0, 1/fan_in), embeddings from N(0, 1/width); norms and biases stay
    as the architecture starts them.

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


def auto_class(kind: str) -> Any:
    return AutoModel if kind == "value" else AutoModelForCausalLM


def from_pretrained(
    source: str, kind: str, loading: LoadingOptions, device: torch.device | None = None
) -> nn.Module:
    """Returns the weights of a folder or Hub name, in float32 if they are not quantized.

    Raises `BadArguments` where some that this kind needs are missing. `device`: where quantized
    weights go.
    """
    refuse_kernel(source, loading)
    more: dict[str, Any] = {
        "dtype": torch.float32,
        "attn_implementation": loading.attn_implementation,
    }
    if loading.quantization_config is not None:
        more |= {"quantization_config": quantization(loading.quantization_config)}
    try:
        config = AutoConfig.from_pretrained(source, **files_of(loading))
        if loading.quantization_config is not None or says_quantized(config):
            more |= {"device_map": device_map(device or torch.device("cpu"))}
        network, report = auto_class(kind).from_pretrained(
            source,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **files_of(loading),
            **more,
        )
    except Exception as error:
        if no_memory(error):
            raise
        raise BadArguments(unusable(source, kind, error)) from error
    wrong = sorted(
        str(key[0]) + f" (in the file {list(key[1])})" for key in report["mismatched_keys"]
    )
    if wrong:
        raise BadArguments(
            f"load_model: {source!r} has weights of other sizes than its config.json says: "
            f"{', '.join(wrong[:4])}"
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise BadArguments(
            f"load_model: {source!r} lacks the weights {missing[:4]} ({len(missing)} in all) that "
            f"a {kind} model needs"
        )
    return network


def drawn(source: str, kind: str, loading: LoadingOptions, seed: int) -> nn.Module:
    """Returns the architecture of a folder's config.json, with weights drawn from `seed`."""
    if loading.quantization_config is not None:
        raise BadArguments(
            "load_model: weights that are drawn at random are not quantized; pass "
            "quantization_config null"
        )
    refuse_kernel(source, loading)
    try:
        config = AutoConfig.from_pretrained(source, **files_of(loading))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = auto_class(kind).from_config(
                config,
                dtype=torch.float32,
                attn_implementation=loading.attn_implementation,
                trust_remote_code=loading.trust_remote_code,
            )
    except Exception as error:
        if no_memory(error):
            raise
        raise BadArguments(unusable(source, kind, error)) from error
    draw_weights(network, seed)
    return network


def load_tokenizer(source: str, loading: LoadingOptions) -> Any:
    if os.path.isdir(source) and not has_tokenizer(source):
        raise BadArguments(
            f"load_model: {source!r} has no usable tokenizer: it holds none of "
            f"{', '.join(TOKENIZER_FILES[:4])}; put the tokenizer's files there, or name their "
            "folder in `tokenizer`"
        )
    try:
        return AutoTokenizer.from_pretrained(source, **files_of(loading))
    except Exception as error:
        raise BadArguments(
            f"load_model: {source!r} has no usable tokenizer: {one_line(error)}"
        ) from error


def refuse_larger_tokenizer(model: LoadedModel, source: str) -> None:
    """A token beyond the embedding is an index error as soon as a text holds it."""
    ids = model.tokenizer.get_vocab().values()
    beyond = max(ids, default=-1)
    if beyond >= model.vocabulary:
        raise BadArguments(
            f"load_model: the tokenizer of {source!r} has token ids up to {beyond}, but the "
            f"model's embedding has {model.vocabulary} rows: call "
            "resize_token_embeddings(len(tokenizer)) on the model and save it, or name the "
            "tokenizer that it was trained with in `tokenizer`"
        )


def stop_ids(network: Any, tokenizer: Any) -> list[int]:
    """Returns the end-of-sequence ids, the tokenizer's own first: the one that chat formats end a
    turn with.
    """
    found: list[int] = []
    for holder in (tokenizer, getattr(network, "generation_config", None), network.config):
        ids = getattr(holder, "eos_token_id", None)
        for token in ids if isinstance(ids, list | tuple) else [ids]:
            if isinstance(token, int) and token not in found:
                found.append(token)
    return found


@torch.inference_mode()
def head_splits(model: LoadedModel) -> bool:
    """Returns whether logits are exactly head(backbone(ids)).

    Some architectures scale or cap them; tried out, not guessed.
    """
    head = model.base.get_output_embeddings()
    if head is None or model.base.base_model is model.base:
        return False
    ids = torch.arange(6, device=model.device)[None] % model.vocabulary
    try:
        split = head(model.hidden_states(ids))
        return bool(
            torch.allclose(
                split, model.network(input_ids=ids, use_cache=False).logits, rtol=1e-6, atol=1e-7
            )
        )
    except Exception as error:
        if no_memory(error):
            raise
        return False


def load(arguments: LoadModel, context: Context) -> LoadedModel:
    """Loads or draws a model, its tokenizer, value head and optimizer as `load_model` asks."""
    source = os.path.expanduser(arguments.source)
    pretrained = arguments.initialization == "pretrained"
    kind, loading = arguments.kind, arguments.loading
    if kind == "value" and loading.engine != TRANSFORMERS:
        raise BadArguments(
            f"load_model: {source!r} is loaded as a value model, which writes no text: "
            f"`engine` can't be {loading.engine!r}, only {TRANSFORMERS!r}"
        )
    if arguments.bounded and kind != "value":
        raise BadArguments(
            "load_model: bounded is true, and a causal model has no values: pass bounded false"
        )
    if arguments.bins is not None and (kind != "value" or arguments.bounded):
        raise BadArguments(
            f"load_model: bins is {arguments.bins}, which a value model has that is not bounded: "
            "pass null, or kind value and bounded false"
        )
    check_folder(source, pretrained)
    device = choose_device(arguments.device)
    make_current(device)
    network, base, has_adapter = network_of(arguments, source, device)
    quantized = is_quantized(network)
    if quantized:
        refuse_training(
            source, arguments.optimizer is not None, has_adapter or arguments.lora is not None
        )
    if arguments.lora is not None:
        network = ready_for_lora(network) if quantized else network
        network = add_lora(network, arguments.lora, kind, arguments.seed, loading.revision)
    words = os.path.expanduser(loading.tokenizer) if loading.tokenizer else source
    if has_adapter and words == source and not has_tokenizer(source):
        words = base
    tokenizer = load_tokenizer(words, loading)
    # Dropout would make log-probs of sampling and training differ; training turns LoRA's own back
    # on.
    network.eval()
    if not quantized:
        network.to(device)
    plain: Any = network.get_base_model() if isinstance(network, PeftModel) else network
    model = LoadedModel(
        name=arguments.model,
        kind=kind,
        network=network,
        value_head=value_head(arguments, plain, source if pretrained else None, device),
        tokenizer=tokenizer,
        config=plain.config.get_text_config(),
        device=device,
        dtype=choose_dtype(arguments.dtype, device),
        loading=loading,
        eos_token_ids=stop_ids(plain, tokenizer),
        quantized=quantized,
    )
    refuse_larger_tokenizer(model, words)
    refuse_template_options(tokenizer, loading.chat_template_kwargs, words)
    if isinstance(network, PeftModel):
        model.base_digest = base_digest(network)
        refuse_other_base(source, model.base_digest, "load_model")
    if kind == "causal":
        model.splits_head = head_splits(model)
        model.way = choose_way(model)
        model.in_slots = loading.engine == TRANSFORMERS and fits_slots(model)
    else:
        check_values(model)
    if arguments.optimizer is None:
        network.requires_grad_(False)
    halve(model)
    fuse_norms(network)
    if arguments.optimizer is not None:
        model.optimizer = Optimizer(
            [(n, p) for n, p in model.named_parameters() if p.requires_grad],
            arguments.optimizer,
            loading.offload_optimizer,
        )
    if device.type == "cuda":
        model.activations = count_activations(model)
    if kind == "causal":
        add_engine(model, arguments, context)
    # Last: a model that can't be loaded takes no memory.
    register(model)
    return model


def network_of(
    arguments: LoadModel, source: str, device: torch.device
) -> tuple[nn.Module, str, bool]:
    """Returns the network, the source of its base, and whether the source is an adapter."""
    kind, loading = arguments.kind, arguments.loading
    pretrained = arguments.initialization == "pretrained"
    if not is_adapter(source):
        if pretrained:
            return from_pretrained(source, kind, loading, device), source, False
        return drawn(source, kind, loading, arguments.seed), source, False
    if arguments.lora is not None:
        raise BadArguments(
            f"load_model: {source!r} already is a LoRA adapter; pass lora null to go on with it"
        )
    if not pretrained:
        raise BadArguments(
            f"load_model: {source!r} is a LoRA adapter, which can't be drawn at random"
        )
    config = read_config(source)
    base = base_of(source, config)
    of_base = msgspec.structs.replace(loading, revision=config.get("revision") or loading.revision)
    try:
        check_folder(base, True)
        network = from_pretrained(base, kind, of_base, device)
    except BadArguments as error:
        named = (
            f"the base model that {os.path.join(source, CONFIG)!r} names in base_model_name_or_path"
        )
        raise BadArguments(f"{error} (it is {named}; write there where the base is)") from error
    if is_quantized(network):
        network = ready_for_lora(network)
    return open_adapter(network, source, base), base, True


def value_head(
    arguments: LoadModel, network: Any, folder: str | None, device: torch.device
) -> ValueHead | None:
    """Returns a folder's head, or one of zeros; None: the model has none."""
    if arguments.kind != "value":
        return None
    width = network.config.get_text_config().hidden_size
    head = ValueHead(width, arguments.bounded, arguments.bins)
    if folder is not None:
        head.read(folder)
    return head.to(device)
