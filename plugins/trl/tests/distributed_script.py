"""Run by test_distributed.py, alone or under torchrun: fixed completions, their advantages
gathered, written to a file. Arguments: folder, model, critic, config.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset

from genac_trl import ControllerError, GenACConfig, GenACTrainer

torch.set_num_threads(1)
LETTERS = "abcdefgh"


def letters(completions: list[str], **_: Any) -> list[float | None]:
    """The share of small letters; None for some."""
    shares = [sum("a" <= c <= "z" for c in text) / max(1, len(text)) for text in completions]
    return [
        None if text.startswith("zz") else share
        for text, share in zip(completions, shares, strict=True)
    ]


class Fixed(GenACTrainer):
    """Writes what depends on the prompt and the completion's place in its group alone."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        first = self.accelerator.process_index * len(prompt_ids)
        texts = []
        for row, ids in enumerate(prompt_ids):
            place, number = (first + row) % 4, sum(ids) % 7
            texts.append(
                "zz none"
                if (place, number % 3) == (3, 0)
                else f"One {place}.\n{LETTERS[: number + place]} TWO.\n" + "x1" * place
            )
        return [self.processing_class(text)["input_ids"] for text in texts], None


def main(folder: Path, model: str, critic: str, config: str) -> None:
    """`critic`: a file in JavaScript, or the folder of a language model; the latter is trained
    alone before.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    own = critic.endswith(".mjs")
    of_language: dict[str, Any] = {
        "critic_model": critic,
        "critic_max_new_tokens": 2,
        "critic_learning_rate": 1e-3,
    }
    args = GenACConfig(
        output_dir=str(folder / "out"),
        **({"critic": critic} if own else of_language),
        controller_config=config,
        segmentation="line",
        per_device_train_batch_size=12 // world,
        num_generations=4,
        max_completion_length=64,
        max_steps=2,
        learning_rate=1e-3,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    data = Dataset.from_dict({"prompt": [f"What comes after {n}?" for n in range(12)]})
    trainer = Fixed(model=model, reward_funcs=letters, args=args, train_dataset=data)
    rank = trainer.accelerator.process_index
    assert (trainer._critic.controller is not None) == (rank == 0)
    trainer.model.train()
    output = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    rows = [
        [ids[mask.bool()].tolist(), advantages[mask.bool()].tolist()]
        for ids, mask, advantages in zip(
            output["completion_ids"], output["completion_mask"], output["advantages"], strict=True
        )
    ]
    told = {"rank": rank, "own": len(rows), "rows": gather_object(rows)}
    if not own:
        told["alone"] = trainer.train_critic(steps=2)["critic/loss"]
        told["kept"] = sorted(path.name for path in (folder / "out" / "genac-critic").glob("*/*"))
    trainer.train()
    for name in ("critic/states", "critic/loss", "critic/parse_rate"):
        told[name] = [entry[name] for entry in trainer.state.log_history if name in entry]
    told["weight"] = float(sum(p.detach().double().abs().sum() for p in trainer.model.parameters()))
    if trainer._critic.controller is not None:
        process = trainer._critic.controller._process
        assert process is not None
        process.kill()
        process.wait()
    try:
        trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    except ControllerError as error:
        told["error"] = str(error)
    (folder / f"rank-{rank}.json").write_text(json.dumps(told), encoding="utf-8")
    trainer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5])
