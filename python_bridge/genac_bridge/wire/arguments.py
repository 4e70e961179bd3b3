"""The operations' arguments as structs, held to `src/bridge/operations.ts`: every key required,
unknown keys refused.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from .context import BadArguments

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
PositiveFloat = Annotated[float, Meta(gt=0)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
BelowOne = Annotated[float, Meta(ge=0, lt=1)]
UpToOne = Annotated[float, Meta(gt=0, le=1)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Path = Annotated[str, Meta(min_length=1)]


class Struct(msgspec.Struct, forbid_unknown_fields=True):
    pass


class OptimizerOptions(Struct):
    betas: tuple[BelowOne, BelowOne]
    eps: PositiveFloat
    weight_decay: NonNegativeFloat


class LoraOptions(Struct):
    rank: Positive
    alpha: PositiveFloat
    dropout: BelowOne
    target_modules: Annotated[list[str], Meta(min_length=1)] | Literal["all-linear"] | None


class LoadingOptions(Struct):
    revision: Annotated[str, Meta(min_length=1)] | None
    trust_remote_code: bool
    attn_implementation: Annotated[str, Meta(min_length=1)] | None
    quantization_config: dict[str, Any] | None
    tokenizer: Path | None
    chat_template_kwargs: dict[str, Any]
    engine: Annotated[str, Meta(min_length=1)]
    engine_options: dict[str, Any]
    gradient_checkpointing: bool
    share_prefixes: bool
    offload_optimizer: bool
    memory_share: UpToOne | None


class ChatMessage(Struct):
    role: str
    content: str


Prompt = str | Annotated[list[ChatMessage], Meta(min_length=1)]


class LoadModel(Struct):
    model: Name
    source: Path
    kind: Literal["causal", "value"]
    bounded: bool
    initialization: Literal["pretrained", "random"]
    seed: Count
    device: Annotated[str, Meta(min_length=1)]
    dtype: Literal["auto", "float32", "bfloat16"]
    loading: LoadingOptions
    lora: LoraOptions | None
    optimizer: OptimizerOptions | None
    bins: Annotated[int, Meta(ge=2, le=1001)] | None = None


class Tokenize(Struct):
    model: Name
    prompts: list[Prompt]
    completions: list[str] | None
    append_eos: bool
    literal: bool


class Sample(Struct):
    model: Name
    prompts: list[Prompt] | None
    literal: bool
    completions_per_prompt: Positive
    max_new_tokens: Positive
    temperature: NonNegativeFloat
    top_p: UpToOne | None
    top_k: Positive | None
    stop_strings: list[Annotated[str, Meta(min_length=1)]]
    stop_token_ids: list[Count]
    batch_size: Positive | None
    stream: bool


class Score(Struct):
    model: Name
    temperature: PositiveFloat
    entropy: bool
    micro_batch_tokens: Positive | None


class Choices(Struct):
    model: Name
    choices: Annotated[list[list[Annotated[int, Meta(ge=0)]]], Meta(min_length=1, max_length=1000)]
    temperature: PositiveFloat
    micro_batch_tokens: Positive | None


class PolicyGradient(Struct, tag_field="kind", tag="pg"):
    coefficient: float
    clip_low: Annotated[float, Meta(ge=0, le=1)]
    clip_high: NonNegativeFloat


class CrossEntropy(Struct, tag_field="kind", tag="ce"):
    coefficient: float


class Kl(Struct, tag_field="kind", tag="kl"):
    coefficient: float


class Entropy(Struct, tag_field="kind", tag="entropy"):
    coefficient: float


class ValueLoss(Struct, tag_field="kind", tag="value"):
    coefficient: float
    clip: PositiveFloat | None


Stream = PolicyGradient | CrossEntropy | Kl | Entropy | ValueLoss


class Accumulate(Struct):
    model: Name
    streams: Annotated[list[Stream], Meta(min_length=1)]
    normalizer: PositiveFloat
    temperature: PositiveFloat
    micro_batch_tokens: Positive | None


class Step(Struct):
    model: Name
    expected_step: Count
    expected_accumulations: Positive
    learning_rate: NonNegativeFloat
    max_grad_norm: PositiveFloat | None


class Publish(Struct):
    model: Name


class SaveModel(Struct):
    model: Name
    path: Path
    optimizer: bool


class RestoreModel(Struct):
    model: Name
    path: Path


class Call(Struct):
    function: Annotated[str, Meta(min_length=3)]
    keywords: dict[str, Any]


def refuse_not_finite(value: Any, where: str) -> None:
    """msgpack can carry nan and infinity, and nan passes every bound; no operation has a use for
    them.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise BadArguments(f"{where} is {value}; numbers must be finite")
    if isinstance(value, dict):
        for key, item in value.items():
            refuse_not_finite(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            refuse_not_finite(item, f"{where}[{index}]")


T = TypeVar("T", bound=Struct)


def parse(operation: str, kind: type[T], arguments: dict[str, Any]) -> T:
    """Returns `arguments` as a struct of type `kind`; raises `BadArguments` with the path of the
    first thing that is wrong.
    """
    refuse_not_finite(arguments, operation)
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise BadArguments(f"{operation}: {error}") from None
