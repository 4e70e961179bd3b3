"""Checkpoints: what lies in them, and a run that goes on from one is the run that had no break."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOTrainer

from conftest import Make, logged, moved, settings_in, weights
from genac_trl import ControllerError, GenACTrainer

#: What depends on the clock.
TIMES = ("time", "runtime", "per_second", "seconds")


def learns(scorer: str, no_gate: str) -> dict[str, Any]:
    return {
        "critic_model": scorer,
        "critic_max_new_tokens": 2,
        "critic_learning_rate": 1e-3,
        "controller_config": no_gate,
        "segmentation": {"by": "tokens", "tokens": 4},
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
    }


@pytest.fixture
def learning(make: Make, scorer: str, no_gate: str, tmp_path: Path) -> Make:
    """`make` with a critic of language that learns at every step; four steps, a checkpoint after
    each second.
    """

    def build(folder: str, **options: Any) -> GenACTrainer:
        return make(output_dir=str(tmp_path / folder), **{**learns(scorer, no_gate), **options})

    return build


def entries(trainer: Any) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in entry.items() if not any(time in name for time in TIMES)}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def critic_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "genac" / "critic" / "model.safetensors")


def test_resumed_run_is_the_run(learning: Make, tmp_path: Path) -> None:
    """Metrics, among them the success rate that the critic is told; weights of actor and critic, so
    both optimizers.
    """
    whole = learning("whole")
    whole.train()
    whole.close()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    resumed = learning("resumed")
    resumed.train(resume_from_checkpoint=True)
    resumed.close()
    assert resumed.state.global_step == 4
    assert moved(resumed, weights(whole)) == set()
    assert len(set(logged(whole, "actor/success_rate"))) == 4
    # The update of the step before the checkpoint is told with the step after it.
    assert len(logged(whole, "critic/loss")) == 3
    assert entries(resumed) == entries(whole)
    begun, ended, again = (
        critic_of(tmp_path / folder)
        for folder in ("whole/checkpoint-2", "whole/checkpoint-4", "resumed/checkpoint-4")
    )
    assert any(not torch.equal(begun[name], ended[name]) for name in begun)
    assert all(torch.equal(again[name], ended[name]) for name in ended)


def test_resume_between_two_generation_batches(learning: Make, tmp_path: Path) -> None:
    """Each lasts two steps."""
    whole = learning("whole", num_iterations=2)
    whole.train()
    whole.close()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    resumed = learning("resumed", num_iterations=2)
    resumed.train(resume_from_checkpoint=True)
    assert moved(resumed, weights(whole)) == set()
    assert entries(resumed) == entries(whole)


def test_evaluations_after_a_resume_are_those_of_the_run(
    learning: Make, tmp_path: Path, data: Any
) -> None:
    """The critic's completions are drawn as if there had been no break."""
    evaluated = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4}
    rows = {"eval_dataset": data.select(range(3))}
    whole = learning("whole", trainer=rows, **evaluated)
    whole.train()
    whole.close()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    resumed = learning("resumed", trainer=rows, **evaluated)
    resumed.train(resume_from_checkpoint=True)
    for name in ("eval_reward", "eval_critic/mse_to_outcomes", "eval_value/last_wrong"):
        assert len(set(logged(whole, name))) == 4, name
        assert logged(resumed, name) == logged(whole, name), name


