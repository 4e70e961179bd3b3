"""Between text and tokens: prompts to ids, ids to texts, and where in the text each token ends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arguments import ChatMessage, Prompt
from .chats import render_chat, with_special_tokens

INCOMPLETE = "\ufffd"
#: One of these is what a folder's tokenizer is read from.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
)


def has_tokenizer(folder: str) -> bool:
    return any(os.path.isfile(os.path.join(folder, name)) for name in TOKENIZER_FILES)


def utf16_length(text: str) -> int:
    """Length in UTF-16 units, as JavaScript counts: two for every character beyond U+FFFF."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def plain_chat(messages: Sequence[ChatMessage]) -> str:
    """A chat as plain text, for models without a chat template: `role: content` for each message, a blank line between two, and at the end
    `assistant:`, after which the model goes on. (`promptText` in `src/text/critic-prompt.ts` shows chats alike.)

    After a last message of the assistant the model goes on in that.
    """
    turns = [f"{m.role}: {m.content}" for m in messages]
    if messages[-1].role == "assistant":
        turns[-1] = turns[-1] if messages[-1].content else "assistant:"
    else:
        turns.append("assistant:")
    return "\n\n".join(turns)


def encode_prompt(
    tokenizer: Any, prompt: Prompt, where: str, template_options: dict[str, Any] | None = None
) -> list[int]:
    """Ids of a prompt: text with the special tokens that its tokenizer adds, chat as its template renders it, or as `plain_chat` does where it has none.

    `template_options`: given to the template. All of it: `truncation=False` goes before whatever a tokenizer's own files say.
    """
    if isinstance(prompt, str):
        return with_special_tokens(tokenizer, prompt)
    messages = [m for m in prompt if isinstance(m, ChatMessage)]
    if not getattr(tokenizer, "chat_template", None):
        return with_special_tokens(tokenizer, plain_chat(messages))
    chat = [{"role": m.role, "content": m.content} for m in messages]
    return encode_text(tokenizer, render_chat(tokenizer, chat, where, template_options))


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Ids of text as it stands, nothing added."""
    return list(tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"])


class TextDecoder:
    """Texts and token ends, fast where a tokenizer decodes piece by piece.

    `pieces[i]` is what token i adds after another token, `lone[i]` what it is at the start. Most tokenizers' texts are just the pieces laid
    end to end; that is checked for each sequence against the tokenizer's own text, and a sequence that differs takes a slower, exact way.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.tokenizer = tokenizer
        self.backend = getattr(tokenizer, "_tokenizer", None)
        if not hasattr(self.backend, "decode_batch"):
            self.backend = None
        self.lone = self.texts([[token] for token in range(vocabulary)])
        #: A plain token that pieces are read after.
        self.anchor = next((i for i, text in enumerate(self.lone) if text.isascii() and text.isalnum()), None)
        if self.anchor is None:
            self.pieces: list[str | None] = [None] * vocabulary
        else:
            start = self.lone[self.anchor]
            after = self.texts([[self.anchor, token] for token in range(vocabulary)])
            self.pieces = [text[len(start) :] if text.startswith(start) else None for text in after]
        self.piece_units = np.array([utf16_length(piece or "") for piece in self.pieces], dtype=np.int64)
        #: A piece that is no whole character, or no plain addition to the text before it: its sequence needs the exact way.
        self.odd = np.array([piece is None or INCOMPLETE in piece for piece in self.pieces], dtype=bool)
        self.any_odd = bool(self.odd.any())

    def texts(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """The tokenizer's own texts, special tokens skipped, spaces as they are."""
        if self.backend is not None:
            return list(self.backend.decode_batch(sequences, skip_special_tokens=True))
        decode = self.tokenizer.decode
        return [decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) for ids in sequences]

    def decode(self, sequences: Sequence[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
        """Texts, and for each sequence int32 [tokens]: UTF-16 units of its text that are complete after each token."""
        lists = [ids.tolist() for ids in sequences]
        texts = self.texts(lists)
        return texts, [self.ends(array, ids, text) for array, ids, text in zip(sequences, lists, texts, strict=True)]

    def ends(self, array: np.ndarray, ids: list[int], text: str) -> np.ndarray:
        if not ids:
            return np.zeros(0, np.int32)
        if not (self.any_odd and self.odd[array].any()):
            units = self.piece_units[array]
            joined = self._joined(ids)
            if joined is not None and joined[0] == text:
                units[: joined[1]] = 0
                units[joined[1]] = utf16_length(self.lone[ids[joined[1]]])
                return units.cumsum().astype(np.int32)
        return self._by_runs(ids, text)

    def _joined(self, ids: list[int]) -> tuple[str, int] | None:
        """The pieces laid end to end, and which token starts the text (specials before it add none)."""
        first = next((k for k, token in enumerate(ids) if self.lone[token]), None)
        if first is None:
            return "", 0
        rest = "".join([self.pieces[token] or "" for token in ids[first + 1 :]])
        return self.lone[ids[first]] + rest, first

    def _by_runs(self, ids: list[int], text: str) -> np.ndarray:
        """Tokens that are parts of characters are decoded together with their neighbours, until the run is whole."""
        ends = np.zeros(len(ids), np.int64)
        built: list[str] = []
        total = 0
        run: list[int] = []
        for k, token in enumerate(ids):
            piece = self.pieces[token]
            if not run and built and piece is not None and INCOMPLETE not in piece:
                added = piece
            else:
                run.append(token)
                whole = self._run_text(run, not built)
                if whole is None:
                    return self._exact(ids, text)
                if whole.endswith(INCOMPLETE) and k < len(ids) - 1:
                    # A token may end one character and begin the next.
                    ends[k] = total + utf16_length(whole.rstrip(INCOMPLETE))
                    continue
                added = whole
                run = []
            if added:
                built.append(added)
            total += utf16_length(added)
            ends[k] = total
        if "".join(built) != text:
            return self._exact(ids, text)
        return ends.astype(np.int32)

    def _run_text(self, run: list[int], at_start: bool) -> str | None:
        if at_start:
            return self.texts([run])[0]
        if self.anchor is None:
            return None
        text = self.texts([[self.anchor, *run]])[0]
        start = self.lone[self.anchor]
        return text[len(start) :] if text.startswith(start) else None

    def _exact(self, ids: list[int], text: str) -> np.ndarray:
        """What every prefix of the tokens has in common with the whole text. Slow (quadratic), for tokenizers that rewrite what stands before."""
        ends = np.zeros(len(ids), np.int32)
        previous = 0
        for k, prefix in enumerate(self.texts([ids[: k + 1] for k in range(len(ids))])):
            sure = prefix.rstrip(INCOMPLETE) if k < len(ids) - 1 else text
            common = 0
            while common < min(len(sure), len(text)) and sure[common] == text[common]:
                common += 1
            previous = max(previous, utf16_length(text[:common]))
            ends[k] = previous
        return ends


class StopStrings:
    """Finds the first token after which a completion's text holds one of `strings`.

    Decoding every completion after every token would be dear, so only tokens whose piece holds a stop string's last character are looked at.
    """

    def __init__(self, decoder: TextDecoder, strings: list[str]) -> None:
        self.decoder = decoder
        self.strings = strings
        last = {string[-1] for string in strings}
        self.may_end = np.array(
            [
                piece is None or INCOMPLETE in piece or not last.isdisjoint(piece) or not last.isdisjoint(lone)
                for piece, lone in zip(decoder.pieces, decoder.lone, strict=True)
            ],
            dtype=bool,
        )
        #: A stop string of m characters ends within its last m tokens that add text; some more are read for pieces that need a neighbour.
        self.reach = 4 * max(len(string) for string in strings) + 8

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether the text of `ids` holds a stop string; the caller asks after each token that may end one."""
        tail = self.decoder.texts([ids[-self.reach :]])[0]
        if not any(string in tail for string in self.strings):
            return False
        return len(ids) <= self.reach or any(string in self.decoder.texts([ids])[0] for string in self.strings)
