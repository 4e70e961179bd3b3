"""Prompts that hold other people's text: it adds no control token and no turn, whatever it
contains.
Only the chat template writes control tokens.

What is built is checked by its ids: they hold the same control tokens, in the same order, as the
template has around harmless contents.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..wire.context import BadArguments
from .chats import encode_texts, without_added_end
from .folding import break_marks, folded

#: `<|im_start|>` and its like are control tokens even where a tokenizer doesn't call them special.
_PIPES = re.compile(r"<[|\uff5c].*[|\uff5c]>", re.DOTALL)
#: Marks that a template writes as plain text: `[INST]`, `<<SYS>>`, `<|user|>`; the lines
#: `### Response:`, `=== USER ===` and `**User**:`; `ASSISTANT:` before a content.
_BRACKETS = re.compile(
    r"<[|\uff5c][^<>\n]*[|\uff5c]>|<<[^<>\s]+>>|<[^<>\s]+>|\[[^\[\]\s]+\]|\{\{[^{}\s]+\}\}"
)
_HEADER = re.compile(r"^(?:#+|[=*~+|_-]{2,})[^\n]*\w[^\n]*$", re.MULTILINE)
_LABEL = re.compile(r"(?:^|\s)(\w+:)[^\S\n]*$", re.MULTILINE)
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.\-]{0,63}")

Messages = Sequence[tuple[str, str]]
#: A chat, at a place that errors name, as text by the tokenizer's chat template.
Render = Callable[[Messages, str], str]


@dataclass(frozen=True)
class Skeleton:
    """A chat template around harmless contents."""

    #: The template's text before, between and after the contents.
    pieces: list[str]
    #: Which message's content follows each piece but the last.
    slots: list[int]
    #: Control tokens of the whole, in order.
    control: list[int]
    #: Folded marks of turns that are plain text, which contents may not contain.
    marks: list[str]


def letters(count: int) -> str:
    """Random lower-case letters: text that can't be known in advance."""
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(count))


