"""Several turns: tools and environments.

What the actor did not write earns it nothing, and stands in what the critic reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from datasets import Dataset

from conftest import Make, check_credit, first_batch, logged, moved, weights

pytestmark = pytest.mark.filterwarnings("ignore")


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


async def slow_add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def called(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call><|im_end|>'


@pytest.fixture
def scripted(make: Make, caller: str, own_critic: str, no_gate: str) -> Callable[..., Any]:
    """A trainer whose actor writes what `script(row, turn)` says, `turn` counting the tools'
    answers so far.
    """

    def build(script: Callable[[int, int], str], trainer: dict[str, Any], **options: Any) -> Any:
        data = Dataset.from_list(
            [{"prompt": [{"role": "user", "content": f"Add {n}"}], "start": n} for n in range(4)]
        )
        settings = {
            "critic": own_critic,
            "controller_config": no_gate,
            "segmentation": {"by": "line"},
            "scale_rewards": "none",
            "max_completion_length": 400,
            "log_completions": True,
            "bf16": False,
        }
        given = {"model": caller, "train_dataset": data, "reward_funcs": halves, **trainer}
        one = make(given, **{**settings, **options})
        words = one.processing_class
        rows: dict[int, int] = {}

        def write(prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
            texts = words.batch_decode(prompt_ids, skip_special_tokens=True)
            turns = [text.count("<tool_response>") for text in texts]
            if not any(turns):
                rows.clear()
                rows.update(enumerate(range(len(prompt_ids))))
            # Only the rows that called a tool come again, in their order.
            again = [
                row for row in rows if turns[0] == 0 or "tool_call" in script(row, turns[0] - 1)
            ]
            ids = [
                words(script(row, turn))["input_ids"]
                for row, turn in zip(again, turns, strict=True)
            ]
            return ids, None

        one._generate_single_turn = write
        return one

    return build


def halves(completions: list[Any], **_: Any) -> list[float]:
    return [float(i % 2) for i in range(len(completions))]


def tool_user(row: int, turn: int) -> str:
    """Even rows call a tool once, and answer."""
    if row % 2 == 0 and turn == 0:
        return "Let me see.\n" + called("add", '{"a": 3, "b": 4}')
    return f"It is {7 + row}.\nTHAT IS ALL<|im_end|>"


@pytest.mark.parametrize("tool", [add, slow_add], ids=["sync", "async"])
def test_tool_s_words_earn_nothing(scripted: Any, tool: Any) -> None:
    trainer = scripted(
        lambda row, turn: tool_user(row, turn).replace('"add"', f'"{tool.__name__}"'),
        {"tools": [tool]},
    )
    output = first_batch(trainer)
    masks = output["tool_mask"] * output["completion_mask"]
    lengths = output["completion_mask"].sum(1)
    assert (masks.sum(1) < lengths).tolist() == [True, False, True, False]
    check_credit(trainer, output)
    for row, one in enumerate(trainer.valuations):
        # The critic reads the tool's answer where it stands.
        assert ("<tool_response>\n7\n</tool_response>" in one["response"]) == (row % 2 == 0)
        tools_own = output["advantages"][row][(output["tool_mask"][row] == 0)]
        assert tools_own.eq(0).all()
        assert len(set(output["advantages"][row].tolist())) > 2
    assert trainer._metrics["train"]["tools/call_frequency"] == [0.5]
    assert trainer._metrics["train"]["tools/failure_frequency"] == [0]


def test_training_with_tools(scripted: Any) -> None:
    trainer = scripted(
        tool_user, {"tools": [add]}, num_iterations=2, max_steps=2, max_tool_calling_iterations=1
    )
    before = weights(trainer)
    trainer.train()
    assert moved(trainer, before)
    assert logged(trainer, "tools/call_frequency") == [0.5]
    assert trainer._critic.batches["joint"] == 1
    assert logged(trainer, "critic/states")[0] > 4


def test_several_turns_and_a_tool_that_fails(scripted: Any) -> None:
    def script(row: int, turn: int) -> str:
        if turn < 2:
            return f"Turn {turn}.\n" + called(
                "add", '{"a": 1}' if turn == 0 else '{"a": 1, "b": 2}'
            )
        return "three<|im_end|>"

    trainer = scripted(script, {"tools": [add]})
    output = first_batch(trainer)
    check_credit(trainer, output)
    assert trainer._metrics["train"]["tools/failure_frequency"] == [0.5]
    changes = (output["tool_mask"][0][1:] != output["tool_mask"][0][:-1]).sum()
    assert changes == 4  # actor, tool, actor, tool, actor
    assert "error" in trainer.valuations[0]["response"]


def test_truncated_completions_with_tools(scripted: Any) -> None:
    """TRL masks them as a whole; so is their credit."""

    def script(row: int, turn: int) -> str:
        return (
            tool_user(row, turn).removesuffix("<|im_end|>")
            if turn == 1 or row == 1
            else tool_user(row, turn)
        )

    trainer = scripted(script, {"tools": [add]}, mask_truncated_completions=True)
    output = first_batch(trainer)
    assert (output["tool_mask"] * output["completion_mask"]).sum(1).gt(0).tolist() == [
        False,
        False,
        False,
        True,
    ]
    check_credit(trainer, output)
    assert output["advantages"].abs().sum(1).gt(0).tolist() == [False, False, False, True]


# Environments


class Counter:
    """Counts up from the row's `start`, and is its own judge."""

    def reset(self, start: int, **_: Any) -> str:
        self.count = start
        return f" to {start}"

    def increment(self, step: int) -> str:
        """Counts up.

        Args:
            step: How far.
        """
        self.count += step
        return f"now at {self.count}"

    def get_reward(self) -> float:
        return min(1.0, self.count / 10)


