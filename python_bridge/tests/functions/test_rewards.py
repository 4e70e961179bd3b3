"""The adapter of reward functions with TRL's signature, and math-verify."""

from __future__ import annotations

import re
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genac_bridge.functions import math_verifier
from genac_bridge.functions.call import call
from genac_bridge.functions.math_answers import answer_of, boxed, equal, reference_of
from genac_bridge.wire.context import BadArguments, OperationError

FUNCTIONS = """
import asyncio

import numpy as np
import torch

def lengths(completions, **kwargs):
    return [len(c) for c in completions]

async def later(prompts, completions, completion_ids, answer):
    return [None if a is None else float(a == c) for a, c in zip(answer, completions)]

def scalars(completions, **kwargs):
    return [np.float32(0.5), torch.tensor(0.25), True, 1]

def array(completions, **kwargs):
    return np.array([0.5] * len(completions))

def strange(completions, **kwargs):
    return [float("nan"), float("-inf"), "0.5", [1]]

def narrow(completions, answer):
    return []

def one(completions, **kwargs):
    return [1.0]

def number(completions, **kwargs):
    return 1.0

def failing(completions, **kwargs):
    raise KeyError("gone")

async def failing_later(completions, **kwargs):
    raise KeyError("gone later")

def leaving(completions, **kwargs):
    raise SystemExit(3)

def cancelled(completions, **kwargs):
    raise asyncio.CancelledError("no more")

async def cancelled_later(completions, **kwargs):
    raise asyncio.CancelledError("no more")

def interrupting(completions, **kwargs):
    raise KeyboardInterrupt("by hand")

async def interrupting_later(completions, **kwargs):
    raise KeyboardInterrupt("by hand")

def closing(completions, **kwargs):
    raise GeneratorExit("closed")

async def leaving_inside(completions, **kwargs):
    async def leave():
        raise SystemExit(4)
    await asyncio.gather(leave(), asyncio.sleep(60))
"""


@pytest.fixture
def judge(tmp_path: Path) -> Any:
    (tmp_path / "own.py").write_text(FUNCTIONS)

    def ask(name: str, completions: list[str], **columns: Any) -> Any:
        return call(
            "genac_bridge.functions.rewards:judge",
            {
                "function": f"{tmp_path}/own.py:{name}",
                "prompts": ["p"] * len(completions),
                "completions": completions,
                "completion_ids": [[1]] * len(completions),
                "columns": columns,
            },
        )

    return ask


def test_functions_and_coroutines_get_trls_keywords(judge: Any) -> None:
    assert judge("lengths", ["a", "bcd"], answer=[1, 2]) == [1.0, 3.0]
    assert judge("later", ["a", "b", "c"], answer=["a", "x", None]) == [1.0, 0.0, None]


def test_scalars_and_arrays_of_libraries_are_numbers(judge: Any) -> None:
    assert judge("scalars", ["a"] * 4) == [0.5, 0.25, 1.0, 1.0]
    assert judge("array", ["a"] * 2) == [0.5, 0.5]


