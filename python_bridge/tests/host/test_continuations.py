"""A critic has the host continue responses: from the wire to all processes, and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from test_second_host import Tiny, row

from genac_bridge.host.batch import Batch
from genac_bridge.host.continuations import Continuations, Wanted, answer_of, wanted_of
from genac_bridge.host.controller import Controller, ControllerError
from genac_bridge.host.host_critic import HostCritic
from genac_bridge.host.opening import Opening, open_request
from genac_bridge.host.processes import on_main_with_help
from genac_bridge.wire.context import OperationError

T = TypeVar("T")
SENT = np.array([0, 2, 3])


def tensors(rows: list[int], prefixes: list[list[int]]) -> dict[str, np.ndarray]:
    return {
        "rows": np.array(rows, np.int32),
        "prefix_ids": np.array([i for prefix in prefixes for i in prefix], np.int32),
        "prefix_cu_seqlens": np.cumsum([0, *map(len, prefixes)]).astype(np.int32),
    }


def wanted(prefixes: list[list[int]], count: int = 1) -> Wanted:
    ids = [np.array(prefix, np.int32) for prefix in prefixes]
    return Wanted(list(range(len(ids))), ids, count, seed=7)


def test_rows_are_those_of_the_host_s_batch() -> None:
    """The controller counts the rows that were sent; row 1 had no reward."""
    read = wanted_of({"count": 2, "seed": 7}, tensors([2, 0], [[5, 6], []]), SENT)
    assert read.rows == [3, 0]
    assert [prefix.tolist() for prefix in read.prefixes] == [[5, 6], []]
    assert (read.count, read.seed) == (2, 7)


@pytest.mark.parametrize(
    ("arguments", "given", "words"),
    [
        ({"count": 0, "seed": 7}, tensors([0], [[1]]), "count is 0 and seed 7"),
        ({"count": 1, "seed": -1}, tensors([0], [[1]]), "count is 1 and seed -1"),
        ({"count": 1, "seed": 7}, tensors([3], [[1]]), "rows must be from 0 to 2"),
        ({"count": 1, "seed": 7}, tensors([-1], [[1]]), "rows must be from 0 to 2"),
        ({"count": 1, "seed": 7}, tensors([0, 1], [[1]]), "prefix_cu_seqlens does not cut"),
        ({"count": 1, "seed": 7}, {"rows": np.array([0], np.int32)}, "prefix_cu_seqlens, prefix_i"),
    ],
)
def test_what_the_controller_can_t_mean(arguments: Any, given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wanted_of(arguments, given, SENT)


def test_the_answer_has_the_new_tokens_end_to_end() -> None:
    ids = [np.array([1, 2], np.int32), np.zeros(0, np.int32), np.array([3], np.int32)]
    done = Continuations(["a", "b", "c"], ids, np.array([1, np.nan, 0.5]))
    result, out = answer_of(done, wanted([[], [], []]), "Tiny")
    assert result == {"texts": ["a", "b", "c"]}
    assert {name: array.tolist() for name, array in out.items() if name != "rewards"} == {
        "completion_ids": [1, 2, 3],
        "completion_cu_seqlens": [0, 2, 2, 3],
    }
    np.testing.assert_array_equal(out["rewards"], [1, np.nan, 0.5])
    assert [out[name].dtype for name in out] == [np.float64, np.int32, np.int32]
    _, none = answer_of(Continuations([], [], np.zeros(0)), wanted([]), "Tiny")
    assert none["completion_cu_seqlens"].tolist() == [0]


def test_lists_are_read_and_a_reward_may_be_missing() -> None:
    given: Any = Continuations(["a", "b"], [[1, 2], []], [None, 1])  # type: ignore[list-item,arg-type]
    _, out = answer_of(given, wanted([[], []]), "Tiny")
    assert out["completion_ids"].tolist() == [1, 2]
    np.testing.assert_array_equal(out["rewards"], [np.nan, 1])


ONE = np.array([5], np.int32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texts": ["a"]}, r"1 texts, not 2: 2 for each of 1 states"),
        ({"ids": [ONE] * 3}, r"3 ids, not 2"),
        ({"rewards": np.ones(1)}, r"1 rewards, not 2"),
        ({"rewards": np.ones((2, 1))}, r"rewards of shape \[2, 1\], not \[2\]"),
        ({"rewards": ["good", "bad"]}, r"rewards that are no numbers"),
        ({"rewards": np.array([0.5, 1.5])}, r"the reward 1.5, which is not in \[0, 1\]"),
        ({"rewards": np.array([-0.5, 1])}, r"the reward -0.5, which is not in \[0, 1\]"),
        ({"rewards": np.array([0, np.inf])}, r"the reward inf, which is not in \[0, 1\]"),
        ({"rewards": None}, r"rewards in a NoneType, not a list"),
        ({"texts": ["a", None]}, r"the text None, which is no str"),
        ({"ids": [ONE, ONE[None]]}, r"ids\[1\] of int32 and shape \[1, 1\]"),
        ({"ids": [ONE + 0.5, ONE]}, r"ids\[0\] of float64 and shape \[1\]"),
        ({"ids": [ONE, -ONE]}, r"ids\[1\] with the token -5"),
        ({"ids": [np.array([2**31]), ONE]}, r"ids\[0\] with the token 2147483648"),
        ({"ids": [ONE, np.repeat(ONE, 4)]}, r"ids\[1\] with 4 new tokens, where 3 are left"),
    ],
)
def test_what_a_host_gives_is_checked_in_its_name(changes: dict[str, Any], words: str) -> None:
    done = Continuations(["a", "b"], [ONE, np.repeat(ONE, 3)], np.array([0.0, 1.0]))
    of_one = wanted([[1, 2]], count=2)
    answer_of(done, of_one, "Tiny", max_new_tokens=5)
    answer_of(replace(done, ids=[np.repeat(ONE, 100)] * 2), of_one, "Tiny")
    with pytest.raises(OperationError, match=f"Tiny.continue_responses gave {words}"):
        answer_of(replace(done, **changes), of_one, "Tiny", max_new_tokens=5)
    with pytest.raises(OperationError, match="gave NoneType instead of Continuations"):
        answer_of(None, of_one, "Tiny")  # type: ignore[arg-type]


class Group:
    """What `broadcast` of two processes shares."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=10)
        self.value: Any = None


