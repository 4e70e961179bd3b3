"""Trains on the embedded task in TRL: `GRPOTrainer` or `GenACTrainer`, with the same actor, data
and seed.

    npx genac train examples/trl/critic.yaml                   # the actor and the critic, once
    node --import tsx examples/trl/make-problems.ts            # the data
    .venv/bin/python examples/trl/miniature.py --trainer genac --seed 0
    .venv/bin/python examples/trl/miniature.py --trainer grpo --seed 0

Writes success on held-out problems against actor tokens and seconds to
`runs/trl/TRAINER-SEED.jsonl`. The two differ in one line: the class of the trainer.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from genac_trl import GenACConfig, GenACTrainer
from genac_trl.trl_internals import sampled, tokenized, undisturbed
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

LABELS = "abcdefgh"


def last_register(completions: list[str], answer: list[int], **_: Any) -> list[float]:
    """1 for a response with all eight operations in order and the right last register, else 0."""
    return [
        float(reads(text) == right)
        for text, right in zip(completions, answer, strict=True)
    ]


def reads(text: str) -> int | None:
    words = text.split()
    whole = len(words) == 17 and words[:16:2] == list(LABELS) and words[16] == "."
    return int(words[15]) if whole and words[15].isdigit() else None


class Success(TrainerCallback):
    """Measures held-out success at temperature 1, with the actor tokens and seconds so far."""

    def __init__(self, trainer: Any, rows: Any, path: Path, every: int) -> None:
        self.trainer, self.rows, self.path, self.every = (
            trainer,
            list(rows),
            path,
            every,
        )
        self.began, self.measuring = time.perf_counter(), 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.path.unlink(missing_ok=True)
        self.began = time.perf_counter()
        self.measure(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.every == 0:
            self.measure(state.global_step)

    def measure(self, step: int) -> None:
        started = time.perf_counter()
        trainer = self.trainer
        with undisturbed(trainer):
            ids = sampled(
                trainer, tokenized(trainer, [row["prompt"] for row in self.rows])
            )
        texts = trainer.processing_class.batch_decode(ids, skip_special_tokens=True)
        success = sum(last_register(texts, [row["answer"] for row in self.rows])) / len(
            texts
        )
        seconds = started - self.began - self.measuring
        history = [
            entry for entry in trainer.state.log_history if "num_tokens" in entry
        ]
        line = {
            "step": step,
            "success": success,
            "seconds": round(seconds, 1),
            "metrics": history[-1] if history else {},
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"step {step}: success {success:.3f} after {seconds:.0f} s", flush=True)
        self.measuring += time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", choices=["grpo", "genac"], default="genac")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--folder", type=Path, default=Path("runs/trl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    actor = given.folder / "critic" / "models" / "base-actor"
    words = AutoTokenizer.from_pretrained(actor)
    words.eos_token = "."
    data = load_dataset(
        str(given.folder / "problems"),
        data_files={"train": "train.jsonl", "test": "heldout.jsonl"},
    )
    # 16 problems x 8 responses for two steps each, as in examples/miniature.yaml.
    common: dict[str, Any] = {
        "output_dir": str(given.folder / f"{given.trainer}-{given.seed}"),
        "seed": given.seed,
        "per_device_train_batch_size": 128,
        "num_generations": 8,
        "num_iterations": 2,
        "max_completion_length": 20,
        "max_steps": given.steps,
        "learning_rate": 5e-4,
        "lr_scheduler_type": "constant",
        "adam_beta2": 0.95,
        "loss_type": "bnpo",
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    rest: dict[str, Any] = {
        "model": AutoModelForCausalLM.from_pretrained(actor),
        "reward_funcs": last_register,
        "train_dataset": data["train"],
        "processing_class": words,
    }
    if given.trainer == "grpo":
        trainer = GRPOTrainer(args=GRPOConfig(**common), **rest)
    else:
        critic = {
            "critic_model": str(given.folder / "critic"),
            "critic_learning_rate": 2e-4,
            "critic_max_new_tokens": 48,
            "actor_success_rate": 0.15,
            "lam": 0.5,
            "scale_rewards": "batch",
            "controller_config": "examples/trl/controller.yaml",
        }
        trainer = GenACTrainer(args=GenACConfig(**common, **critic), **rest)
    trainer.add_callback(
        Success(
            trainer,
            data["test"],
            given.folder / f"{given.trainer}-{given.seed}.jsonl",
            every=10,
        )
    )
    trainer.train()


if __name__ == "__main__":
    main()
