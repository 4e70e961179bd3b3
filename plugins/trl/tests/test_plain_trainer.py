"""Parts of the package that comparisons use with TRL's own trainer."""

from __future__ import annotations

from pathlib import Path

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from conftest import letters
from genac_trl.trl_internals import sampled, tokenized, undisturbed


def test_a_plain_trainer_is_sampled_from_undisturbed(
    tiny: str, data: Dataset, tmp_path: Path
) -> None:
    args = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=4,
        bf16=False,
        use_cpu=True,
        report_to="none",
    )
    trainer = GRPOTrainer(model=tiny, reward_funcs=letters, args=args, train_dataset=data)
    draws = torch.random.get_rng_state()
    with undisturbed(trainer):
        ids = sampled(trainer, tokenized(trainer, data["prompt"][:2]))
    assert len(ids) == 2
    assert torch.equal(draws, torch.random.get_rng_state())
