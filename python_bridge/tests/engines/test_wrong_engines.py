"""What an engine of the user's gives or raises that it may not: one error that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from own_engines import Completion, Counting, Wrong

from conftest import LOADING, Client, completions, prompts
from genac_bridge.wire.context import OperationError

WRONG = r'engine "own_engines:Wrong": '


def load(client: Client, folder: str, engine: str) -> None:
    client.load(folder, loading={**LOADING, "engine": f"own_engines:{engine}"})


def sample(client: Client, **options: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    tensors = prompts(np.random.default_rng(0), [3, 2, 4])
    return client.sample(tensors, **{"max_new_tokens": 5, **options})


def last(**changes: Any) -> Callable[[list[Completion]], list[Completion]]:
    """Changes fields of the last completion."""
    return lambda done: [*done[:-1], replace(done[-1], **changes)]


def ids(*values: float) -> dict[str, Any]:
    return {"ids": np.array(values), "logprobs": np.zeros(len(values))}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: None, "generate gave NoneType instead of a list"),
        (lambda done: done[:2], "generate gave 2 completions instead of 3"),
        (lambda done: [*done, done[0]], "generate gave 4 completions instead of 3"),
        (lambda done: [*done[:2], "abc"], "completion 2 is a str instead of a Completion"),
        (last(ids=np.array([], np.int32)), "completion 2 has 0 tokens; its limit allows 1 to 5"),
        (last(**ids(*[1] * 6)), "completion 2 has 6 tokens; its limit allows 1 to 5"),
        (last(**ids(7, -1)), "completion 2 has the token -1, outside the vocabulary"),
        (last(**ids(7, 10_000)), "completion 2 has the token 10000, outside the vocabulary"),
        (last(**ids(7.0, 8.5)), "completion 2: ids are float64 of shape .2.; they must be integ"),
        (last(ids=np.array([[7, 8]])), "completion 2: ids are int64 of shape .1, 2."),
        (last(ids=[[7], [7, 8]]), "completion 2: ids can't be read as an array"),
        (last(logprobs=np.zeros(1)), "completion 2 has 2 tokens and 1 logprobs"),
        (last(logprobs=np.array([0, np.nan])), "completion 2 has a logprob that is not finite"),
        (last(logprobs=np.array([0, -np.inf])), "completion 2 has a logprob that is not finite"),
        (last(logprobs=None), "completion 2: logprobs are object of shape"),
        (last(reason="because"), "completion 2 has the reason 'because'; there are length, stop"),
    ],
)
def test_what_is_no_answer(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch, change: Any, words: str
) -> None:
    monkeypatch.setattr(Wrong, "change", staticmethod(change))
    load(client, folder, "Wrong")
    with pytest.raises(OperationError, match=WRONG + words) as caught:
        sample(client)
    assert caught.value.code == "function_error"


def test_lists_and_wide_numbers_are_read(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wide(done: list[Completion]) -> list[Completion]:
        return [replace(one, ids=[7, 9], logprobs=np.array([-1.0, -2.0])) for one in done]  # type: ignore[arg-type]

    monkeypatch.setattr(Wrong, "change", staticmethod(wide))
    load(client, folder, "Wrong")
    _, out = sample(client)
    assert completions(out) == [[7, 9]] * 3
    assert out["logprobs"].tolist() == [-1, -2] * 3
    assert (out["completion_ids"].dtype, out["logprobs"].dtype) == (np.int32, np.float32)


def test_a_limit_is_each_prompt_s_own(client: Client, folder: str) -> None:
    """Two tokens are too many after a prefix of four of the five."""
    load(client, folder, "Wrong")
    tensors = prompts(np.random.default_rng(0), [3, 6])
    tensors["prefix_lengths"] = np.array([0, 4], np.int32)
    with pytest.raises(OperationError, match="completion 1 has 2 tokens; its limit allows 1 to 1"):
        client.sample(tensors, max_new_tokens=5)


@pytest.mark.parametrize(
    "other",
    [
        {"ids": np.array([7, 9], np.int32)},
        {"ids": np.array([7], np.int32), "logprobs": np.zeros(1, np.float32)},
        {"logprobs": np.array([0, -1], np.float32)},
        {"reason": "stop_token"},
    ],
)
def test_an_answer_that_differs_from_what_was_reported(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    monkeypatch.setattr(Wrong, "early", True)
    load(client, folder, "Wrong")
    assert completions(sample(client)[1]) == [[7, 8]] * 3
    monkeypatch.setattr(
        Wrong, "change", staticmethod(lambda done: [replace(done[0], **other), *done[1:]])
    )
    with pytest.raises(OperationError, match=f"{WRONG}completion 0 is not what on_finished had"):
        sample(client)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([[1, 1]], r"on_finished has a sequence twice: \[1, 1\]"),
        ([[1], [1, 2]], r"on_finished has a sequence twice: \[1\]"),
        ([[3]], "on_finished has the sequence 3 of 3"),
        ([[-1]], "on_finished has the sequence -1 of 3"),
        ([["a"]], "on_finished has the sequence 'a' of 3"),
    ],
)
def test_a_report_of_sequences_that_are_none(
    client: Client,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    numbers: list[list[Any]],
    words: str,
) -> None:
    load(client, folder, "Wrong")
    engine: Any = client.operations.models["m"].engine

    def report(done: list[Completion]) -> list[Completion]:
        for some in numbers:
            engine.requests[-1].progress.finish(some, done[: len(some)])
        return done

    monkeypatch.setattr(Wrong, "change", staticmethod(report))
    with pytest.raises(OperationError, match=WRONG + words):
        sample(client)


def test_an_engine_that_ends_the_process(client: Client, folder: str) -> None:
    load(client, folder, "Exiting")
    with pytest.raises(
        OperationError, match='engine "own_engines:Exiting": generate raised SystemExit: 3'
    ) as caught:
        sample(client)
    assert caught.value.code == "function_error"


def test_what_can_t_be_published(client: Client, folder: str) -> None:
    load(client, folder, "Stale")
    client.operations.models["m"].step = 1
    with pytest.raises(
        OperationError, match=r'engine "own_engines:Stale": its version is 0 after .* of step 1'
    ):
        client.publish()
    load(client, folder, "Full")
    with pytest.raises(
        OperationError, match='engine "own_engines:Full": no memory left in publish: no room'
    ) as caught:
        client.publish()
    assert caught.value.code == "out_of_memory"
    with pytest.raises(OperationError, match="reproducible is 'perhaps'; it must be True or False"):
        load(client, folder, "Perhaps")


def test_an_error_at_the_end_is_not_the_next_model_s(
    client: Client, folder: str, capfd: pytest.CaptureFixture[str]
) -> None:
    load(client, folder, "Unclosable")
    engine = client.operations.models["m"].engine
    assert isinstance(engine, Counting)
    load(client, folder, "Counting")
    assert engine.closed
    assert 'engine "own_engines:Unclosable": close raised SystemExit: close failed' in (
        capfd.readouterr().err
    )
    assert completions(sample(client)[1]) == [[7, 7], [7, 8], [7, 9]]
