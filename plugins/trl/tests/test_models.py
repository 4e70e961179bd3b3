"""GRPO's options for the actor and its reference, models with experts, workers of the data loader,
templates: with a critic, as without one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

from conftest import Make, alive, first_batch, logged, moved, weights


@pytest.fixture
def judged(make: Make, own_critic: str, no_gate: str) -> Make:
    """`make` with the critic in JavaScript."""

    def build(trainer: dict[str, Any] | None = None, **options: Any) -> Any:
        return make(trainer, **{"critic": own_critic, "controller_config": no_gate, **options})

    return build


def test_reference_follows_the_model(judged: Make) -> None:
    trainer = judged(
        beta=0.1,
        sync_ref_model=True,
        ref_model_sync_steps=2,
        ref_model_mixup_alpha=0.25,
        bf16=False,
    )
    start = weights(trainer)
    trainer.train()
    reference = dict(trainer.ref_model.named_parameters())
    assert moved(trainer, start) == set(start)
    for name, now in weights(trainer).items():
        torch.testing.assert_close(reference[name], 0.25 * now + 0.75 * start[name])


def test_kl_with_its_bias_corrected(judged: Make) -> None:
    """The same loss while the policy is that which sampled; another one in the second pass."""
    options: dict[str, Any] = {"beta": 0.5, "num_iterations": 2, "max_steps": 4, "bf16": False}
    losses = []
    for corrected in (False, True):
        trainer = judged(use_bias_correction_kl=corrected, **options)
        trainer.train()
        losses.append(logged(trainer, "loss"))
        assert all(kl >= 0 and math.isfinite(kl) for kl in logged(trainer, "kl"))
        trainer.close()
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-6)
    assert losses[0][1] != pytest.approx(losses[1][1], abs=1e-6)


def test_head_in_float32(judged: Make) -> None:
    trainer = judged(
        cast_lm_head_to_fp32=True, model_init_kwargs={"dtype": "bfloat16"}, learning_rate=0.1
    )
    before = weights(trainer)
    assert trainer.model.lm_head.weight.dtype == torch.float32
    assert trainer.model.model.embed_tokens.weight.dtype == torch.bfloat16
    trainer.train()
    assert "lm_head.weight" in moved(trainer, before)
    assert [value for value in logged(trainer, "critic/states") if value > 0]


def test_model_with_experts(judged: Make, tiny: str, tmp_path: Path) -> None:
    """Its auxiliary loss stays; each expert that was used learns."""
    words = AutoTokenizer.from_pretrained(tiny)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "moe_intermediate_size": 16,
        "num_hidden_layers": 2,
    }
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    ends = {
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    config = Qwen3MoeConfig(
        vocab_size=len(words), num_experts=4, num_experts_per_tok=2, **sizes, **heads, **ends
    )
    words.save_pretrained(tmp_path / "experts")
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "experts")
    trainer = judged({"model": str(tmp_path / "experts")})
    before = weights(trainer)
    trainer.train()
    changed = moved(trainer, before)
    assert [name for name in changed if "experts" in name]
    assert [name for name in changed if ".gate." in name]  # the router


def test_workers_of_the_data_loader_are_no_hosts(judged: Make) -> None:
    """They are forks of the trainer: when they end, its controller stays."""
    trainer = judged(
        dataloader_num_workers=2,
        dataloader_persistent_workers=False,
        num_train_epochs=1,
        max_steps=-1,
    )
    pid = trainer._critic.controller.pid
    trainer.train()
    assert trainer.state.global_step == 12
    assert len(logged(trainer, "critic/states")) == 12
    assert alive(pid)
    trainer.ask("fence", {})


def test_template_s_own_arguments(judged: Make, tiny: str) -> None:
    """`chat_template_kwargs` reach the actor's template; the critic reads the messages."""
    words = AutoTokenizer.from_pretrained(tiny)
    words.chat_template = "{{ manner }}" + words.chat_template
    data = Dataset.from_dict({"prompt": [[{"role": "user", "content": "one two"}]] * 4})
    given = {"processing_class": words, "train_dataset": data}
    trainer = judged(given, chat_template_kwargs={"manner": "SLOWLY"}, log_completions=True)
    output = first_batch(trainer)
    text = words.decode(output["prompt_ids"][0], skip_special_tokens=False)
    assert "SLOWLY<|user|>one two" in text
    assert {str(one["prompt"]) for one in trainer.valuations} == {
        "[{'role': 'user', 'content': 'one two'}]"
    }


@pytest.mark.parametrize("unique", [False, True])
def test_table_is_printed_in_part(
    judged: Make, unique: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = judged(
        log_completions=True, num_completions_to_print=1, log_unique_prompts=unique, max_steps=1
    )
    trainer.train()
    assert "Step 1" in capsys.readouterr().out
    assert len(trainer.valuations) == 4


def test_model_object_stays_the_caller_s(judged: Make, tiny: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    trainer = judged({"model": model, "processing_class": AutoTokenizer.from_pretrained(tiny)})
    trainer.train()
    assert trainer.model is model
