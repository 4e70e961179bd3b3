"""Chats and special tokens: what a tokenizer's own files add to a text."""

from __future__ import annotations

import re
from typing import Any

from ..wire.context import BadArguments
from ..wire.errors import one_line

#: Arguments of `apply_chat_template` that are not a template's to read.
RESERVED = (
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "conversation",
    "max_length",
    "messages",
    "padding",
    "return_assistant_tokens_mask",
    "return_dict",
    "return_tensors",
    "tokenize",
    "tokenizer_kwargs",
    "truncation",
)


def render_chat(
    tokenizer: Any, chat: list[dict[str, str]], where: str, options: dict[str, Any] | None = None
) -> str:
    """Returns a chat as the tokenizer's template renders it, with what opens the assistant's turn.

    `options`: given to the template. A chat that ends with an assistant's message is a prefill: its
    turn stays open, and the model continues it. Raises `BadArguments`.
    """
    if len(chat) > 1 and chat[-1]["role"] == "assistant" and chat[-1]["content"] == "":
        chat = chat[:-1]  # a turn of which nothing is written yet
    goes_on = chat[-1]["role"] == "assistant"
    try:
        text: str = tokenizer.apply_chat_template(
            chat,
            **(options or {}),
            tokenize=False,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
        )
    except Exception as error:
        raise BadArguments(f"{where}: the chat template refused it: {one_line(error)}") from error
    return text


def encode_texts(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Returns the ids of each text alone, nothing added. Fast tokenizers read them in parallel."""
    if not texts:
        return []
    return [
        list(ids)
        for ids in tokenizer(texts, add_special_tokens=False, truncation=False)["input_ids"]
    ]


def refuse_template_options(tokenizer: Any, options: dict[str, Any], source: str) -> None:
    """Raises `BadArguments` for chat template options that no template reads."""
    if not options:
        return
    reserved = sorted(set(options) & set(RESERVED))
    if reserved:
        raise BadArguments(
            f"load_model: chat_template_kwargs has {', '.join(reserved)}, which is not a "
            "template's to read"
        )
    if not getattr(tokenizer, "chat_template", None):
        raise BadArguments(
            f"load_model: chat_template_kwargs has no effect, for the tokenizer of {source!r} has "
            "no chat template"
        )
    template = str(tokenizer.chat_template)  # of several named ones all
    unread = sorted(name for name in options if not re.search(rf"\b{re.escape(name)}\b", template))
    if unread:
        raise BadArguments(
            f"load_model: chat_template_kwargs has {', '.join(unread)}, which the chat template of "
            f"{source!r} does not read"
        )


def with_special_tokens(tokenizer: Any, text: str) -> list[int]:
    """Returns the ids of a text that a model goes on from, with the special tokens that its
    tokenizer adds.

    Without an end-of-sequence token that the tokenizer adds at the end, which would say that the
    text is complete. One that the text itself holds stays.
    """
    return without_added_end(tokenizer, list(tokenizer(text, truncation=False)["input_ids"]))


def without_added_end(tokenizer: Any, ids: list[int]) -> list[int]:
    """Returns the ids of a text without what the tokenizer adds at the end to say that it is
    complete.
    """
    added = added_at_end(tokenizer)
    return ids[: len(ids) - len(added)] if added and ids[-len(added) :] == added else ids


def added_at_end(tokenizer: Any) -> list[int]:
    """Returns the ids that a tokenizer adds after every text, if the end-of-sequence token is among
    them.
    """
    known: list[int] | None = getattr(tokenizer, "_genac_added_at_end", None)
    if known is None:
        known = _added_at_end(tokenizer)
        tokenizer._genac_added_at_end = known
    return known


def _added_at_end(tokenizer: Any) -> list[int]:
    end = tokenizer.eos_token_id
    words = (
        tokenizer.decode([k])
        for k in range(min(len(tokenizer), 1000))
        if k not in tokenizer.all_special_ids
    )
    for text in ("a", "1", *words):
        bare = list(tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"])
        ids = list(tokenizer(text, truncation=False)["input_ids"])
        if len(bare) == 0 or end in bare:
            continue
        starts = [k for k in range(len(ids) - len(bare) + 1) if ids[k : k + len(bare)] == bare]
        if starts:
            after = ids[starts[0] + len(bare) :]
            return after if end in after else []
    return []
