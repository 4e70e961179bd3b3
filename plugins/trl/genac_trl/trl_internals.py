"""All that is used of TRL beyond its top-level names, in one place: when a version of TRL differs,
it differs here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import trl
from packaging.specifiers import SpecifierSet

#: Tested on the newest, and what touches TRL most on the lowest too. 1.15.0 itself can't train on a
#: CPU, so it was not.
SUPPORTED = ">=1.10.0,!=1.15.0,<1.17"


def check_version() -> None:
    """Raises `ImportError` for a TRL that this trainer was not tested with."""
    if not SpecifierSet(SUPPORTED).contains(trl.__version__, prereleases=False):
        raise ImportError(
            f"GenACTrainer was tested with TRL {SUPPORTED}, and this is TRL {trl.__version__}: it builds on what GRPOTrainer does inside. "
            f"Install one of them: pip install 'trl{SUPPORTED}'"
        )


def check_output(output: dict[str, Any]) -> None:
    """That `_generate_and_score_completions` gave what this trainer puts its credit into.

    Raises `RuntimeError`.
    """
    advantages, ids = output.get("advantages"), output.get("completion_ids")
    if isinstance(advantages, torch.Tensor) and isinstance(ids, torch.Tensor) and ids.dim() == 2:
        if advantages.shape == ids.shape[:1]:
            return
        found = f"advantages of shape {tuple(advantages.shape)} for completion_ids of shape {tuple(ids.shape)}"
    else:
        found = f"the keys {', '.join(sorted(output))}"
    raise RuntimeError(
        f"GRPOTrainer of TRL {trl.__version__} gave {found}, where one advantage for each completion was expected: this version can't be used with GenACTrainer"
    )


def stop_tokens(trainer: Any) -> set[int]:
    """Ids that end a completion: several since TRL 1.16."""
    several = getattr(trainer, "eos_token_ids", None)
    return {trainer._tokenizer.eos_token_id} if several is None else set(several)


def tokenized(trainer: Any, prompts: list[Any]) -> list[list[int]]:
    """Ids of prompts as GRPOTrainer feeds them to the model.

    Raises `ValueError` for prompts with images.
    """
    ids, images, fields = trainer._tokenize_prompts(prompts)
    if images is not None or set(fields) - {"token_type_ids"}:
        raise ValueError("only prompts of text can be continued here, and these have images")
    return [list(own) for own in ids]


def sampled(trainer: Any, ids: list[list[int]]) -> list[list[int]]:
    """One continuation of each, with the trainer's generation settings; nothing is logged."""
    completions, _ = trainer._generate_single_turn(ids, None, {}, 1)
    return [list(own) for own in completions]


@contextmanager
def undisturbed(trainer: Any) -> Iterator[None]:
    """What happens within leaves the trainer's logs and random draws as they were."""
    pending = (trainer._pending_extra_logs.copy(), trainer._pending_metrics.copy())
    with torch.random.fork_rng():
        yield
    trainer._pending_extra_logs.clear()
    trainer._pending_extra_logs.update(pending[0])
    trainer._pending_metrics.clear()
    trainer._pending_metrics.update(pending[1])


def log_probabilities(trainer: Any, output: dict[str, Any]) -> torch.Tensor:
    """float32 [B, T] of the completions' tokens.

    By itself GRPOTrainer computes them only where an update is off policy.
    """
    ids, mask = (
        torch.cat([output[f"prompt_{name}"], output[f"completion_{name}"]], dim=1)
        for name in ("ids", "mask")
    )
    length = output["completion_ids"].shape[1]
    with torch.no_grad():
        result: torch.Tensor = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, length, batch_size=trainer.args.per_device_train_batch_size
        )[0]
    return result


def log_advantages(trainer: Any, advantages: list[float]) -> None:
    """Puts these in the place of GRPO's own in the table of completions; one for each completion of
    the last batch of all processes.
    """
    logged = trainer._logs["advantages"]
    count = min(len(logged), len(advantages))
    for i in range(1, count + 1):
        logged[-i] = advantages[-i]


def log_valuations(trainer: Any, valuations: list[dict[str, Any]]) -> None:
    """Columns of TRL's table of completions: the value at the start and at the last state, and the
    critic's last words.
    """
    extra = trainer._logs["extra"]
    for one in valuations:
        first, last = (one["segments"][0], one["segments"][-1]) if one["segments"] else ({}, {})
        extra["value_start"].append(rounded(first.get("value")))
        extra["value_end"].append(rounded(last.get("value")))
        extra["critic"].append(last.get("rationale"))


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
