"""Several turns: tools, environments and rollout functions.

What the actor did not write earns it nothing, and stands in what the critic reads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl.chat_template_utils import qwen3_chat_template

from conftest import Make, first_batch, letter_values, logged, moved, tokenizer, weights

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model whose chat template knows tools."""
    folder = tmp_path_factory.mktemp("caller")
    words = tokenizer()
    words.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>"], "eos_token": "<|im_end|>"}
    )
    words.chat_template = qwen3_chat_template
    words.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


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


def check_credit(trainer: Any, output: dict[str, Any]) -> None:
    """gamma = lambda = 1: r - V of its segment for each token of the actor; 0 for all others,
    whatever stands in between.
    """
    for row, one in enumerate(trainer.valuations):
        values = np.array([value for tokens, value in letter_values(one) for _ in range(tokens)])
        mask = output["tool_mask"][row, : len(values)].numpy()
        got = output["advantages"][row].numpy()
        np.testing.assert_allclose(got[: len(values)], (one["reward"] - values) * mask, atol=1e-6)
        assert not got[len(values) :].any()


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


# Rollout functions


@pytest.fixture
def rolled(make: Make, caller: str, own_critic: str, no_gate: str) -> Callable[..., Any]:
    """A trainer with a rollout function that answers in three parts, the middle one not the
    actor's.
    """

    def build(logprobs: Any = None, masked: bool = True, **options: Any) -> Any:
        words = AutoTokenizer.from_pretrained(caller)

        def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
            parts = [
                words(text)["input_ids"]
                for text in ("I ask.\n", "IT SAYS NO.\n", "then no<|im_end|>")
            ]
            ids = [token for part in parts for token in part]
            mask = [int(i != 1) for i, part in enumerate(parts) for _ in part]
            each = {
                "prompt_ids": [words(prompt)["input_ids"] for prompt in prompts],
                "completion_ids": [list(ids) for _ in prompts],
                "logprobs": [[-0.1] * len(ids) for _ in prompts]
                if logprobs is None
                else [logprobs(len(ids))] * len(prompts),
                "given": [i / 4 for i in range(len(prompts))],
            }
            return {**each, **({"env_mask": [list(mask) for _ in prompts]} if masked else {})}

        settings = {
            "critic": own_critic,
            "controller_config": no_gate,
            "scale_rewards": "none",
            "log_completions": True,
        }
        return make(
            {"model": caller, "rollout_func": rollout, "reward_funcs": lambda given, **_: given},
            **{**settings, "segmentation": {"by": "line"}, "max_completion_length": 64, **options},
        )

    return build


def test_rollout_function(rolled: Any) -> None:
    trainer = rolled()
    output = first_batch(trainer)
    check_credit(trainer, output)
    assert [one["reward"] for one in trainer.valuations] == [0, 0.25, 0.5, 0.75]
    assert (output["tool_mask"] == 0).any()
    before = weights(trainer)
    trainer.train()
    assert moved(trainer, before)


def test_segments_begin_after_unlikely_tokens(rolled: Any) -> None:
    """The rollout's log-probabilities are the controller's: after each below `probability`, a
    segment begins.
    """
    trainer = rolled(
        logprobs=lambda n: [-3.0 if i in (2, 5) else -0.1 for i in range(n)],
        masked=False,
        segmentation={"by": "low-probability", "probability": 0.2},
    )
    first_batch(trainer)
    for one in trainer.valuations:
        tokens = [segment["tokens"] for segment in one["segments"]]
        assert tokens == [3, 3, sum(tokens) - 6]


def test_nothing_is_left_beside_the_log(rolled: Any) -> None:
    trainer = rolled(max_steps=1)
    trainer.train()
    assert sorted(path.name for path in Path(trainer.args.output_dir).iterdir()) == [
        "completions",
        "genac-logs",
    ]
