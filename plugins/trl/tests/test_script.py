"""`python -m genac_trl`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from transformers import AutoModelForCausalLM

from genac_trl import __main__ as script
from genac_trl.__main__ import reward_function

REWARDS = """
def short(completions, **kwargs):
    return [1.0 / (1 + len(text)) for text in completions]
"""


def test_the_command_trains_and_saves(tiny: str, traces: str, tmp_path: Path) -> None:
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text(
        "".join(json.dumps({"prompt": f"What comes after {n}?"}) + "\n" for n in range(8))
    )
    (tmp_path / "controller.yaml").write_text(
        "critic_sft: {steps: 2, cooldown: 0, batch: 4, warmup: 0}\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text(
        "per_device_train_batch_size: 4\nnum_generations: 4\nmax_completion_length: 8\nmax_steps: "
        "1\nreport_to: none\nuse_cpu: true\ndisable_tqdm: true\n"
        "critic_max_new_tokens: 4\nsegmentation: {by: tokens, tokens: 4}\ncontroller_config: "
        "controller.yaml\n"
    )
    arguments = [
        "--model_name_or_path",
        tiny,
        "--dataset_name",
        "data",
        "--reward_funcs",
        "my_rewards.short",
    ]
    arguments += ["--output_dir", "out", "--config", "config.yaml", "--dtype", "float32"]
    arguments += ["--critic_traces", traces, "--critic_steps", "1"]
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


@pytest.mark.parametrize(
    ("saved", "given", "of_critic", "of_actor"),
    [
        (["checkpoint-2", "checkpoint-10"], None, "out/checkpoint-10", "out/checkpoint-10"),
        (["checkpoint-2", "checkpoint-10"], "mine", "mine", "mine"),
        ([], None, True, None),
    ],
)
def test_critic_resume_goes_on_from_the_actor_s_checkpoint_where_there_is_one(
    saved: list[str],
    given: str | None,
    of_critic: Any,
    of_actor: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    for name in saved:
        Path("out", name).mkdir()
    made = MagicMock()
    monkeypatch.setattr(script, "GenACTrainer", made)
    monkeypatch.setattr(script, "dataset_of", MagicMock())
    arguments = ["--model_name_or_path", "m", "--output_dir", "out", "--use_cpu", "true"]
    arguments += ["--critic_steps", "1", "--critic_resume", "true"]
    script.main(arguments + ([] if given is None else ["--resume_from_checkpoint", given]))
    trainer = made.return_value.__enter__.return_value
    assert trainer.train_critic.call_args.kwargs["resume_from_checkpoint"] == of_critic
    assert trainer.train.call_args.kwargs["resume_from_checkpoint"] == of_actor


def test_reward_functions_by_name() -> None:
    assert reward_function("accuracy_reward").__name__ == "accuracy_reward"
    assert callable(reward_function("get_soft_overlong_punishment"))
    with pytest.raises(
        ValueError,
        match="there is no reward function 'acuracy_reward': give one of accuracy_reward",
    ):
        reward_function("acuracy_reward")
    with pytest.raises(
        ValueError, match=r"'no_such.mine' can't be imported: No module named 'no_such'"
    ):
        reward_function("no_such.mine")
