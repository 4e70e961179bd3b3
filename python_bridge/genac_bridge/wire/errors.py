"""What the errors of libraries say, in one sentence."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """Returns the first line with words of an error, without what libraries put before and after
    it.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    words = [line for line in lines if any(c.isalpha() for c in line)]
    if not words:
        return type(error).__name__
    return " ".join(words[:2]) if words[0].endswith(":") else words[0]