def test_what_is_no_number_is_named_in_its_place(judge: Any) -> None:
    assert [value["not_a_number"] for value in judge("strange", ["a"] * 4)] == [
        "nan",
        "-inf",
        "'0.5' (a str)",
        "[1] (a list)",
    ]


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("narrow", {}, "own.py:narrow does not take prompts, completion_ids, .*add \\*\\*kwargs"),
        (
            "later",
            {},
            "own.py:later needs answer, which the problems have no column for \\(they have none\\)",
        ),
        ("later", {"answer": [1, 1], "level": [1, 1]}, "own.py:later does not take level"),
        ("lengths", {"prompts": [1, 1]}, "a column can't be named prompts"),
        ("one", {}, "own.py:one returned 1 rewards for 2 responses"),
        ("number", {}, "own.py:number returned a float, not a list"),
        ("failing", {}, "(?s)own.py:failing raised KeyError: 'gone'.*Traceback.*in failing"),
        (
            "failing_later",
            {},
            "(?s)own.py:failing_later raised KeyError.*Traceback.*in failing_later",
        ),
        ("leaving", {}, "own.py:leaving raised SystemExit: 3"),
        ("cancelled", {}, "own.py:cancelled raised CancelledError: no more"),
        ("cancelled_later", {}, "own.py:cancelled_later raised CancelledError: no more"),
        ("interrupting", {}, "own.py:interrupting raised KeyboardInterrupt: by hand"),
        ("interrupting_later", {}, "own.py:interrupting_later raised KeyboardInterrupt: by hand"),
        ("closing", {}, "own.py:closing raised GeneratorExit: closed"),
        ("leaving_inside", {}, "own.py:leaving_inside raised SystemExit: 4"),
    ],
)
def test_errors_name_the_function(
    judge: Any, name: str, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(OperationError, match=message):
        judge(name, ["a", "b"], **columns)


def test_prepare_finds_the_function_and_reads_its_signature(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FUNCTIONS)
    prepare = "genac_bridge.functions.rewards:prepare"
    assert call(prepare, {"function": f"{tmp_path}/own.py:later"}) is None
    with pytest.raises(BadArguments, match="has no 'nothing'"):
        call(prepare, {"function": f"{tmp_path}/own.py:nothing"})
    with pytest.raises(BadArguments, match="does not take prompts, completion_ids"):
        call(prepare, {"function": f"{tmp_path}/own.py:narrow"})


ALL = ["boxed", "hashes", "number"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}}, as 3 > 2", r"\frac{1}{2}"),
        (r"first \boxed{1}, no: \boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{7} and one that never ends \boxed{8", "7"),
        ("48 / 2 = 24\n#### 1,234\n", "1,234"),
        ("#### 4\nno, it is\n#### 5 apples\n6", "5 apples"),
        ("it is -3, that is 0.5 or 3/4, so 25%.", "25%"),
        ("12,345.67.", "12,345.67"),
        ("10-5", "5"),
        ("x = -5", "-5"),
        ("no idea", None),
        ("So the answer is \u22125.", "-5"),
        ("3\u22122", "2"),
        ("Answer: -$5", "-5"),
        (r"$-\$5$", "-5"),
        ("$5 - $3", "3"),
        ("The answer is 3 1/2.", "3 1/2"),
        ("it is -3 1/2", "-3 1/2"),
        ("in 2024, 1/2", "1/2"),
        (r"The answer is \(12{,}000\).", "12,000"),
        (r"The answer is $12,\!000$.", "12,000"),
    ],
)
def test_where_an_answer_stands(text: str, answer: str | None) -> None:
    assert answer_of(text, ALL) == answer


def boxed_by_each_start(text: str) -> str | None:
    """The definition: the last box that is closed, read from its own brace."""
    for start in reversed([m.end() for m in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)]):
        depth = 1
        for match in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(match.group(), 0)
            if depth == 0:
                return text[start : start + match.start()].strip()
    return None


PARTS = ["\\boxed{", "\\fbox \n{", "\\boxed", "{", "}", "\\", "\\{", "\\}", "\n", " ", "7", "é"]


@settings(max_examples=1500, deadline=None)
@given(text=st.lists(st.sampled_from(PARTS), max_size=24).map("".join))
def test_boxes_are_those_of_the_definition(text: str) -> None:
    assert boxed(text) == boxed_by_each_start(text)


def test_boxes_that_never_end_take_linear_time() -> None:
    start = time.monotonic()
    assert boxed(r"\boxed{1}" + r"\boxed{ {x} " * 30_000) == "1"
    assert time.monotonic() - start < 2


