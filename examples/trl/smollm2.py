"""Trains SmolLM2-135M-Instruct in TRL for 10 steps on sums from reasoning-gym, with LoRA and the
critic of examples/smollm2.

    .venv/bin/python examples/smollm2/fetch.py && node --import tsx examples/smollm2/make-traces.ts
    npx genac train examples/smollm2/run.yaml          # its stages 1 and 2 train the critic
    .venv/bin/python examples/trl/smollm2.py

A `GRPOTrainer` script differs in the import, the class and the options of the critic.
"""

from __future__ import annotations

import re
from typing import Any

import reasoning_gym
import torch
from datasets import Dataset
from genac_trl import GenACConfig, GenACTrainer
from peft import LoraConfig


def last_number(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """1 for a response whose last number is the answer, else 0."""
    numbers = [
        re.findall(r"-?\d+", completion[0]["content"]) for completion in completions
    ]
    return [
        float(bool(found) and found[-1] == right)
        for found, right in zip(numbers, answer, strict=True)
    ]


sums = reasoning_gym.create_dataset(
    "chain_sum", size=200, seed=1, min_terms=2, max_terms=3, min_digits=1, max_digits=1
)
data = Dataset.from_list(
    [
        {
            "prompt": [
                {
                    "role": "user",
                    "content": f"{entry['question']} Calculate it step by step.",
                }
            ],
            "answer": entry["answer"],
        }
        for entry in sums
    ]
)
args = GenACConfig(
    "runs/trl/smollm2",
    per_device_train_batch_size=8,
    num_generations=4,
    max_completion_length=48,
    temperature=0.7,
    max_steps=10,
    learning_rate=3e-4,
    lr_scheduler_type="constant",
    logging_steps=1,
    log_completions=True,
    num_completions_to_print=2,
    report_to="none",
    use_cpu=not torch.cuda.is_available(),
    bf16=torch.cuda.is_available(),
    save_strategy="no",
    critic_model="runs/smollm2/run/checkpoints/critic-rl",
    critic_learning_rate=1e-4,
    critic_max_new_tokens=64,
    actor_name="SmolLM2-135M-Instruct",
    actor_success_rate=0.2,
    lam=0.9,
)
trainer = GenACTrainer(
    "runs/smollm2/model",
    last_number,
    args,
    data,
    peft_config=LoraConfig(
        r=16, lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]
    ),
)
trainer.train()
