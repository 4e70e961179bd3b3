"""From tokens to text, and where in the text each token ends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

INCOMPLETE = "\ufffd"
#: Tokens. A character has at most four bytes.
LONG_RUN = 16
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
    """Returns the length in UTF-16 units, as JavaScript counts: two for every character beyond
    U+FFFF.
    """
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


class TextDecoder:
    """Texts and token ends, fast where a tokenizer decodes piece by piece.

    `pieces[i]` is what token i adds after another token, `lone[i]` what it is at the start. Most
    tokenizers' texts are just the pieces laid end to end; that is checked for each sequence against
    the tokenizer's own text, and a sequence that differs takes a slower, exact way.

    What is complete after a token depends on this token and those before it, never on later ones:
    whoever reads the text up to there sees what was known there. (Not the last token's end, which
    is the text's length, nor tokenizers that rewrite words, as WordPiece's clean-up does.)
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.tokenizer = tokenizer
        self.backend = getattr(tokenizer, "_tokenizer", None)
        if not hasattr(self.backend, "decode_batch"):
            self.backend = None
        self.lone = self.texts([[token] for token in range(vocabulary)])
        #: A plain token that pieces are read after.
        self.anchor = self._find_anchor()
        if self.anchor is None:
            self.pieces: list[str | None] = [None] * vocabulary
        else:
            start = self.lone[self.anchor]
            after = self.texts([[self.anchor, token] for token in range(vocabulary)])
            self.pieces = [text[len(start) :] if text.startswith(start) else None for text in after]
        self.piece_units = np.array(
            [utf16_length(piece or "") for piece in self.pieces], dtype=np.int64
        )
        #: A piece that is no whole character, or no plain addition to the text before it: its
        #: sequence needs the exact way.
        self.odd = np.array(
            [piece is None or INCOMPLETE in piece for piece in self.pieces], dtype=bool
        )
        #: Are bytes that follow each other decoded together, so that a bad one spoils a newline
        #: before it? So it is with sentencepiece's byte fallback.
        self.spoils = self._find_spoiled()
        self.any_odd = bool(self.odd.any())
        self._runs: dict[tuple[int, ...], str | None] = {}

    def _find_anchor(self) -> int | None:
        """Returns a token of letters or digits that stays what it is where a part of a character
        follows: no byte of sentencepiece's byte fallback.
        """
        candidates = [i for i, text in enumerate(self.lone) if text.isascii() and text.isalnum()]
        part = next((i for i, text in enumerate(self.lone) if INCOMPLETE in text), None)
        if part is None or not candidates:
            return candidates[0] if candidates else None
        followed = self.texts([[token, part] for token in candidates])
        stays = (
            i for i, text in zip(candidates, followed, strict=True) if text.startswith(self.lone[i])
        )
        return next(stays, None)

    def _find_spoiled(self) -> bool:
        """Marks tokens as odd whose text changes where a part of a character follows; says whether
        there are any."""
        part = next(
            (i for i, piece in enumerate(self.pieces) if piece is not None and INCOMPLETE in piece),
            None,
        )
        if part is None or self.anchor is None:
            return False
        start = self.lone[self.anchor]
        followed = self.texts([[self.anchor, token, part] for token in range(len(self.pieces))])
        spoiled = [
            piece is not None and INCOMPLETE not in piece and not text.startswith(start + piece)
            for text, piece in zip(followed, self.pieces, strict=True)
        ]
        self.odd |= np.array(spoiled, dtype=bool)
        return any(spoiled)

    def texts(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Returns the tokenizer's own texts, special tokens skipped, spaces as they are."""
        if self.backend is not None:
            return list(self.backend.decode_batch(sequences, skip_special_tokens=True))
        decode = self.tokenizer.decode
        return [
            decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for ids in sequences
        ]

    def decode(self, sequences: Sequence[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
        """Returns the texts, and for each the UTF-16 units of its text, int32 [tokens], that are
        complete after each token.
        """
        lists = [ids.tolist() for ids in sequences]
        texts = self.texts(lists)
        return texts, [
            self.ends(array, ids, text)
            for array, ids, text in zip(sequences, lists, texts, strict=True)
        ]

    def ends(self, array: np.ndarray, ids: list[int], text: str) -> np.ndarray:
        if not ids:
            return np.zeros(0, np.int32)
        if not (self.any_odd and self.odd[array].any()):
            joined = self._joined(ids)
            if joined is not None and joined[0] == text:
                units = self.piece_units[array]
                units[: joined[1]] = 0
                units[joined[1]] = utf16_length(self.lone[ids[joined[1]]])
                return units.cumsum().astype(np.int32)
        return self._by_runs(ids, text)

    def _joined(self, ids: list[int]) -> tuple[str, int] | None:
        """Returns the pieces laid end to end, and which token starts the text (specials before it
        add none); None: no token does.
        """
        first = next((k for k, token in enumerate(ids) if self.lone[token]), None)
        if first is None:
            return None
        rest = "".join([self.pieces[token] or "" for token in ids[first + 1 :]])
        return self.lone[ids[first]] + rest, first

    def _by_runs(self, ids: list[int], text: str) -> np.ndarray:
        """Tokens that are parts of characters are decoded together with their neighbours, until
        the run is whole. So are the first tokens, until there is text: a blank at the start may
        show or not."""
        ends = np.zeros(len(ids), np.int64)
        built: list[str] = []
        total = 0
        run: list[int] = []
        for k, token in enumerate(ids):
            piece = self.pieces[token]
            plain = piece is not None and not self.odd[token]
            if plain and built and not run:
                added = piece or ""
            else:
                run.append(token)
                last = k == len(ids) - 1
                # A plain token ends a run of bytes, for none after it can spoil them; a special
                # token does not.
                if (
                    self.spoils
                    and not last
                    and not (plain and piece)
                    and any(self.odd[t] for t in run)
                ):
                    ends[k] = total
                    continue
                whole = self._run_text(run, not built)
                if whole is None:
                    return self._exact(ids, text)
                if not last and (
                    (not self.spoils and whole.endswith(INCOMPLETE)) or not (built or whole)
                ):
                    settled = self._settled(run, whole, not built)
                    if settled is not None:
                        built.append(settled[0])
                        total += utf16_length(settled[0])
                        run, whole = run[settled[1] :], settled[2]
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

    def _settled(self, run: list[int], whole: str, at_start: bool) -> tuple[str, int, str] | None:
        """Returns what no later byte can change of a long run of broken bytes: its text, its number
        of tokens, and the text of the rest. Without it a run of n tokens would be decoded n times.
        """
        if len(run) < LONG_RUN:
            return None
        for count in range(len(run) - 4, len(run) - 8, -1):
            before, after = (
                self._run_text(run[:count], at_start),
                self._run_text(run[count:], False),
            )
            # What the two give by themselves, they give together: no character lies across the cut,
            # and the bytes after it end what is before.
            if before and after is not None and before + after == whole:
                return before, count, after
        return None

    def _run_text(self, run: list[int], at_start: bool) -> str | None:
        if at_start:
            return self.texts([run])[0]
        if self.anchor is None:
            return None
        key = tuple(run)
        if key not in self._runs:
            if len(self._runs) > 10_000:
                self._runs.clear()
            text = self.texts([[self.anchor, *run]])[0]
            start = self.lone[self.anchor]
            self._runs[key] = text[len(start) :] if text.startswith(start) else None
        return self._runs[key]

    def _exact(self, ids: list[int], text: str) -> np.ndarray:
        """Returns what every prefix of the tokens has in common with the whole text.

        Slow (quadratic), for tokenizers that rewrite earlier text.
        """
        ends = np.zeros(len(ids), np.int32)
        previous = 0
        waits = False
        for k, prefix in enumerate(self.texts([ids[: k + 1] for k in range(len(ids))])):
            last = k == len(ids) - 1
            if (
                self.spoils
                and (self.odd[ids[k]] or (waits and self.pieces[ids[k]] == ""))
                and not last
            ):
                waits = True
                ends[k] = previous
                continue
            waits = False
            sure = text if last else prefix.rstrip(INCOMPLETE)
            common = 0
            while common < min(len(sure), len(text)) and sure[common] == text[common]:
                common += 1
            previous = max(previous, utf16_length(text[:common]))
            ends[k] = previous
        return ends


class StopStrings:
    """Finds the first token after which a completion's text holds one of `strings`.

    Decoding every completion after every token would cost too much, so it decodes only after tokens
    whose piece holds a stop string's last character.
    """

    def __init__(self, decoder: TextDecoder, strings: list[str]) -> None:
        self.decoder = decoder
        self.strings = strings
        last = {string[-1] for string in strings}
        self.may_end = np.array(
            [
                piece is None
                or INCOMPLETE in piece
                or not last.isdisjoint(piece)
                or not last.isdisjoint(lone)
                for piece, lone in zip(decoder.pieces, decoder.lone, strict=True)
            ],
            dtype=bool,
        )
        #: A stop string of m characters ends within its last m tokens that add text; some more are
        #: read for pieces that need a neighbour.
        self.reach = 4 * max(len(string) for string in strings) + 8

    def ended(self, ids: Sequence[int]) -> bool:
        """Returns whether the text of `ids` holds a stop string; the caller asks after each token
        that may end one.
        """
        tail = self.decoder.texts([ids[-self.reach :]])[0]
        if not any(string in tail for string in self.strings):
            return False
        return len(ids) <= self.reach or any(
            string in self.decoder.texts([ids])[0] for string in self.strings
        )
