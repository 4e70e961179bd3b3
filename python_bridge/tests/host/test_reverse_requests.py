"""What the controller asks while the host waits: served once; a failure is the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_controller import FakeController

from genac_bridge.host.controller import Controller, ControllerError
from genac_bridge.wire.messages import Ask, Error, Hello, Result, ReverseRequest

Script = Callable[[FakeController, Ask], None]


def request(name: str = "c-1", count: int = 2) -> ReverseRequest:
    return ReverseRequest(name, "continue_responses", {"count": count, "seed": 7}, [])


def asked(tmp_path: Path, script: Script, serve: Any, timeout: float | None = None) -> Any:
    """What the host's ask gave, and the fake controller."""
    fake = FakeController(script)
    controller = Controller(tmp_path, endpoint=fake.endpoint, timeout=timeout)
    try:
        return controller.ask("fence", {}, on_request=serve), fake
    finally:
        controller.close()
        fake.finish()


def test_requests_are_served_before_the_answer(tmp_path: Path) -> None:
    calls: list[Any] = []

    def serve(operation: str, arguments: dict[str, Any], tensors: Any) -> Any:
        calls.append((operation, arguments, tensors["rows"].tolist()))
        return {"texts": ["a"]}, {"rewards": tensors["rows"] * 0.5}

    answers: list[Any] = []

    def script(fake: FakeController, ask: Ask) -> None:
        for name, rows in (("c-1", [3, 1]), ("c-2", [0])):
            fake.say(request(name), {"rows": np.array(rows, np.int32)})
            answers.append(fake.hear())
        fake.say(Result(ask.id, {"metrics": {"x": 1}}, 0.5, []))

    (result, _), _ = asked(tmp_path, script, serve)
    assert result == {"metrics": {"x": 1}}
    arguments = {"count": 2, "seed": 7}
    assert calls == [
        ("continue_responses", arguments, [3, 1]),
        ("continue_responses", arguments, [0]),
    ]
    assert [message.id for message, _ in answers] == ["c-1", "c-2"]
    assert [message.result for message, _ in answers] == [{"texts": ["a"]}] * 2
    assert [tensors["rewards"].tolist() for _, tensors in answers] == [[1.5, 0.5], [0]]


def test_a_request_that_comes_again_is_served_once(tmp_path: Path) -> None:
    """Also after the connection was lost, when the host's own ask comes again."""
    calls: list[int] = []
    answers: list[Any] = []

    def serve(operation: str, arguments: dict[str, Any], tensors: Any) -> Any:
        calls.append(arguments["count"])
        return {"texts": [str(len(calls))]}, {}

    def script(fake: FakeController, ask: Ask) -> None:
        for _ in range(2):
            fake.say(request())
        answers.extend(fake.hear()[0] for _ in range(2))
        fake.lose_connection()
        greeting, again = fake.hear()[0], fake.hear()[0]
        assert isinstance(greeting, Hello)
        assert again == ask
        fake.say(request())
        answers.append(fake.hear()[0])
        fake.say(Result(ask.id, {}, 0.5, []))

    asked(tmp_path, script, serve)
    assert calls == [2]
    assert [answer.result for answer in answers] == [{"texts": ["1"]}] * 3
    assert len({answer.seconds for answer in answers}) == 1


def test_another_ask_has_requests_of_its_own(tmp_path: Path) -> None:
    """A controller that was started anew counts from 1 again."""
    calls: list[int] = []

    def serve(operation: str, arguments: dict[str, Any], tensors: Any) -> Any:
        calls.append(arguments["count"])
        return {}, {}

    def script(fake: FakeController, ask: Ask) -> None:
        for count in (1, 2):
            fake.say(request(count=count))
            assert isinstance(fake.hear()[0], Result)
            fake.say(Result(ask.id, {}, 0.5, []))
            if count == 1:
                ask = fake.hear()[0]

    fake = FakeController(script)
    controller = Controller(tmp_path, endpoint=fake.endpoint)
    for _ in range(2):
        controller.ask("fence", {}, on_request=serve)
    controller.close()
    fake.finish()
    assert calls == [1, 2]


def wrong(*_: Any) -> Any:
    raise ValueError("rows must be from 0 to 3")