def counting(row: int, turn: int) -> str:
    return called("increment", f'{{"step": {row}}}') if turn == 0 else "Done.\nIT STANDS<|im_end|>"


def test_environments(scripted: Any) -> None:
    trainer = scripted(counting, {"environment_factory": Counter, "reward_funcs": None})
    output = first_batch(trainer)
    check_credit(trainer, output)
    start = trainer.environments[0].count
    for row, one in enumerate(trainer.valuations):
        assert one["prompt"] == [{"role": "user", "content": f"Add {start} to {start}"}]
        assert f"now at {start + row}" in one["response"]
        assert one["reward"] == pytest.approx(min(1, (start + row) / 10))


def test_environments_that_give_the_prompts_themselves(scripted: Any) -> None:
    """A data set without prompts, and none at all: TRL trains on both."""
    data = Dataset.from_list([{"start": n} for n in range(4)])
    trainer = scripted(
        counting, {"environment_factory": Counter, "reward_funcs": None, "train_dataset": data}
    )
    check_credit(trainer, first_batch(trainer))
    start = trainer.environments[0].count
    assert {one["prompt"][0]["content"] for one in trainer.valuations} == {f" to {start}"}

    class Fixed(Counter):
        def reset(self, **_: Any) -> str:
            return super().reset(3)

    without = {"environment_factory": Fixed, "reward_funcs": None, "train_dataset": None}
    trainer = scripted(counting, without, max_steps=1)
    trainer.train()
    assert trainer.state.global_step == 1


def test_environments_that_begin_differently(scripted: Any) -> None:
    """Each response is judged by the prompt that it answers, also where a group's environments did
    not begin alike.
    """
    begun: list[int] = []

    class Different(Counter):
        def reset(self, start: int, **_: Any) -> str:
            begun.append(len(begun))
            self.count = 1
            return f" at {begun[-1]}"

    trainer = scripted(counting, {"environment_factory": Different, "reward_funcs": None})
    output = first_batch(trainer)
    check_credit(trainer, output)
    prompts = [one["prompt"][0]["content"][-5:] for one in trainer.valuations]
    assert prompts == [" at 0", " at 1", " at 2", " at 3"]
    # No two share their first state.
    assert trainer._metrics["train"]["critic/states"] == [
        sum(len(one["segments"]) for one in trainer.valuations)
    ]


def test_several_environments(scripted: Any) -> None:
    class Other(Counter):
        def get_reward(self) -> float:
            return 0.25

    rows = [
        {
            "prompt": [{"role": "user", "content": "Go"}],
            "start": 2,
            "environment": "other" if n % 2 else "counter",
        }
        for n in range(2)
    ]
    factories = {"counter": Counter, "other": Other}
    trainer = scripted(
        counting,
        {
            "environment_factory": factories,
            "reward_funcs": None,
            "train_dataset": Dataset.from_list(rows),
        },
        per_device_train_batch_size=8,
    )
    output = first_batch(trainer)
    check_credit(trainer, output)
    others = [isinstance(environment, Other) for environment in trainer.environments]
    assert sorted(others) == [False] * 4 + [True] * 4
    for other, row, one in zip(others, range(8), trainer.valuations, strict=True):
        assert one["reward"] == pytest.approx(0.25 if other else (2 + row) / 10)
