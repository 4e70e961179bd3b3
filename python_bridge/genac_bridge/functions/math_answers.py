"""Finds the answer in a text, by the usual conventions of maths data, and whether it equals
a reference (math-verify).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

# 1,000 and 0.5 and 3/4 and 25% and 1e-5; a minus belongs to it unless something is subtracted from.
_NUMBER = re.compile(
    r"(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:[eE][+-]?\d+(?!\w)|/\d+)?%?"
)
# Or with a fraction behind it: 3 1/2.
_NUMBERS = re.compile(rf"(?:(?<![\w)])-)?(?<![\w.,/])\d+ \d+/\d+(?![\w/])|{_NUMBER.pattern}")
# 1e-05 and 1.5E+16: how Python and many models write small and large numbers, and what math-verify
# can't read.
_SCIENTIFIC = re.compile(r"(?<![\w.])([+-]?(?:\d+(?:\.\d*)?|\.\d+))[eE]([+-]?\d{1,3})(?![\w.])")
# 12{,}000 and 12,\!000 and 12\,000: how LaTeX keeps the thousands together.
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,)(?=\d{3})")
# -$5: the sign of an amount stands before its currency.
_CURRENCY = re.compile(r"(?<![\w)])-(?:\\?\$|€|£)(?=\.?\d)")
# 12 000: blanks between thousands, where it is all of an answer.
_SPACED = re.compile(r"\s*-?\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:\.\d+)?\s*")
# 1 1/2 is 1 + 1/2, where it is all of an answer: within a formula it may be a product.
_MIXED = re.compile(r"\s*(-?)(\d+)\s+(\d+)\s*/\s*(\d+)\s*")
# Blanks between two digits make two numbers of them, others mean nothing.
_BLANKS = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
# What is escaped is no brace.
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_HASHES = re.compile(r"####[ \t]*(\S[^\n]*)")
# What LaTeX names: \begin{pmatrix}, \text{square units}.
_NAMED = re.compile(r"\\(?:begin|end|text|textbf|mathrm|mbox|operatorname)\s*\{[^{}]*\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_UNIT = re.compile(r"(?:\s|\\,|~)*\\(?:text|mathrm|mbox)\s*\{[^{}]*\}\s*\.?$")
_FORMULA = re.compile(r"\$([^$]+)\$")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_FUNCTIONS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "arcsin",
        "arccos",
        "arctan",
        "sinh",
        "cosh",
        "tanh",
        "log",
        "ln",
        "exp",
        "sqrt",
        "pi",
        "max",
        "min",
    ]
)


def boxed(text: str) -> str | None:
    r"""Returns the contents of the last `\boxed{...}`, braces balanced; None: there is none."""
    boxes = {match.end() for match in _BOX.finditer(text)}
    last, end = -1, -1
    opened: list[int] = []
    for match in _BRACES.finditer(text) if boxes else ():
        if match.group() == "{":
            opened.append(match.end())
        elif match.group() == "}" and opened:
            start = opened.pop()
            if start in boxes and start > last:
                last, end = start, match.start()
    return text[last:end].strip() if last >= 0 else None


def hashes(text: str) -> str | None:
    """Returns what follows the last `####`, to the end of its line."""
    found = _HASHES.findall(text)
    return found[-1].strip() if found else None


def last_number(text: str) -> str | None:
    plain = _CURRENCY.sub("-", _THOUSANDS.sub(",", text.replace("\u2212", "-")))
    found = [match for match in _NUMBERS.findall(plain) if match]
    return found[-1] if found else None


CONVENTIONS = {"boxed": boxed, "hashes": hashes, "number": last_number}


def answer_of(text: str, conventions: Sequence[str]) -> str | None:
    """Returns the answer by the first convention that finds one."""
    for convention in conventions:
        answer = CONVENTIONS[convention](text)
        if answer:
            return answer
    return None


def reference_of(text: str, conventions: Sequence[str]) -> str:
    r"""The answer of a reference: by `\boxed{}` or `####`; a sentence's last number; else the whole
    text is the answer.
    """
    marked = answer_of(text, [c for c in conventions if c != "number"])
    if marked:
        return marked
    whole = text.strip()
    outside = _NAMED.sub(" ", whole)
    words = [word for word in _WORD.findall(outside) if word.lower() not in _FUNCTIONS]
    sentence = len(words) >= 2 or re.search(r"(?i)\banswer\b", outside)
    if _COMMAND.search(whole):
        # A number of a formula is not the formula. A unit behind it is not compared.
        formulas = _FORMULA.findall(whole) if sentence else []
        formula = formulas[-1].strip() if formulas else whole
        return _UNIT.sub("", formula) or formula
    return (sentence and "number" in conventions and last_number(whole)) or whole


def positional(text: str) -> str:
    """Returns the text with its numbers in positional notation: `1e-05` is `0.00001`, `12 000` is
    `12000`, and `1 1/2` is `(1+1/2)`.
    """
    if _SPACED.fullmatch(text):
        return "".join(text.split())
    if mixed := _MIXED.fullmatch(text):
        sign, whole, above, below = mixed.groups()
        return f"{sign}({whole}+{above}/{below})"
    plain = _THOUSANDS.sub(",", text)
    return _SCIENTIFIC.sub(lambda match: format(Decimal(match.group()), "f"), plain)


def equal(reference: str, answer: str) -> bool | None:
    """Returns whether the two are the same mathematical object, or the same words.

    None: nothing can be made of the reference.
    """
    reference, answer = positional(reference), positional(answer)
    if not reference:
        return None
    if _BLANKS.sub("", reference.strip()) == _BLANKS.sub("", answer.strip()):
        return True
    from math_verify import verify

    gold = parsed(reference)
    if not gold:
        return None
    more = extra_digits(gold[0])
    return bool(
        verify(
            gold,
            parsed(answer),
            float_rounding=6 + more,
            numeric_precision=15 + more,
            timeout_seconds=None,
        )
    )


def extra_digits(reference: Any) -> int:
    """Returns how many decimals more than 6 are compared.

    math-verify rounds to 6 decimals, which makes all small numbers equal. A reference that is a
    number under 0.0001 is compared to 6 significant digits instead.
    """
    value = getattr(reference, "rhs", reference)  # x = 1e-7
    try:
        size = Decimal(str(abs(value.evalf())))
    except Exception:  # not one number: a set, a matrix, a formula with letters
        return 0
    if not size.is_finite() or size == 0 or size.adjusted() >= -4:
        return 0
    return -1 - size.adjusted()


def parsed(answer: str) -> list[Any]:
    r"""math-verify's reading of an answer: as it is inside `\boxed{}`.

    Without its time limit, which works by signals and so in a main thread only.
    """
    from math_verify import LatexExtractionConfig, parse

    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if (
            answer.startswith(left)
            and answer.endswith(right)
            and len(answer) > len(left) + len(right)
        ):
            answer = answer[len(left) : -len(right)]
            break
    answer = answer.strip().rstrip(".")
    # 25% alone would begin a comment in LaTeX.
    answer = re.sub(r"(?<!\\)%", r"\\%", answer)
    return list(
        parse(
            f"$\\boxed{{{answer}}}$",
            [LatexExtractionConfig(boxed_match_priority=0)],
            parsing_timeout=None,
        )
    )
