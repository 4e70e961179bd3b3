"""critic='group-mean' is GRPO, to the bit:

TRL's advantages, losses and weights, and nothing is started.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from conftest import Make, first_batch, logged, moved, weights
from genac_trl import GenACConfig, GenACTrainer

#: One of every kind, and those that a critic refuses.
SETUPS: list[dict[str, Any]] = [
    {"loss_type": "dapo", "scale_rewards": "group"},
    {"loss_type": "grpo", "scale_rewards": "batch", "beta": 0.1},
    {"loss_type": "dr_grpo", "scale_rewards": "none", "num_iterations": 2, "max_steps": 4},
    {"loss_type": "bnpo", "scale_rewards": False, "gradient_accumulation_steps": 2},
    {"loss_type": "cispo", "scale_rewards": True},
    {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    {"multi_objective_aggregation": "normalize_then_sum"},
]
#: What depends on the clock.
TIMES = ("time", "runtime", "per_second")


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*command: Any, **_: Any) -> None:
        raise AssertionError(f"a process was started: {command}")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def entries(trainer: Any) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in entry.items() if not any(time in name for time in TIMES)}
        for entry in trainer.state.log_history
    ]


@pytest.mark.parametrize(
    "setup", SETUPS, ids=lambda setup: "-".join(f"{value}" for value in setup.values())
)
def test_training_is_grpo_s(make: Make, setup: dict[str, Any]) -> None:
    theirs = make(cls=GRPOTrainer, config=GRPOConfig, **setup)
    start = weights(theirs)
    theirs.train()
    ours = make(critic="group-mean", **setup)
    ours.train()
    assert isinstance(ours, GenACTrainer)
    assert moved(theirs, start)
    assert moved(ours, weights(theirs)) == set()
    assert entries(ours) == entries(theirs)
    assert len(logged(ours, "loss")) == setup.get("max_steps", 2)
    assert not any(
        name.startswith(("critic/", "value/")) for entry in ours.state.log_history for name in entry
    )


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_grpo_s(make: Make, scale: str) -> None:
    options: dict[str, Any] = {"scale_rewards": scale, "per_device_train_batch_size": 8}
    theirs = first_batch(make(cls=GRPOTrainer, config=GRPOConfig, **options))
    ours = first_batch(make(critic="group-mean", **options))
    assert torch.equal(ours["completion_ids"], theirs["completion_ids"])
    assert ours["advantages"].shape == (8,)
    assert ours["advantages"].abs().max() > 0
    np.testing.assert_array_equal(ours["advantages"].numpy(), theirs["advantages"].numpy())


def test_rewards_may_have_any_size(make: Make) -> None:
    """Only a critic needs `reward_range`."""

    def large(completions: list[Any], **_: Any) -> list[float]:
        return [100.0 * len(text) for text in completions]

    trainer = make({"reward_funcs": large}, critic="group-mean")
    trainer.train()
    assert logged(trainer, "reward")[0] > 1


def test_nothing_of_a_critic_is_saved(make: Make) -> None:
    trainer = make(critic="group-mean", save_strategy="steps", save_steps=1)
    trainer.train()
    saved = sorted(path.name for path in Path(trainer.args.output_dir).iterdir())
    assert saved == ["README.md", "checkpoint-1", "checkpoint-2"]
    assert not list(Path(trainer.args.output_dir).glob("*/genac"))
    again = make(critic="group-mean", max_steps=3, output_dir=trainer.args.output_dir)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 3


def test_there_is_no_critic_to_train(make: Make) -> None:
    trainer = make(config=GenACConfig, critic="group-mean")
    with pytest.raises(ValueError, match="critic='group-mean' has nothing to train"):
        trainer.train_critic(steps=1)
