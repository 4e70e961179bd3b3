"""Run by test_continuations.py under torchrun: the reward function fails in the main process alone,
while responses are continued.

Arguments: folder, model, config.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from datasets import Dataset

from genac_trl import GenACConfig, GenACTrainer

torch.set_num_threads(1)
calls = 0


def reward(completions: list[str], **_: Any) -> list[float]:
    """Its first call scores the batch, its second one continuations."""
    global calls
    calls += 1
    if calls == 2 and os.environ["RANK"] == "0":
        raise RuntimeError("the sandbox has no answer")
    return [len(text) / 100 for text in completions]


def main(folder: str, model: str, config: str) -> None:
    args = GenACConfig(
        output_dir=folder,
        critic="monte-carlo",
        critic_on_failure="group-mean",
        controller_config=config,
        segmentation={"by": "tokens", "tokens": 4},
        per_device_train_batch_size=2,
        num_generations=4,
        max_completion_length=8,
        max_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    data = Dataset.from_dict({"prompt": ["What comes after 1?", "What comes after 2?"]})
    GenACTrainer(model=model, reward_funcs=reward, args=args, train_dataset=data).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
