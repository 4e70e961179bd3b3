"""Run by test_continuations.py under torchrun: responses of both processes are continued.

Arguments: folder, model, critic, config.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from genac_bridge.host.continuations import Wanted
from genac_trl import GenACConfig, GenACTrainer

torch.set_num_threads(1)


def by_level(completions: list[str], level: list[int], **_: Any) -> list[float]:
    """A tenth for each level of the row, and a little for the response's length."""
    return [
        one / 10 + min(len(text), 9) / 100 for text, one in zip(completions, level, strict=True)
    ]


def main(folder: Path, model: str, critic: str, config: str) -> None:
    args = GenACConfig(
        output_dir=str(folder / "out"),
        critic=critic,
        controller_config=config,
        segmentation={"by": "tokens", "tokens": 4},
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=8,
        max_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    levels = list(range(8))
    data = Dataset.from_dict(
        {"prompt": [f"What comes after {n}?" for n in levels], "level": levels}
    )
    trainer: Any = GenACTrainer(model=model, reward_funcs=by_level, args=args, train_dataset=data)
    rank = trainer.accelerator.process_index
    trainer.model.train()
    inputs = next(iter(trainer.get_train_dataloader()))
    batch = trainer._sampled(inputs)
    sampled: list[int] = []
    generate = trainer._generate_single_turn

    def counted(prompt_ids: Any, *rest: Any) -> Any:
        sampled.append(len(prompt_ids))
        return generate(prompt_ids, *rest)

    trainer._generate_single_turn = counted
    rows = [7, 0, 5, 2, 3]
    prefixes = [batch.rows[row].ids[:2] for row in rows]
    done = trainer._critic.host.continue_responses(batch, Wanted(rows, prefixes, 3, 11))
    by_prompt = {f"What comes after {n}?": n for n in levels}
    spoken = trainer.processing_class.batch_decode(
        [[*prefixes[i // 3].tolist(), *ids.tolist()] for i, ids in enumerate(done.ids)],
        skip_special_tokens=True,
    )
    own = [by_prompt[str(batch.rows[row].prompt)] for row in rows for _ in range(3)]
    told = {
        "continued": {
            "texts": done.texts,
            "ids": [ids.tolist() for ids in done.ids],
            "rewards": np.asarray(done.rewards).tolist(),
        },
        "expected": by_level(spoken, own),
        "sampled": list(sampled),
    }
    credit = trainer._critic.assign_credit(batch, "joint", None, "none")
    assert credit.advantages is not None
    told["credit"] = [own.tolist() for own in credit.advantages]
    told["critic/continuation_tokens"] = credit.metrics["critic/continuation_tokens"]
    (folder / f"rank-{rank}.json").write_text(json.dumps(told), encoding="utf-8")
    trainer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5])
