"""LoRA of the actor: the adapter alone learns, the critic is the base model, and both come back
from a checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from conftest import Make, logged, moved, weights

LORA: dict[str, Any] = {
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}


def adapted(tiny: str) -> Any:
    torch.manual_seed(3)
    return get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny), LoraConfig(**LORA, init_lora_weights=False)
    )


@pytest.mark.parametrize("by", ["peft_config", "PeftModel"])
def test_only_the_adapter_learns(make: Make, own_critic: str, tiny: str, by: str) -> None:
    given = {"peft_config": LoraConfig(**LORA)} if by == "peft_config" else {"model": adapted(tiny)}
    trainer = make(given, critic=own_critic, max_steps=3)
    before = weights(trainer)
    trainer.train()
    changed = moved(trainer, before)
    assert changed == {name for name in before if "lora_" in name}
    assert len(changed) == 8


@pytest.mark.parametrize("by", ["peft_config", "PeftModel"])
def test_reference_is_the_model_before_training(
    make: Make, own_critic: str, tiny: str, by: str
) -> None:
    """`beta`: the distance from it is nothing at first, and something later."""
    given = {"peft_config": LoraConfig(**LORA)} if by == "peft_config" else {"model": adapted(tiny)}
    trainer = make(given, critic=own_critic, beta=0.1, max_steps=3, bf16=False)
    assert trainer.ref_model is None
    trainer.train()
    assert logged(trainer, "kl")[0] == pytest.approx(0, abs=1e-6)
    assert logged(trainer, "kl")[2] > 1e-6


def test_gradient_checkpointing_and_several_iterations(make: Make, own_critic: str) -> None:
    options: dict[str, Any] = {"num_iterations": 2, "max_steps": 4, "gradient_checkpointing": True}
    trainer = make({"peft_config": LoraConfig(**LORA)}, critic=own_critic, **options)
    before = weights(trainer)
    trainer.train()
    assert moved(trainer, before) == {name for name in before if "lora_" in name}
    assert trainer._critic.batches["joint"] == 2


def test_checkpoint_has_the_adapter_and_loads(make: Make, own_critic: str, tiny: str) -> None:
    trainer = make(
        {"peft_config": LoraConfig(**LORA)}, critic=own_critic, save_strategy="steps", save_steps=2
    )
    trainer.train()
    folder = Path(trainer.args.output_dir, "checkpoint-2")
    assert (folder / "adapter_model.safetensors").is_file()
    assert not (folder / "model.safetensors").exists()
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), folder)
    own = dict(loaded.named_parameters())
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, own[name]), name


def test_resume_with_the_adapter(make: Make, scorer: str, no_gate: str, tmp_path: Path) -> None:
    """Adapter, optimizer and the critic of the tiny model: as if there had been no break."""
    options: dict[str, Any] = {
        "critic_model": scorer,
        "critic_max_new_tokens": 2,
        "critic_learning_rate": 1e-3,
        "controller_config": no_gate,
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
        "lr_scheduler_type": "constant",
    }
    whole = make({"peft_config": LoraConfig(**LORA)}, output_dir=str(tmp_path / "whole"), **options)
    whole.train()
    whole.close()
    resumed = make(
        {"peft_config": LoraConfig(**LORA)}, output_dir=str(tmp_path / "resumed"), **options
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.state.global_step == 4
    assert moved(resumed, weights(whole)) == set()
    resumed.close()
    critics = [
        load_file(tmp_path / run / "checkpoint-4/genac/critic/model.safetensors")
        for run in ("whole", "resumed")
    ]
    first = load_file(tmp_path / "whole" / "checkpoint-2/genac/critic/model.safetensors")
    assert all(torch.equal(critics[0][name], critics[1][name]) for name in critics[0])
    assert any(not torch.equal(critics[0][name], first[name]) for name in first)
