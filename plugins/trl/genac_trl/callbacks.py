"""Two callbacks: how good the critic is on held-out states, and its valuations in a file."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from .continuations import parts, per_function_rewards
from .trl_internals import sampled, tokenized, undisturbed


class CriticQualityCallback(TrainerCallback):
    """Measures the critic against Monte Carlo values of held-out states, and logs

    - `critic/heldout_mse`: mean squared error of its values, asked as in training, against the mean
    reward of
      `continuations` continuations of each state;
    - `critic/heldout_greedy_mse`: the same of its likeliest completions;
    - `critic/heldout_mse_of_constant`: that of the best constant, which a useful critic is below;
    - `critic/heldout_parse_rate`: the share of states for which it wrote a valid score.

    A state is the prompt and a beginning, of random length, of a response of the actor as it is
    then. One process only, and no actor whose responses can't be continued (`tools`,
    `rollout_func`, `environment_factory`).

    Args:
        trainer: the `GenACTrainer`.
        dataset: rows as of the training set; `None`: the trainer's evaluation set.
        states: how many; the first rows of the set.
        continuations: of each state.
        every: steps between measurements; one is made at the start and one at the end besides.
        seed: of where the responses are cut.
    """

    def __init__(
        self,
        trainer: Any,
        dataset: Any = None,
        states: int = 32,
        continuations: int = 8,
        every: int = 50,
        seed: int = 0,
    ) -> None:
        if trainer.accelerator.num_processes > 1:
            raise ValueError(
                "CriticQualityCallback measures in one process, and this run has several"
            )
        if trainer.no_continuations is not None:
            raise ValueError(f"CriticQualityCallback: {trainer.no_continuations}")
        rows = dataset if dataset is not None else trainer.eval_dataset
        if rows is None or isinstance(rows, dict):
            raise ValueError(
                "CriticQualityCallback needs a dataset of held-out prompts: give `dataset`, or one "
                "`eval_dataset` to the trainer"
            )
        self.trainer = trainer
        self.rows = [row for row, _ in zip(rows, range(states), strict=False)]
        self.continuations = continuations
        self.every = every
        self.seed = seed

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._log_with_next()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.every == 0 and state.global_step < state.max_steps:
            self._log_with_next()

    def _log_with_next(self) -> None:
        for name, value in self.measure().items():
            self.trainer._metrics["train"][name].append(value)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.log(self.measure())

    def measure(self) -> dict[str, float]:
        """These numbers, now."""
        trainer, k = self.trainer, self.continuations
        limit = trainer.max_completion_length
        cuts = random.Random(self.seed)
        with undisturbed(trainer):
            prompts = [row["prompt"] for row in self.rows]
            ids = tokenized(trainer, prompts)
            begun = [
                own[: cuts.randrange(len(own))] if len(own) > 1 else []
                for own in self._sampled(ids)
            ]
            repeated = [i for i in range(len(ids)) for _ in range(k)]
            more = self._sampled([ids[i] + begun[i] for i in repeated])
            whole = [(begun[i] + own)[:limit] for i, own in zip(repeated, more, strict=True)]
            rewards = self._rewards(
                [self.rows[i] for i in repeated], [ids[i] for i in repeated], whole
            )
        observed = np.nanmean(rewards.reshape(-1, k), axis=1)
        texts, _ = trainer._decoded([np.asarray(own, np.int32) for own in begun])
        values, _, parsed = trainer.value(prompts, texts, greedy=False)
        likeliest, _, _ = trainer.value(prompts, texts)
        known = ~np.isnan(observed)

        def error(of: np.ndarray) -> float:
            return float(np.mean((of[known] - observed[known]) ** 2))

        return {
            "critic/heldout_mse": error(values),
            "critic/heldout_greedy_mse": error(likeliest),
            "critic/heldout_mse_of_constant": float(np.var(observed[known])),
            "critic/heldout_parse_rate": float(np.mean(parsed)),
        }

    def _parts(self, count: int) -> Iterator[list[int]]:
        """Yields the numbers below `count`, at most a generation batch at a time."""
        args = self.trainer.args
        return parts(
            self.trainer, count, args.per_device_train_batch_size * args.steps_per_generation
        )

    def _sampled(self, ids: list[list[int]]) -> list[list[int]]:
        return [
            own
            for numbers in self._parts(len(ids))
            for own in sampled(self.trainer, [ids[i] for i in numbers])
        ]

    def _rewards(
        self, rows: list[dict[str, Any]], prompt_ids: list[list[int]], ids: list[list[int]]
    ) -> np.ndarray:
        trainer = self.trainer
        scored = []
        for numbers in self._parts(len(ids)):
            given, whole = [rows[i] for i in numbers], [ids[i] for i in numbers]
            before = [prompt_ids[i] for i in numbers]
            scored.append(per_function_rewards(trainer, given, before, whole))
        per_function = torch.cat(scored)
        weights, names = trainer.reward_weights, trainer.reward_func_names
        unit: np.ndarray = trainer.reward_range.to_unit(per_function, weights, names, learn=False)
        return unit


class SaveValuationsCallback(TrainerCallback):
    """Appends every batch as the critic valued it to a JSONL file: for each completion `step`,
    `purpose`, `prompt`, `response`, `reward` in [0, 1], and `segments` with `from`
    (UTF-16 units of the response before it), `tokens`, `value`, `advantage`, `parsed` and the
    critic's `rationale`.

    Where training resumes from a checkpoint, what the file has of later steps is taken out: they
    are made again.

    Args:
        trainer: the `GenACTrainer`.
        path: default `OUTPUT_DIR/valuations.jsonl`.
    """

    def __init__(self, trainer: Any, path: str | Path | None = None) -> None:
        self.trainer = trainer
        self.path = Path(path or Path(trainer.args.output_dir, "valuations.jsonl"))
        trainer.tell_valuations = True
        trainer._critic.on_valued.append(self._write)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0 or not state.is_world_process_zero or not self.path.exists():
            return
        kept = self.path.with_name(self.path.name + ".unfinished")
        with self.path.open("rb") as before, kept.open("wb") as after:
            after.writelines(line for line in before if _was_before(line, state.global_step))
        os.replace(kept, self.path)

    def _write(self, valuations: list[dict[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in valuations)


def _was_before(line: bytes, step: int) -> bool:
    """Was it written before the checkpoint of this step? A line that a kill cut short was not."""
    try:
        one = json.loads(line)
    except ValueError:  # cut within JSON or within a character
        return False
    purpose, at = one["purpose"], one["step"]
    # A step's evaluation comes before its checkpoint, and its training after it.
    return purpose == "critic-rl" or at < step or (purpose == "evaluation" and at == step)