def broken(*_: Any) -> Any:
    return {}[0]


@pytest.mark.parametrize(
    ("serve", "code", "words", "cause"),
    [
        (None, "bad_state", "this host does not serve continue_responses", "OperationError"),
        (wrong, "bad_arguments", "continue_responses: rows must be from 0 to 3", "ValueError"),
        (broken, "function_error", "continue_responses raised KeyError: 0", "KeyError"),
    ],
)
def test_what_fails_is_the_answer_and_the_cause(
    tmp_path: Path, serve: Any, code: str, words: str, cause: str
) -> None:
    answers: list[Error] = []

    def script(fake: FakeController, ask: Ask) -> None:
        fake.say(request())
        answers.append(fake.hear()[0])
        fake.say(Error(ask.id, "internal", "so it ends", None))

    with pytest.raises(ControllerError, match="so it ends") as caught:
        asked(tmp_path, script, serve)
    (answer,) = answers
    assert (answer.code, answer.message) == (code, words)
    assert (answer.traceback is not None) == (code == "function_error")
    assert cause in [kind.__name__ for kind in type(caught.value.__cause__).__mro__]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_answered_and_raised(tmp_path: Path, kind: Any) -> None:
    """The next ask gets its answer, and serves nothing of the one that was given up."""
    calls: list[str] = []
    answers: list[Any] = []

    def interrupted(*_: Any) -> Any:
        calls.append("first")
        raise kind("enough")

    def serve(*_: Any) -> Any:
        calls.append("second")
        return {"texts": ["b"]}, {}

    def script(fake: FakeController, ask: Ask) -> None:
        fake.say(request("c-1"))
        answers.append(fake.hear()[0])
        fake.say(request("c-2"))  # of the same ask, whose critic tries again
        again = fake.hear()[0]
        answers.append(fake.hear()[0])
        fake.say(Error(ask.id, "internal", "so it ends", None))
        fake.say(request("c-3"))
        answers.append(fake.hear()[0])
        fake.say(Result(again.id, {"x": 1}, 0.5, []))

    fake = FakeController(script)
    controller = Controller(tmp_path, endpoint=fake.endpoint, timeout=10)
    with pytest.raises(kind, match="enough"):
        controller.ask("fence", {}, on_request=interrupted)
    assert controller.ask("fence", {}, on_request=serve)[0] == {"x": 1}
    controller.close()
    fake.finish()
    assert calls == ["first", "second"]
    first, second, third = answers
    assert (first.id, first.code) == ("c-1", "function_error")
    assert first.message == f"continue_responses raised {kind.__name__}: enough"
    assert (second.id, second.code) == ("c-2", "bad_state")
    assert "the host gave up" in second.message
    assert (third.id, third.result) == ("c-3", {"texts": ["b"]})


def test_asking_while_an_answer_is_awaited_is_refused(tmp_path: Path) -> None:
    answers: list[Any] = []

    def script(fake: FakeController, ask: Ask) -> None:
        fake.say(request())
        answers.append(fake.hear()[0])
        fake.say(Result(ask.id, {}, 0.5, []))
        fake.say(Result(fake.hear()[0].id, {"x": 1}, 0.5, []))

    fake = FakeController(script)
    controller = Controller(tmp_path, endpoint=fake.endpoint, timeout=10)

    def serve(*_: Any) -> Any:
        return controller.ask("value", {})

    controller.ask("fence", {}, on_request=serve)
    assert controller.ask("fence", {})[0] == {"x": 1}
    controller.close()
    fake.finish()
    (answer,) = answers
    assert answer.code == "function_error"
    assert answer.message.startswith(
        "continue_responses: value can't be asked while fence has no answer"
    )
    assert answer.traceback is None


def test_serving_does_not_count_against_the_timeout(tmp_path: Path) -> None:
    def serve(*_: Any) -> Any:
        time.sleep(1.5)
        return {}, {}

    def script(fake: FakeController, ask: Ask) -> None:
        fake.say(request())
        fake.hear()
        fake.say(Result(ask.id, {"late": True}, 0.5, []))

    (result, _), _ = asked(tmp_path, script, serve, timeout=1.0)
    assert result == {"late": True}
