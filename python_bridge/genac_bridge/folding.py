"""Text as a reader takes it: full-width forms, capitals and invisible characters are folded away,
so that a mark is found however it is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

#: Shown as nothing or as a blank, though Unicode calls them letters or symbols.
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_LINE_ENDS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_ASCII = {code: "\n" if chr(code) in _LINE_ENDS else None for code in (*range(9), *range(10, 32), 127)}
#: What takes the place of a mark's first character. No Unicode normalization folds one to the
#: other.
_INSTEAD = {"<": "\u2039", "[": "\u2045", "{": "\u2774"}
#: Looks like a colon (RATIO) and is none.
_COLON = "\u2236"


@lru_cache(maxsize=65536)
def fold_character(character: str) -> str:
    """What a reader takes a character for: nothing, a line feed (for each kind of line end), or
    compatibility characters in lower case."""
    if character in _LINE_ENDS:
        return "\n"
    if character in _BLANK_LETTERS or (unicodedata.category(character) == "Cc" and character != "\t"):
        return ""
    parts = unicodedata.normalize("NFKC", character).casefold()
    return "".join(part for part in parts if unicodedata.category(part) not in ("Cf", "Mn", "Me"))


def folded(text: str) -> str:
    """`text`, folded. Takes linear time."""
    if text.isascii():
        return text.translate(_ASCII).lower()
    return "".join(map(fold_character, text))


def fold(text: str) -> tuple[str, list[int]]:
    """The folded text, and for each of its characters the index in `text` that it comes from."""
    parts: list[str] = []
    sources: list[int] = []
    for index, character in enumerate(text):
        for part in fold_character(character):
            parts.append(part)
            sources.append(index)
    return "".join(parts), sources


def break_marks(text: str, marks: Iterable[str]) -> str:
    """`text` with none of `marks` in it, in whatever form: of each occurrence one character is
    replaced. Marks are folded ones, of two characters or more."""
    plain = folded(text)
    present = [mark for mark in marks if mark in plain]
    if not present:
        return text
    plain, sources = fold(text)
    characters = list(text)
    for mark in present:
        at = plain.find(mark)
        while at >= 0:
            within_word = mark[0].isalnum() and at > 0 and plain[at - 1].isalnum()
            if mark[-1] == ":" and not within_word:
                characters[sources[at + len(mark) - 1]] = _COLON
            elif not within_word:
                characters[sources[at]] = _INSTEAD.get(mark[0], f"{mark[0]}\u00b7")
            at = plain.find(mark, at + 1)
    return "".join(characters)


def break_turns(text: str, roles: Iterable[str]) -> str:
    """`text` with no line, after its first, that begins as a turn of a plain-text chat does:
    `assistant:`. Roles are folded ones."""
    plain = folded(text)
    names = [role for role in roles if role in plain]
    if not names:
        return text
    turn = re.compile(rf"[^\S\n]*(?:{'|'.join(map(re.escape, names))})[^\S\n]*:")
    plain, sources = fold(text)
    characters = list(text)
    start = 0
    for number, line in enumerate(plain.split("\n")):
        found = turn.match(line) if number > 0 else None
        if found:
            characters[sources[start + found.end() - 1]] = _COLON
        start += len(line) + 1
    return "".join(characters)
