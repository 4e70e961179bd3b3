"""Chat templates, and a tokenizer with one, for tests of literal text."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from genac_bridge.wire.arguments import ChatMessage

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


STRIPPED = CHATML.replace("m['content']", "m['content'] | trim")


TEXT_MARKS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else "
    "%} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)


HEADERS = "{% for m in messages %}### Human:\n{{ m['content'] }}\n\n{% endfor %}### Response:\n"


LINES = HEADERS.replace("### Human:", "=== HUMAN ===").replace("### Response:", "=== ASSISTANT ===")


BOLD = HEADERS.replace("### Human:", "**Human**:").replace("### Response:", "**Assistant**:")


SPACED = CHATML.replace("<|im_start|>", "<| who |>")


LABELS = "Be kind. {% for m in messages %}USER: {{ m['content'] }} {% endfor %}ASSISTANT:"


def chatml(
    special: bool = True, normalizer: Any = None, template: str = CHATML, bos: bool = False
) -> Any:
    """A byte-level tokenizer with the marks of ChatML."""
    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.add_special_tokens(["<|endoftext|>"])
    marks = [
        AddedToken(mark, normalized=normalizer is not None)
        for mark in ("<|im_start|>", "<|im_end|>")
    ]
    if special:
        backend.add_special_tokens(marks)
    else:
        backend.add_tokens(marks)
    backend.add_tokens(
        [AddedToken("   ", normalized=False), AddedToken("<think>", normalized=False)]
    )
    if bos:
        end = backend.token_to_id("<|endoftext|>")
        backend.post_processor = processors.TemplateProcessing(
            "<|endoftext|> $A", "$A $B", [("<|endoftext|>", end)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", chat_template=template
    )


def chat(*contents: str) -> list[ChatMessage]:
    roles = ["user"] if len(contents) == 1 else ["system", "user", "assistant", "user"]
    return [ChatMessage(role, content) for role, content in zip(roles, contents, strict=False)]
