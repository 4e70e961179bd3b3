"""Text as a reader takes it: full-width forms, capitals, accents, look-alike letters of other
scripts and invisible characters are folded away, so that a mark is found however it is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

#: Shown as nothing or as a blank, though Unicode calls them letters or symbols.
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_LINE_ENDS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_ASCII = {
    code: "\n" if chr(code) in _LINE_ENDS else None for code in (*range(9), *range(10, 32), 127)
}
#: Look-alikes of letters and marks, as in `src/text/fold.ts`. A capital stands here where it looks
#: like another letter than its lower case does.
_ALIKE = {
    "a": "аɑαᴀᎪꓮⲁ⍺",
    "b": "ЬьвᏴꓐƀɓ",
    "c": "сϲᴄᏟꓚⲥȼƈ𐐽",
    "d": "ԁᴅᎠꓓđɗ",
    "e": "еєεᴇᎬꓰⲉɛ℮ҽɇ",
    "f": "ꜰꓝꞙƒք",
    "g": "ɡɢᏀꓖցɠ",
    "h": "һʜнΗᎻꓧհħ",
    "i": "іıɩιɪᎥꓲⲓɨ",
    "j": "јᴊᎫꓙɉ",
    "k": "кκᴋᏦꓗⲕƙ",
    "l": "ӏʟᏞꓡłɫ",
    "m": "мᴍΜᎷꓟⲙ",
    "n": "ոռɴηΝꓠⲛɲ",
    "o": "оοσօᴏꓳⲟøɵჿ",
    "p": "рρᴘϱᏢꓑⲣƥ",
    "r": "гʀᎡᏒꓣᴦⲅɍꭇ",
    "s": "ѕꜱςᏚᏕꓢʂȿƽ𐑈",
    "t": "тτᴛᎢꓔⲧŧƭ",
    "u": "υսᴜꓴʋ",
    "v": "ѵνᴠᏙꓦ",
    "w": "ԝᴡᎳᏔꓪⲱ",
    "x": "хχꓫⲭ",
    "y": "уγʏΥᎽꓬⲩ",
    "z": "ᴢΖᏃꓜ",
    "<": "˂ᐸ⟨〈〈❮❰ᗕ❬⟪《⧼⦑ᚲ",
    ">": "˃ᐳ⟩〉〉❯❱❭⟫》⧽⦒",
    "/": "∕⁄⧸",
    ":": "꞉ː",
}
_WRITTEN = [(letter, plain) for plain, letters in _ALIKE.items() for letter in letters]
_LOOK_ALIKES = {form: b for a, b in _WRITTEN for form in (a.lower(), a.casefold())}
_LOOK_ALIKES.update(_WRITTEN)
#: Where alphabets of letters in circles and squares (white on black) and in flags begin.
_ALPHABETS = (0x1F150, 0x1F170, 0x1F1E6)
#: What takes the place of a mark's first character. No Unicode normalization folds one to the
#: other.
_INSTEAD = {"<": "\u2039", "[": "\u2045", "{": "\u2774"}
#: Looks like a colon (RATIO) and is none.
_COLON = "\u2236"


@lru_cache(maxsize=65536)
def fold_character(character: str) -> str:
    """Returns what a reader takes a character for: nothing, a line feed (for each kind of line
    end), or compatibility characters in lower case.
    """
    if character in _LINE_ENDS:
        return "\n"
    if character in _BLANK_LETTERS or (
        unicodedata.category(character) == "Cc" and character != "\t"
    ):
        return ""
    parts = unicodedata.normalize("NFKD", character)
    seen = (part for part in parts if unicodedata.category(part) not in ("Cf", "Mn", "Me"))
    return "".join(map(_looks_like, seen))


def _looks_like(character: str) -> str:
    """Returns the plain letter or mark that a character looks like; else its lower case."""
    plain = _LOOK_ALIKES.get(character)
    if plain is not None:
        return plain
    for first in _ALPHABETS:
        if first <= ord(character) < first + 26:
            return chr(ord("a") + ord(character) - first)
    lower = character.casefold()
    return _LOOK_ALIKES.get(lower, lower)


def folded(text: str) -> str:
    """Returns `text`, folded. Takes linear time."""
    if text.isascii():
        return text.translate(_ASCII).lower()
    return "".join(map(fold_character, text))


def fold(text: str) -> tuple[str, list[int]]:
    """Returns the folded text, and for each of its characters the index in `text` that it comes
    from.
    """
    parts: list[str] = []
    sources: list[int] = []
    for index, character in enumerate(text):
        for part in fold_character(character):
            parts.append(part)
            sources.append(index)
    return "".join(parts), sources


#: Blanks; and what may stand between a role and its colon: signs that make it bold, too.
_BLANKS = r"[^\S\n]*"
_BEFORE_COLON = r"(?:[^\S\n]|[*_])*"


@lru_cache(maxsize=4096)
def _loose(mark: str) -> re.Pattern[str]:
    """Finds a folded mark with other blanks between its words and signs, or none."""
    parts = re.findall(r"\w+|[^\w\s]", mark)
    pattern = ""
    for before, part in zip(["", *parts], parts, strict=False):
        if part == ":":
            pattern += _BEFORE_COLON
        elif before:
            two_words = re.fullmatch(r"\w\w", before[-1] + part[0])
            pattern += r"[^\S\n]+" if two_words else _BLANKS
        pattern += re.escape(part)
    return re.compile(pattern)


def break_marks(text: str, marks: Iterable[str], loosely: bool = False) -> str:
    """Returns `text` with none of `marks` in it, in whatever form: of each occurrence one character
    is replaced. Marks are folded ones, of two characters or more. `loosely`: however many blanks
    are between a mark's words and signs.
    """
    plain = folded(text)
    patterns = {mark: _loose(mark) if loosely else re.compile(re.escape(mark)) for mark in marks}
    present = [(mark, pattern) for mark, pattern in patterns.items() if pattern.search(plain)]
    if not present:
        return text
    plain, sources = fold(text)
    characters = list(text)
    for mark, pattern in present:
        found = pattern.search(plain)
        while found:
            at = found.start()
            within_word = mark[0].isalnum() and at > 0 and plain[at - 1].isalnum()
            if mark[-1] == ":" and not within_word:
                characters[sources[found.end() - 1]] = _COLON
            elif not within_word:
                characters[sources[at]] = _INSTEAD.get(mark[0], f"{mark[0]}\u00b7")
            found = pattern.search(plain, at + 1)
    return "".join(characters)


#: Who speaks in a chat in which no role is named so.
_SPEAKERS = ("ai", "bot", "human")


def break_turns(text: str, roles: Iterable[str]) -> str:
    """Returns `text` with no line, after its first, that begins as a turn of a plain-text chat
    does: `assistant:`, also in bold, in quotes, or as an item of a list. Roles are folded ones.
    """
    plain = folded(text)
    names = [role for role in {*roles, *_SPEAKERS} if role in plain]
    if not names:
        return text
    turn = re.compile(rf"(?:[^\w\n]|_)*(?:{'|'.join(map(re.escape, names))})(?:[^\w\n:]|_)*:")
    plain, sources = fold(text)
    characters = list(text)
    start = 0
    for number, line in enumerate(plain.split("\n")):
        found = turn.match(line) if number > 0 else None
        if found:
            characters[sources[start + found.end() - 1]] = _COLON
        start += len(line) + 1
    return "".join(characters)
