"""Rollout functions: their completions, masks and log-probabilities are what the critic gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from conftest import Make, check_credit, first_batch, moved, weights

pytestmark = pytest.mark.filterwarnings("ignore")


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