class Process(Tiny):
    """One of two processes, each in a thread."""

    can_continue = True
    processes = 2

    def __init__(self, folder: Path, group: Group, is_main: bool) -> None:
        super().__init__(folder, [])
        self.group, self.is_main = group, is_main
        self.wanted: list[Wanted] = []

    def broadcast(self, value: T) -> T:
        if self.is_main:
            self.group.value = value
        self.group.barrier.wait()
        value = self.group.value
        self.group.barrier.wait()
        return value

    def continue_responses(self, batch: Batch, wanted: Wanted) -> Continuations:
        self.wanted.append(wanted)
        self.group.barrier.wait()  # all are here at the same time
        count = len(wanted.rows) * wanted.count
        texts = [f"{batch.rows[i].text}+" for i in wanted.rows for _ in range(wanted.count)]
        new = [np.array([ord("+")], np.int32)] * count
        return Continuations(texts, new, np.linspace(0, 1, count))


def in_both(folder: Path, work: Callable[[Process], Any]) -> list[tuple[Process, Any]]:
    """Each process, and what `work` gave or raised there; the main one first."""
    group = Group()
    processes = [Process(folder, group, is_main) for is_main in (True, False)]
    outcomes: dict[bool, Any] = {}

    def run(process: Process) -> None:
        try:
            outcomes[process.is_main] = work(process)
        except ControllerError as error:
            outcomes[process.is_main] = error

    threads = [threading.Thread(target=run, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [(process, outcomes[process.is_main]) for process in processes]


def test_all_processes_help_and_all_hear_the_result(tmp_path: Path) -> None:
    helped: list[tuple[bool, int]] = []

    def work(process: Process) -> int:
        def help_with(number: int) -> int:
            helped.append((process.is_main, number))
            return 10 * number

        return on_main_with_help(process, lambda ask_all: ask_all(1) + ask_all(2), help_with)

    assert [outcome for _, outcome in in_both(tmp_path, work)] == [30, 30]
    assert sorted(helped) == [(False, 1), (False, 2), (True, 1), (True, 2)]


def test_a_failure_after_help_is_raised_in_all(tmp_path: Path) -> None:
    def work(process: Process) -> int:
        def fail(ask_all: Callable[[int], int]) -> int:
            raise ControllerError(f"no use for {ask_all(4)}")

        return on_main_with_help(process, fail, lambda number: number)

    for _, outcome in in_both(tmp_path, work):
        assert isinstance(outcome, ControllerError)
        assert str(outcome) == "no use for 4"


@pytest.mark.parametrize("processes", [1, 2])
def test_help_that_fails_in_the_main_process(tmp_path: Path, processes: int) -> None:
    """With one process, it is the answer to who asked for it. With several, the others wait within
    the help, and nobody can tell them.
    """
    group = Group()
    group.barrier = threading.Barrier(1)  # the other process is not there
    main = Process(tmp_path, group, is_main=True)
    main.processes = processes
    helped: list[int] = []

    def help_with(number: int) -> int:
        helped.append(number)
        raise TimeoutError("the sandbox")

    def work(ask_all: Callable[[int], int]) -> str:
        for number in (1, 2):
            with pytest.raises(TimeoutError):
                ask_all(number)
        return "without help"

    if processes == 1:
        assert on_main_with_help(main, work, help_with) == "without help"
        assert helped == [1, 2]
    else:
        with pytest.raises(TimeoutError, match="the sandbox"):
            on_main_with_help(main, work, help_with)
        assert helped == [1]
        assert group.value == ("help", 1, None)


class Asking:
    """In the controller's place: asks for continuations before it gives its answer."""

    def __init__(self) -> None:
        self.answer: Any = None

    def ask(
        self,
        operation: str,
        arguments: dict[str, Any],
        given: Any = None,
        on_request: Any = None,
    ) -> Any:
        assert operation == "assign_credit"
        states = tensors([2, 0], [[5], [6, 7]])
        self.answer = on_request("continue_responses", {"count": 2, "seed": 1}, states)
        tokens = int(given["cu_seqlens"][-1])
        return {"metrics": {}, "valuations": []}, {"advantages": np.ones(tokens, np.float32)}


def test_credit_with_continuations_in_two_processes(tmp_path: Path) -> None:
    rows = [row("a", "A"), row("a", "B"), row("b", "C"), row("b", "D")]
    batch = Batch(rows, np.array([1, np.nan, 0, 1.0]), group_size=2)
    controller: Any = Asking()

    def work(process: Process) -> Any:
        critic = HostCritic(process)
        critic.controller = controller if process.is_main else None
        return critic.assign_credit(batch, "joint", None, "none").advantages

    for process, advantages in in_both(tmp_path, work):
        assert [own.tolist() for own in advantages] == [[1], [0], [1], [1]]
        (given,) = process.wanted
        assert given.rows == [3, 0]
        assert [prefix.tolist() for prefix in given.prefixes] == [[5], [6, 7]]
    result, out = controller.answer
    assert result == {"texts": ["D+", "D+", "A+", "A+"]}
    np.testing.assert_allclose(out["rewards"], [0, 1 / 3, 2 / 3, 1])
    assert out["completion_ids"].tolist() == [ord("+")] * 4


def test_a_host_that_can_t_serves_nothing(tmp_path: Path) -> None:
    class Refusing(Asking):
        def ask(self, *_: Any, on_request: Any = None) -> Any:
            assert on_request is None
            raise ControllerError("this host can't continue responses")

    critic = HostCritic(Tiny(tmp_path, []))
    refusing: Any = Refusing()
    critic.controller = refusing
    with pytest.raises(ControllerError, match="can't continue"):
        critic.assign_credit(Batch([row("a", "A")], np.ones(1), 1), "joint", None, "none")


def test_a_wrong_answer_of_the_host_is_not_sent(tmp_path: Path) -> None:
    """Its limit is the response's: of three tokens the prefix [6, 7] leaves one."""

    class Long(Process):
        def continue_responses(self, batch: Batch, wanted: Wanted) -> Continuations:
            return Continuations(["a"] * 4, [np.array([1, 2], np.int32)] * 4, np.ones(4))

    group = Group()
    group.barrier = threading.Barrier(1)
    critic = HostCritic(Long(tmp_path, group, is_main=True))
    critic.info = {"max_new_tokens": 3}
    controller: Any = Asking()
    critic.controller = controller
    rows = [row("a", "A"), row("a", "B"), row("b", "C"), row("b", "D")]
    with pytest.raises(OperationError, match=r"Long\.continue_responses gave ids\[2\] with 2 new"):
        critic.assign_credit(Batch(rows, np.ones(4), 2), "joint", None, "none")


def test_a_host_that_does_not_say_that_it_can_is_told_how(tmp_path: Path) -> None:
    request = open_request({"critic": "monte-carlo"}, logs=tmp_path)
    with pytest.raises(
        ControllerError, match=r"no actor here that can: .*`open_request\(continues="
    ):
        Opening(lambda: Controller(tmp_path), request).finish(lambda: request)