def test_conventions_are_those_that_were_asked_for() -> None:
    assert answer_of("#### 4\n5", ["number"]) == "5"
    assert answer_of("5", ["boxed", "hashes"]) is None
    assert answer_of("\\boxed{3}\n#### 4", ["hashes", "boxed"]) == "4"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("She sold 48/2 = <<48/2=24>>24 clips.\n#### 72", "72"),
        (r"Thus \boxed{x^2}.", "x^2"),
        ("The answer is 42.", "42"),
        ("x^2 + 1", "x^2 + 1"),
        ("sin 2x", "sin 2x"),
        (
            r"\begin{pmatrix} -7 \\ 16 \end{pmatrix}",
            r"\begin{pmatrix} -7 \\ 16 \end{pmatrix}",
        ),
        (r"\frac{3}{4} \text{ square units}", r"\frac{3}{4}"),
        (r"9\pi \text{ cubic inches}.", r"9\pi"),
        (r"The answer is $\frac{3}{4}$.", r"\frac{3}{4}"),
        (r"\text{odd}", r"\text{odd}"),
    ],
)
def test_a_reference_is_its_answer_or_holds_it(text: str, answer: str) -> None:
    assert reference_of(text, ALL) == answer


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [
        ("42", "42.0", True),
        ("1,000", "1000", True),
        (r"\frac{1}{2}", "0.5", True),
        (r"$\frac12$", "1/2", True),
        ("25%", "0.25", True),
        ("x^2+1", "1 + x^2", True),
        ("1/3", "0.33", False),
        ("42", "43", False),
        ("yes", "yes", True),
        ("", "1", None),
        ("1", "", False),
        ("1e-05", "0.00001", True),
        ("1e-05", "1e-5", True),
        ("2.5e-06", "0.0000025", True),
        ("1e+16", "10000000000000000", True),
        ("1e+16", r"10^{16}", True),
        ("-1.5E+3", "-1500", True),
        ("1e-05", "0.0001", False),
        ("2e", "2e", True),
        ("1e-7", "0.0000002", False),
        ("1e-07", "0.0000001", True),
        ("1e-7", r"10^{-7}", True),
        ("1e-7", r"2 \cdot 10^{-7}", False),
        ("1.23e-5", "0.0000124", False),
        ("1.23e-5", r"1.23 \times 10^{-5}", True),
        ("-1.23e-5", "0.0000123", False),
        ("x = 1e-7", "0.0000002", False),
        (r"3 \times 10^{-20}", r"4 \times 10^{-20}", False),
        (r"1.23 \times 10^{-20}", r"12.3 \times 10^{-21}", True),
        (r"\frac{1}{30000}", "0.0000333333", True),
        (r"\frac{1}{30000}", "0.00003", False),
        ("0.005%", "0.00005", True),
        ("0.005%", "0.00006", False),
        ("1e-300", "0", False),
        ("0", "0.0", True),
        ("1/3", "0.333333", True),
        ("123456789012345678", "123456789012345678.0", True),
        ("1 1/2", "3/2", True),
        ("1.5", "1 1/2", True),
        ("-1 1/2", "-1.5", True),
        ("1 1/2", "11/2", False),
        ("-1 1/2", "-11/2", False),
        ("2 3", "23", False),
        ("12 000", "12,000", True),
        ("12 000", "12", False),
        ("(1, 2)", "(1,2)", True),
        ("x^2 1/2", "x^2/2", True),
        ("5^2 1/2", "25/2", True),
        (r"\sqrt 2 1/2", r"\sqrt{2}/2", True),
        ("10^3 500", "500000", True),
        (r"12\,000", "12000", True),
    ],
)
def test_the_same_mathematical_object(reference: str, answer: str, same: bool | None) -> None:
    assert equal(reference, answer) is same


def test_math_verify_judges_in_a_thread_and_survives_what_never_ends() -> None:
    """A worker computes in a thread, where math-verify's own time limit can't work."""
    results: list[Any] = []
    texts = [r"\boxed{2^{10^{10}}}", "#### 0.5", "so it is 7", "nothing", r"\boxed{1}"]
    references: list[Any] = ["5", r"\boxed{\frac{1}{2}}", 7, 7, " "]

    def work() -> None:
        math_verifier.prepare()
        began = time.monotonic()
        results.append(math_verifier.judge(texts, references, ALL, 1.0))
        results.append(time.monotonic() - began)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert results[0] == [0.0, 1.0, 1.0, 0.0, None]
    assert 1.0 <= results[1] < 30  # the first one was given up
    with pytest.raises(BadArguments, match="neither text nor a number"):
        math_verifier.judge(["1"], [[1]], ALL, 1.0)
    math_verifier._verifier.end()  # it ends with the thread that started it, at a time of its own


@pytest.mark.parametrize("exponent", [*range(-12, -3), *range(15, 23)])
@pytest.mark.parametrize("digits", ["1", "1.25", "-3.5"])
def test_numbers_of_every_size_are_references(digits: str, exponent: int) -> None:
    """`str` writes them as 1e-05 and 1e+16; a model writes them out."""
    reference = float(f"{digits}e{exponent}")
    written = format(Decimal(repr(reference)), "f")
    assert math_verifier.judge([f"It is {written}.", "It is 7."], [reference] * 2, ALL, 20.0) == [
        1.0,
        0.0,
    ]


def test_math_verify_goes_on_after_its_process_died() -> None:
    math_verifier.prepare()
    math_verifier._verifier._process.kill()
    math_verifier._verifier._process.join()
    assert math_verifier.judge(["1"], ["1"], ALL, 5.0) == [1.0]
    math_verifier._verifier.end()