def test_a_killed_run_goes_on_as_if_it_never_had_been(
    learning: Make, tmp_path: Path, tiny: str, scorer: str, no_gate: str
) -> None:
    """SIGKILL inside a step and between two."""
    whole = learning("whole")
    whole.train()
    whole.close()
    script = Path(__file__).with_name("killed_script.py")
    for where in ("inside", "between"):
        options = {**settings_in(tmp_path / where), **learns(scorer, no_gate)}
        killed = subprocess.run(
            [sys.executable, str(script), where, tiny, json.dumps(options)],
            timeout=120,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        assert sorted(path.name for path in (tmp_path / where).glob("checkpoint-*")) == [
            "checkpoint-2"
        ]
        resumed = learning(where)
        resumed.train(resume_from_checkpoint=True)
        resumed.close()
        assert entries(resumed) == entries(whole)
        assert moved(resumed, weights(whole)) == set()
        last = critic_of(tmp_path / "whole" / "checkpoint-4")
        assert all(
            torch.equal(own, last[name])
            for name, own in critic_of(tmp_path / where / "checkpoint-4").items()
        )


def test_resume_amid_a_generation_batch(make: Make, own_critic: str) -> None:
    """As in GRPO, a new batch is generated; the count of batches goes on."""
    options: dict[str, Any] = {
        "critic": own_critic,
        "num_iterations": 2,
        "save_strategy": "steps",
        "save_steps": 3,
    }
    make(max_steps=3, **options).train()
    resumed = make(max_steps=5, **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 5
    assert resumed._critic.batches["joint"] == 2 + 1


def test_critic_of_a_checkpoint_loads(learning: Make, tmp_path: Path, scorer: str) -> None:
    """With `from_pretrained`; and as `critic_model`, its folder or the checkpoint's `genac`."""
    trainer = learning("run", max_steps=2)
    trainer.train()
    folder = tmp_path / "run" / "checkpoint-2" / "genac"
    critic = AutoModelForCausalLM.from_pretrained(folder / "critic")
    assert len(AutoTokenizer.from_pretrained(folder / "critic")) == critic.config.vocab_size == 307
    start = AutoModelForCausalLM.from_pretrained(scorer).state_dict()
    assert any(not torch.equal(start[name], tensor) for name, tensor in critic.state_dict().items())
    trainer.close()
    again = learning("again", critic_model=str(folder), max_steps=2, save_steps=1)
    again.save_critic(tmp_path / "kept")
    kept = load_file(tmp_path / "kept" / "critic" / "model.safetensors")
    for name, tensor in critic_of(tmp_path / "run" / "checkpoint-2").items():
        assert torch.equal(kept[name], tensor), name


def test_save_only_model(learning: Make, tmp_path: Path) -> None:
    """Neither optimizer; the critic's weights are there, and a run can begin from them."""
    trainer = learning("run", max_steps=2, save_only_model=True)
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert not (checkpoint / "optimizer.pt").exists()
    assert (checkpoint / "genac/critic/model.safetensors").is_file()
    trainer.save_critic(tmp_path / "both", optimizer=True)
    light, full = (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in (checkpoint / "genac", tmp_path / "both")
    )
    model = (checkpoint / "genac/critic/model.safetensors").stat().st_size
    assert full - light > 1.5 * model  # two moments of each weight


def test_save_total_limit(make: Make, own_critic: str) -> None:
    trainer = make(
        critic=own_critic, max_steps=4, save_strategy="steps", save_steps=1, save_total_limit=2
    )
    trainer.train()
    folder = Path(trainer.args.output_dir)
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == [
        "checkpoint-3",
        "checkpoint-4",
    ]
    assert all(
        (path / "genac" / "controller.json").is_file() for path in folder.glob("checkpoint-*")
    )


def test_best_model_is_kept_and_loaded(make: Make, own_critic: str, data: Any) -> None:
    options: dict[str, Any] = {
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
    }
    best: dict[str, Any] = {
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_reward",
        "save_total_limit": 1,
    }
    trainer = make(
        {"eval_dataset": data.select(range(2))}, critic=own_critic, max_steps=3, **options, **best
    )
    trainer.train()
    rewards = logged(trainer, "eval_reward")
    step = 1 + rewards.index(max(rewards))
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{step}")
    loaded = load_file(Path(trainer.state.best_model_checkpoint, "model.safetensors"))
    for name, parameter in trainer.model.state_dict().items():
        if name in loaded:
            assert torch.equal(parameter, loaded[name]), name


@pytest.mark.parametrize("broken", ["none", "GRPO's"])
def test_a_checkpoint_without_a_critic_is_refused(make: Make, own_critic: str, broken: str) -> None:
    cls, critic = (GRPOTrainer, "group-mean") if broken == "GRPO's" else (GenACTrainer, own_critic)
    first = make(cls=cls, critic=critic, save_strategy="steps", save_steps=2)
    first.train()
    checkpoint = Path(first.args.output_dir, "checkpoint-2")
    if broken == "none":
        shutil.rmtree(checkpoint / "genac")
    again = make(critic=own_critic, max_steps=3)
    with pytest.raises(ControllerError) as caught:
        again.train(resume_from_checkpoint=str(checkpoint))
    words = str(caught.value)
    assert f"the checkpoint {checkpoint} has no folder genac" in words
    assert "resume from another one" in words


def test_a_checkpoint_that_was_cut_off_is_set_aside_and_said(
    make: Make, own_critic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make(critic=own_critic, save_strategy="steps", save_steps=2)
    first.train()
    checkpoint = Path(first.args.output_dir, "checkpoint-2")
    (checkpoint / "genac" / "controller.json").unlink()
    capsys.readouterr()
    again = make(critic=own_critic, max_steps=3)
    assert (
        f"cut off while it was written; it is now {checkpoint}.torn: resume from another one"
        in capsys.readouterr().out
    )
    with pytest.raises(ValueError, match=f"valid checkpoint at {checkpoint}"):
        again.train(resume_from_checkpoint=str(checkpoint))


def test_nothing_to_resume_from_is_trl_s_error(make: Make, own_critic: str) -> None:
    with pytest.raises(ValueError, match="No valid checkpoint found"):
        make(critic=own_critic).train(resume_from_checkpoint=True)


def test_save_model_is_the_actor_s(make: Make, own_critic: str, tmp_path: Path) -> None:
    trainer = make(critic=own_critic)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, loaded.get_parameter(name)), name
    assert not (tmp_path / "saved" / "genac").exists()


def test_model_card(make: Make, own_critic: str) -> None:
    """README.md is written with each checkpoint, and by `create_model_card` itself."""
    trainer = make(critic=own_critic, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    path = Path(trainer.args.output_dir, "README.md")
    words = path.read_text(encoding="utf-8")
    for told in ("GenAC", "Generative Actor-Critic", "2604.10701", "@misc{genac2026"):
        assert told in words, told
    head = words.split("---")[1]
    assert {"- genac", "- trl"} <= {line.strip() for line in head.splitlines()}
    assert "GRPO" not in words
    path.unlink()
    trainer.create_model_card(model_name="mine", dataset_name="numbers", tags="extra")
    words = path.read_text(encoding="utf-8")
    assert "# Model Card for mine" in words
    assert "- extra" in words
    assert "numbers" in words
