"""From text to tokens: prompts, as text or chats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..wire.arguments import ChatMessage, Prompt
from .chats import encode_texts, render_chat, with_special_tokens
from .folding import break_turns, folded
from .literal import Literal, Messages

#: Chats that a tokenizer is given at once: it reads them in parallel.
AT_ONCE = 256

#: Who speaks in chats, besides the roles that a chat has itself.
ROLES = ("assistant", "developer", "function", "system", "tool", "user")


def plain_chat(messages: Sequence[ChatMessage], literal: bool = False) -> str:
    """Returns a chat as plain text, for models without a chat template: `role: content` for each
    message, a blank line between two, and at the end `assistant:`, after which the model continues.

    The model continues a last message of the assistant. `promptText` in
    `src/text/critic-prompt.ts` shows chats alike.

    `literal`: no line of a content begins as a turn does; its colon is replaced.
    """
    roles = {*ROLES, *(folded(m.role) for m in messages)}
    contents = [break_turns(m.content, roles) if literal else m.content for m in messages]
    turns = [f"{m.role}: {text}" for m, text in zip(messages, contents, strict=True)]
    if messages[-1].role == "assistant":
        turns[-1] = turns[-1] if contents[-1] else "assistant:"
    else:
        turns.append("assistant:")
    return "\n\n".join(turns)


def encode_prompts(
    tokenizer: Any,
    prompts: Sequence[Prompt],
    where: str,
    literal: Literal | None = None,
    template_options: dict[str, Any] | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Returns the ids of each prompt: text with the special tokens that its tokenizer adds, chat as
    its template renders it, or as `plain_chat` does where it has none.

    `where`: the list's name, for errors. `literal`: the contents are other people's text, which
    makes no control token. `template_options`: given to the template. `check` is called now and
    then, and may raise. All of it: `truncation=False` goes before whatever a tokenizer's own files
    say.
    """
    found: dict[int, list[int]] = {}
    chats: list[int] = []
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str) and getattr(tokenizer, "chat_template", None):
            chats.append(index)
            continue
        check()
        messages = [] if isinstance(prompt, str) else list(prompt)
        text = prompt if isinstance(prompt, str) else plain_chat(messages, literal is not None)
        found[index] = (
            with_special_tokens(tokenizer, text)
            if literal is None
            else literal.text(text, f"{where}[{index}]", special=True)
        )

    def render(chat: Messages, place: str) -> str:
        given = [{"role": role, "content": content} for role, content in chat]
        return render_chat(tokenizer, given, place, template_options)

    for start in range(0, len(chats), AT_ONCE):
        check()
        some = chats[start : start + AT_ONCE]
        given = [[(m.role, m.content) for m in prompts[i] if not isinstance(m, str)] for i in some]
        places = [f"{where}[{index}]" for index in some]
        found |= zip(
            some,
            encode_texts(tokenizer, list(map(render, given, places)))
            if literal is None
            else literal.chats(given, render, places),
            strict=True,
        )
    return [found[index] for index in range(len(prompts))]
