"""The two callbacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from conftest import Make, letters
from genac_trl import CriticQualityCallback, SaveValuationsCallback


def test_valuations_are_written_batch_by_batch(
    make: Make, own_critic: str, no_gate: str, tmp_path: Path
) -> None:
    trainer = make(
        critic=own_critic,
        controller_config=no_gate,
        segmentation="tokens",
        max_steps=3,
        scale_rewards="none",
    )
    trainer.add_callback(SaveValuationsCallback(trainer))
    trainer.train()
    lines = [
        json.loads(line)
        for line in (tmp_path / "out" / "valuations.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == [0] * 4 + [1] * 4 + [2] * 4
    for line in lines:
        assert line["purpose"] == "joint"
        assert line["reward"] == pytest.approx(letters([line["response"]])[0], abs=1e-6)
        assert line["segments"][0]["value"] == 0.5
        assert line["segments"][0]["rationale"] == "read 0"
        assert line["segments"][0]["advantage"] == pytest.approx(line["reward"] - 0.5, abs=1e-6)


def test_no_batch_is_lost_between_two_steps(
    make: Make, own_critic: str, no_gate: str, data: Dataset, tmp_path: Path
) -> None:
    """Two batches a step, and an evaluation between; those of the critic alone too."""
    trainer = make(
        {"eval_dataset": data.select(range(1))},
        critic=own_critic,
        controller_config=no_gate,
        gradient_accumulation_steps=2,
        steps_per_generation=1,
        eval_strategy="steps",
        eval_steps=1,
        per_device_eval_batch_size=4,
    )
    trainer.add_callback(SaveValuationsCallback(trainer))
    trainer.train_critic(steps=2)
    trainer.train()
    lines = [
        json.loads(line)
        for line in (tmp_path / "out" / "valuations.jsonl").read_text().splitlines()
    ]
    assert [(line["purpose"], line["step"]) for line in lines[::4]] == [
        *[("critic-rl", 0)] * 2,
        *[("joint", 0)] * 2,
        ("evaluation", 1),
        *[("joint", 1)] * 2,
        ("evaluation", 2),
    ]


def test_a_resumed_run_has_each_step_once(
    make: Make, own_critic: str, no_gate: str, data: Dataset, tmp_path: Path
) -> None:
    def trainer(steps: int) -> Any:
        one = make(
            {"eval_dataset": data.select(range(1))},
            critic=own_critic,
            controller_config=no_gate,
            max_steps=steps,
            save_strategy="steps",
            save_steps=2,
            eval_strategy="steps",
            eval_steps=2,
            per_device_eval_batch_size=4,
        )
        one.add_callback(SaveValuationsCallback(one))
        return one

    trainer(3).train()
    path = tmp_path / "out" / "valuations.jsonl"
    with path.open("ab") as file:
        file.write('{"step": 3, "prompt": "≈'.encode()[:-1])  # as a kill leaves it
    trainer(4).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [0, 1, 2, 3]
    joint = [line["step"] for line in lines if line["purpose"] == "joint"]
    assert joint == [step for step in steps for _ in range(4)]
    evaluated = {line["step"] for line in lines if line["purpose"] == "evaluation"}
    assert evaluated == {2, 4}


def test_quality_is_measured_against_continuations(
    make: Make, own_critic: str, data: Dataset
) -> None:
    """A generation batch at a time."""
    trainer = make({"eval_dataset": data}, critic=own_critic, max_steps=2)
    seen: list[Any] = []

    def reward(completions: list[str], **_: Any) -> list[float]:
        seen.append(completions)
        return letters(completions)

    trainer.reward_funcs = [reward]
    sampled: list[int] = []
    generate = trainer._generate_single_turn

    def counted(prompt_ids: Any, *rest: Any) -> Any:
        sampled.append(len(prompt_ids))
        return generate(prompt_ids, *rest)

    trainer._generate_single_turn = counted
    callback = CriticQualityCallback(trainer, states=6, continuations=5)
    state = torch.random.get_rng_state()
    measured = callback.measure()
    assert torch.equal(state, torch.random.get_rng_state())
    assert sampled == [4, 2, *[4] * 7, 2]
    assert [len(part) for part in seen] == [*[4] * 7, 2]
    completions = [text for part in seen for text in part]
    observed = np.array(letters(completions)).reshape(6, 5).mean(1)
    assert measured["critic/heldout_mse_of_constant"] == pytest.approx(observed.var(), abs=1e-6)
    assert measured["critic/heldout_parse_rate"] == 1
    # The five continuations of a state begin alike, and the critic judged just that beginning.
    values = []
    for i in range(6):
        five = completions[5 * i : 5 * i + 5]
        common = next(
            (n for n in range(len(five[0]) + 1) if len({text[: n + 1] for text in five}) > 1),
            len(five[0]),
        )
        values.append(
            {0.5} | {sum("a" <= c <= "z" for c in five[0][:n]) / n for n in range(1, common + 1)}
        )
    least = np.mean(
        [
            min((value - seen) ** 2 for value in some)
            for some, seen in zip(values, observed, strict=True)
        ]
    )
    most = np.mean(
        [
            max((value - seen) ** 2 for value in some)
            for some, seen in zip(values, observed, strict=True)
        ]
    )
    assert least - 1e-6 <= measured["critic/heldout_mse"] <= most + 1e-6


def test_quality_is_logged_and_leaves_training_as_it_was(
    make: Make, own_critic: str, data: Dataset, tmp_path: Path
) -> None:
    losses = []
    for measuring in (False, True):
        trainer = make(
            {"eval_dataset": data},
            critic=own_critic,
            max_steps=3,
            output_dir=str(tmp_path / str(measuring)),
        )
        if measuring:
            trainer.add_callback(CriticQualityCallback(trainer, states=2, continuations=2, every=2))
        trainer.train()
        history = trainer.state.log_history
        losses.append([entry["loss"] for entry in history if "loss" in entry])
        measured = [entry["step"] for entry in history if "critic/heldout_mse" in entry]
        assert measured == ([1, 2, 3] if measuring else [])
    assert losses[0] == losses[1]


def test_quality_without_held_out_prompts_is_refused(make: Make, own_critic: str) -> None:
    with pytest.raises(ValueError, match="needs a dataset of held-out prompts"):
        CriticQualityCallback(make(critic=own_critic))


def test_quality_of_an_actor_that_can_t_go_on_from_the_middle_is_refused(
    make: Make, own_critic: str, data: Dataset
) -> None:
    trainer = make(
        {"rollout_func": lambda prompts, trainer: {}, "eval_dataset": data}, critic=own_critic
    )
    with pytest.raises(
        ValueError, match="CriticQualityCallback: responses can't be continued: `ro"
    ):
        CriticQualityCallback(trainer)
