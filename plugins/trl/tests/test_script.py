"""`python -m genac_trl`, and the critic's first two stages."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from conftest import Make
from genac_trl import ControllerError
from genac_trl.__main__ import reward_function

REWARDS = """
def short(completions, **kwargs):
    return [1.0 / (1 + len(text)) for text in completions]
"""


def trace(n: int, score: int) -> dict[str, Any]:
    return {
        "prompt": f"What comes after {n}?",
        "partial_response": "It is",
        "rationale": "It goes well.",
        "score": score,
        "observed_outcome": score / 10,
    }


@pytest.fixture
def traces(tmp_path: Path) -> str:
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(trace(n, n % 11)) + "\n" for n in range(40)))
    return str(path)


def test_the_command_trains_and_saves(tiny: str, traces: str, tmp_path: Path) -> None:
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text(
        "".join(json.dumps({"prompt": f"What comes after {n}?"}) + "\n" for n in range(8))
    )
    (tmp_path / "controller.yaml").write_text("critic_sft: {steps: 2, cooldown: 0, batch: 4, warmup: 0}\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        "per_device_train_batch_size: 4\nnum_generations: 4\nmax_completion_length: 8\nmax_steps: 1\nreport_to: none\nuse_cpu: true\ndisable_tqdm: true\n"
        "critic_max_new_tokens: 4\nsegmentation: {by: tokens, tokens: 4}\ncontroller_config: controller.yaml\n"
    )
    arguments = ["--model_name_or_path", tiny, "--dataset_name", "data", "--reward_funcs", "my_rewards.short"]
    arguments += ["--output_dir", "out", "--config", "config.yaml", "--dtype", "float32"]
    arguments += ["--critic_traces", traces, "--critic_updates", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "genac_trl", *arguments],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("critic/step") == 2  # the end of stage 1, one update of stage 2
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "genac" / "critic")
    assert "GenAC" in (tmp_path / "out" / "README.md").read_text()


def test_reward_functions_by_name() -> None:
    assert reward_function("accuracy_reward").__name__ == "accuracy_reward"
    assert callable(reward_function("get_soft_overlong_punishment"))
    with pytest.raises(ValueError, match="there is no reward function 'acuracy_reward': give one of accuracy_reward"):
        reward_function("acuracy_reward")
    with pytest.raises(ValueError, match=r"'no_such.mine' can't be imported: No module named 'no_such'"):
        reward_function("no_such.mine")


def test_imitation_lowers_the_loss_of_the_traces(make: Make, traces: str, tmp_path: Path) -> None:
    controller = tmp_path / "controller.yaml"
    controller.write_text(
        "critic_sft: {steps: 30, cooldown: 0, batch: 8, warmup: 0, learning_rate: 0.01, agreement: 1}\n"
    )
    trainer = make(controller_config=str(controller), critic_max_new_tokens=4)
    metrics = trainer.train_critic(traces)
    losses = [entry["critic/loss"] for entry in trainer.state.log_history if "critic/loss" in entry]
    assert len(losses) == 30
    assert losses[-1] < 0.7 * losses[0]
    assert metrics["traces/kept"] == 240


def test_updates_of_the_critic_alone_leave_the_actor(make: Make) -> None:
    trainer = make(critic_max_new_tokens=4)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    metrics = trainer.train_critic(updates=2)
    assert all(before[name].equal(p) for name, p in trainer.model.named_parameters())
    assert math.isfinite(metrics["critic/loss"])
    assert trainer._batches == {"joint": 0, "critic-rl": 2, "evaluation": 0}
    trainer.train()
    assert trainer._batches["joint"] == 2


def test_a_trace_file_that_is_not_there(make: Make) -> None:
    with pytest.raises(ControllerError, match=r"critic_sft.traces: /nowhere.jsonl can't be read"):
        make(critic_max_new_tokens=4).train_critic("/nowhere.jsonl")