class Literal:
    """Encodes for one tokenizer. Text that holds nothing of a control token gets the ids that the
    tokenizer gives it.

    Otherwise three ways are tried, and the first is taken whose ids are right:
    - a copy of the tokenizer that knows the control tokens by secret names, which no text can hold;
    - the tokenizer's own `split_special_tokens`;
    - the text with the text of each control token broken by another character.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        backend = getattr(tokenizer, "_tokenizer", None)
        self.backend = backend if hasattr(backend, "to_str") else None
        self.template = getattr(tokenizer, "chat_template", None)
        self.names = self._control_tokens()
        self.control = frozenset(self.names.values())
        self._marks = sorted({folded(name) for name in self.names if len(folded(name)) > 1})
        self._secret = letters(24)
        self._twin: Any = None
        self._skeletons: dict[tuple[tuple[str, str | None], ...], Skeleton] = {}

    def _control_tokens(self) -> dict[str, int]:
        """Returns the control tokens by their text: special ones, those that the chat template
        writes, and those of the form `<|...|>`.

        Without the token that stands for unknown text, which any text may hold, unless it has
        another meaning too.
        """
        tokenizer = self.tokenizer
        template = json.dumps(self.template, ensure_ascii=False) if self.template else ""
        names = {
            name: tokenizer.convert_tokens_to_ids(name) for name in tokenizer.all_special_tokens
        }
        for token, added in getattr(tokenizer, "added_tokens_decoder", {}).items():
            mark = not (added.content.isspace() or added.content.isalnum())
            if (
                added.special
                or _PIPES.fullmatch(added.content)
                or (mark and added.content in template)
            ):
                names[added.content] = token
        others = ("bos_token", "eos_token", "sep_token", "cls_token", "mask_token")
        meant = {getattr(tokenizer, name, None) for name in others}
        model = getattr(self.backend, "model", None)
        for unknown in (getattr(tokenizer, "unk_token", None), getattr(model, "unk_token", None)):
            if unknown not in meant and not (unknown and unknown in template):
                names.pop(unknown, None)
        return {name: token for name, token in names.items() if token is not None}

    def _in_order(self, ids: Sequence[int]) -> list[int]:
        return [token for token in ids if token in self.control]

    def text(self, text: str, where: str, special: bool = False) -> list[int]:
        """Returns the ids of text that is other people's as a whole. `special`: with the control
        tokens that the tokenizer puts around a text, but for an end-of-sequence token at the end.
        """
        ids = self._text(text, where, special)
        return without_added_end(self.tokenizer, ids) if special else ids

    def _text(self, text: str, where: str, special: bool) -> list[int]:
        own = self._ids(text, special)
        expected = self._in_order(self._ids("a", special)) if special else []
        if not text or self._in_order(own) == expected:
            return own
        ways: list[Callable[[], list[int]]] = [
            lambda: self._twin_ids(text, special),
            lambda: list(
                self.tokenizer(text, **self._options(special), split_special_tokens=True)[
                    "input_ids"
                ]
            ),
            lambda: self._ids(break_marks(text, self._marks), special),
        ]
        return self._first_right(ways, expected, where)

    def chats(
        self,
        chats: Sequence[Messages],
        render: Render,
        places: Sequence[str],
    ) -> list[list[int]]:
        """Returns the ids of chats, each at a place that errors name."""
        guarded = [
            self._guarded(messages, render, place)
            for messages, place in zip(chats, places, strict=True)
        ]
        own = encode_texts(self.tokenizer, [text for _, _, text in guarded])
        return [
            ids
            if self._in_order(ids) == skeleton.control
            else self._unlike(skeleton, given, text, render, place)
            for ids, (skeleton, given, text), place in zip(own, guarded, places, strict=True)
        ]

    def _guarded(
        self, messages: Messages, render: Render, where: str
    ) -> tuple[Skeleton, Messages, str]:
        """Returns a chat's skeleton, the chat without marks of turns in its contents, and its
        text.
        """
        for role, _ in messages:
            if not _ROLE.fullmatch(role):
                raise BadArguments(
                    f"{where}: the role {role!r} is not a plain name, such as user, assistant or "
                    "system"
                )
        skeleton = self._skeleton(messages, render, where)
        given = [(role, break_marks(text, skeleton.marks, loosely=True)) for role, text in messages]
        return skeleton, given, render(given, where)

    def _unlike(
        self,
        skeleton: Skeleton,
        given: Messages,
        text: str,
        render: Render,
        where: str,
    ) -> list[int]:
        """Returns the ids of a chat whose text makes other control tokens than its template."""
        contents = self._as_rendered([content for _, content in given], skeleton, text)
        ways: list[Callable[[], list[int]]] = [
            lambda: self._twin_chat(skeleton, contents),
            lambda: self._piecewise(skeleton, contents),
            lambda: self._ids(
                render([(role, break_marks(text, self._marks)) for role, text in given], where),
                False,
            ),
        ]
        return self._first_right(ways, skeleton.control, where)

    def _first_right(
        self, ways: list[Callable[[], list[int]]], expected: list[int], where: str
    ) -> list[int]:
        for way in ways:
            try:
                ids = way()
            except Exception:  # this tokenizer does not go this way
                continue
            if self._in_order(ids) == expected:
                return ids
        raise BadArguments(
            f"{where}: its text makes control tokens of the tokenizer "
            f"({', '.join(sorted(self.names)[:5])}, ...), and no way was found to encode it as "
            "plain text. Use a fast tokenizer, or take such text out"
        )

    def _options(self, special: bool) -> dict[str, Any]:
        return (
            {"truncation": False} if special else {"truncation": False, "add_special_tokens": False}
        )

    def _ids(self, text: str, special: bool) -> list[int]:
        return list(self.tokenizer(text, **self._options(special))["input_ids"])

    def _skeleton(self, messages: Messages, render: Render, where: str) -> Skeleton:
        key = tuple((role, None if content.strip() else content) for role, content in messages)
        known = self._skeletons.get(key)
        if known is not None:
            return known
        harmless = [
            (role, f"{self._secret}{index}z" if content.strip() else content)
            for index, (role, content) in enumerate(messages)
        ]
        text = render(harmless, where)
        parts = re.split(rf"{self._secret}(\d+)z", text)
        pieces, slots = parts[::2], [int(slot) for slot in parts[1::2]]
        skeleton = Skeleton(
            pieces, slots, self._in_order(self._ids(text, False)), self._text_marks(pieces)
        )
        if len(self._skeletons) < 1000:
            self._skeletons[key] = skeleton
        return skeleton

    def _text_marks(self, pieces: list[str]) -> list[str]:
        """Returns the folded marks of turns that the template writes as plain text."""
        tokens = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
        marks: set[str] = set()
        for piece in pieces:
            for part in re.split(tokens, piece) if tokens else [piece]:
                for found in (
                    *_BRACKETS.findall(part),
                    *_HEADER.findall(part),
                    *_LABEL.findall(part),
                ):
                    marks.add(folded(found.strip()))
        return sorted(mark for mark in marks if len(mark) > 1)

    def _as_rendered(self, contents: list[str], skeleton: Skeleton, text: str) -> list[str]:
        """Contents as the template shows them: many templates strip them."""
        for shown in (contents, [content.strip() for content in contents]):
            if "".join(self._filled(skeleton, shown)) == text:
                return shown
        return contents

    def _filled(self, skeleton: Skeleton, contents: list[str]) -> Iterator[str]:
        for piece, slot in zip(skeleton.pieces, skeleton.slots, strict=False):
            yield piece
            yield contents[slot]
        yield skeleton.pieces[-1]

    def _secret_name(self, token: int) -> str:
        return f"{self._secret}x{token}x"

    def _twin_ids(self, text: str, special: bool) -> list[int]:
        if self._twin is None:
            self._twin = self._made_twin()
        return list(self._twin.encode(text, add_special_tokens=special).ids)

    def _twin_chat(self, skeleton: Skeleton, contents: list[str]) -> list[int]:
        names = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
        hidden = [
            re.sub(names, lambda found: self._secret_name(self.names[found[0]]), piece)
            for piece in skeleton.pieces
        ]
        return self._twin_ids(
            "".join(self._filled(Skeleton(hidden, skeleton.slots, [], []), contents)), False
        )

    def _made_twin(self) -> Any:
        """Returns a copy of the tokenizer in which each control token has a secret name. Raises
        where there is none.
        """
        if self.backend is None:
            raise TypeError("no fast tokenizer")
        data = json.loads(self.backend.to_str())
        data["truncation"] = data["padding"] = None
        for added in data["added_tokens"]:
            if added["content"] in self.names:
                # The secret name holds nothing to normalize.
                added.update(content=self._secret_name(added["id"]), normalized=False, special=True)
        vocabulary = data["model"].get("vocab")
        if isinstance(vocabulary, dict):
            data["model"]["vocab"] = {
                self._secret_name(token) if name in self.names else name: token
                for name, token in vocabulary.items()
            }
        elif isinstance(vocabulary, list):
            data["model"]["vocab"] = [
                [self._secret_name(index) if name in self.names else name, score]
                for index, (name, score) in enumerate(vocabulary)
            ]
        twin = type(self.backend).from_str(json.dumps(data))
        for token in self.control:
            if twin.token_to_id(self._secret_name(token)) != token:
                raise ValueError(f"token {token} moved")
        return twin

    def _piecewise(self, skeleton: Skeleton, contents: list[str]) -> list[int]:
        """Returns each piece by itself, for tokenizers in Python."""
        ids: list[int] = []
        for index, part in enumerate(self._filled(skeleton, contents)):
            if part:
                split = {"split_special_tokens": True} if index % 2 else {}
                ids += self.tokenizer(part, **self._options(False), **split)["input_ids"]
        return ids
