"""All that is used of TRL beyond its top-level names, in one place: when a version of TRL differs,
it differs here.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import trl
from packaging.specifiers import SpecifierSet
from transformers import set_seed
from trl.chat_template_utils import parse_response

#: Tested on the newest, and what touches TRL most on the lowest too. 1.15.0 itself can't train on a
#: CPU, so it was not.
SUPPORTED = ">=1.10.0,!=1.15.0,<1.17"


def check_version() -> None:
    """Raises `ImportError` for a TRL that this trainer was not tested with."""
    if not SpecifierSet(SUPPORTED).contains(trl.__version__, prereleases=False):
        raise ImportError(
            f"GenACTrainer was tested with TRL {SUPPORTED}, and this is TRL {trl.__version__}: it "
            "builds on what GRPOTrainer does inside. Install one of them: pip install "
            f"'trl{SUPPORTED}'"
        )


def check_output(output: dict[str, Any]) -> None:
    """That `_generate_and_score_completions` gave what this trainer puts its credit into.

    Raises `RuntimeError`.
    """
    advantages, ids = output.get("advantages"), output.get("completion_ids")
    if isinstance(advantages, torch.Tensor) and isinstance(ids, torch.Tensor) and ids.dim() == 2:
        if advantages.shape == ids.shape[:1]:
            return
        found = (
            f"advantages of shape {tuple(advantages.shape)} for completion_ids of shape "
            f"{tuple(ids.shape)}"
        )
    else:
        found = f"the keys {', '.join(sorted(output))}"
    raise RuntimeError(
        f"GRPOTrainer of TRL {trl.__version__} gave {found}, where one advantage for each "
        "completion was expected: this version can't be used with GenACTrainer"
    )


def has_liger_loss() -> bool:
    """Does GRPOTrainer take its loss from the Liger kernel? Before TRL 1.14; later versions take
    layers from it, if anything.
    """
    return hasattr(trl.GRPOTrainer, "compute_liger_loss")


def stop_tokens(trainer: Any) -> set[int]:
    """Returns the ids that end a completion: several since TRL 1.16."""
    several = getattr(trainer, "eos_token_ids", None)
    return {trainer._tokenizer.eos_token_id} if several is None else set(several)


def tokenized(trainer: Any, prompts: list[Any]) -> list[list[int]]:
    """Returns the ids of prompts as GRPOTrainer feeds them to the model.

    Raises `ValueError` for prompts with images.
    """
    ids, images, fields = trainer._tokenize_prompts(prompts)
    if images is not None or set(fields) - {"token_type_ids"}:
        raise ValueError("only prompts of text can be continued here, and these have images")
    return [list(own) for own in ids]


def sampled(trainer: Any, ids: list[list[int]]) -> list[list[int]]:
    """Returns one continuation of each, by the trainer's generation settings; logs nothing."""
    if "num_generations" in inspect.signature(trl.GRPOTrainer._generate_single_turn).parameters:
        completions, _ = trainer._generate_single_turn(ids, None, {}, 1)
        return [list(own) for own in completions]
    # Before TRL 1.16 it reads them from the trainer, and a vLLM server skips what it takes for
    # repeated prompts.
    kept = trainer.num_generations, trainer.num_generations_eval
    trainer.num_generations = trainer.num_generations_eval = 1
    try:
        completions, _ = trainer._generate_single_turn(ids, None, {})
    finally:
        trainer.num_generations, trainer.num_generations_eval = kept
    return [list(own) for own in completions]


def completions_of(
    trainer: Any, prompts: list[Any], prompt_ids: list[list[int]], ids: list[list[int]]
) -> list[Any]:
    """Returns the completions as GRPOTrainer gives them to reward functions: texts, or messages for
    chats.
    """
    if isinstance(prompts[0], str):
        texts: list[str] = trainer.processing_class.batch_decode(ids, skip_special_tokens=True)
        return texts
    words = trainer._tokenizer
    if any(getattr(words, f"response_{name}", None) is not None for name in ("template", "schema")):
        takes = inspect.signature(parse_response).parameters
        more = {"tools": trainer.tools} if "tools" in takes else {}
        return [
            [
                parse_response(
                    words, own, **({"prefix": before} if "prefix" in takes else {}), **more
                )
            ]
            for before, own in zip(prompt_ids, ids, strict=True)
        ]
    contents = trainer.processing_class.batch_decode(ids, skip_special_tokens=True)
    return [[{"role": "assistant", "content": content}] for content in contents]


@contextmanager
def limited_to(trainer: Any, new_tokens: int) -> Iterator[None]:
    """Within, `sampled` gives no more than so many tokens for each."""
    holder, option = (
        (trainer.vllm_generation, "max_completion_length")
        if trainer.use_vllm
        else (trainer.generation_config, "max_new_tokens")
    )
    kept = getattr(holder, option)
    setattr(holder, option, new_tokens)
    try:
        yield
    finally:
        setattr(holder, option, kept)


@contextmanager
def undisturbed(trainer: Any, seed: int | None = None) -> Iterator[None]:
    """What happens within leaves the trainer's logs, modes and random draws as they were.

    `seed`: of the draws within, in this process.
    """
    logs = [trainer._pending_extra_logs, trainer._pending_metrics]
    pending = [{name: list(values) for name, values in log.items()} for log in logs]
    modes = [(module, module.training) for module in trainer.model.modules()]
    seen = getattr(trainer, "_seen", None)  # a plain GRPOTrainer keeps nothing
    draws = (random.getstate(), np.random.get_state())
    try:
        with torch.random.fork_rng():
            if seed is not None:
                set_seed(seed)
            yield
    finally:
        random.setstate(draws[0])
        np.random.set_state(draws[1])
        trainer._seen = seen
        for module, training in modes:
            module.training = training
        for log, values in zip(logs, pending, strict=True):
            log.clear()
            log.update(values)


def log_probabilities(
    trainer: Any, output: dict[str, Any], completions: list[list[int]]
) -> torch.Tensor:
    """Returns float32 [B, T] of the tokens of `completions`, which `output` has padded.

    By itself GRPOTrainer computes them only where an update is off policy, and not for completions
    that `mask_truncated_completions` takes out of its own mask.
    """
    own = output["completion_ids"]
    length = own.shape[1]
    ends = torch.tensor([len(ids) for ids in completions], device=own.device)
    read = torch.arange(length, device=own.device) < ends.unsqueeze(1)
    ids = torch.cat([output["prompt_ids"], own], dim=1)
    mask = torch.cat([output["prompt_mask"], read.to(output["prompt_mask"].dtype)], dim=1)
    with torch.no_grad():
        result: torch.Tensor = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, length, batch_size=trainer.args.per_device_train_batch_size
        )[0]
    return result


def log_advantages(trainer: Any, advantages: list[float]) -> None:
    """Replaces GRPO's advantages in the table of completions.

    `advantages`: one for each completion of the last batch of all processes.
    """
    logged = trainer._logs["advantages"]
    count = min(len(logged), len(advantages))
    for i in range(1, count + 1):
        logged[-i] = advantages[-i]


def log_unvalued(trainer: Any, count: int) -> None:
    """Columns of TRL's table of completions, for its last `count` ones: the value at the start and
    at the last state, and the critic's last words. They are empty until `log_valuations`.
    """
    for name in ("value_start", "value_end", "critic"):
        trainer._logs["extra"][name].extend([None] * count)


def log_valuations(trainer: Any, valuations: list[dict[str, Any]]) -> None:
    """Fills these columns.

    `valuations`: one for each completion of the last batch of all processes.
    """
    if not valuations:  # nobody asked for them
        return
    extra = trainer._logs["extra"]
    count = min(len(extra["critic"]), len(valuations))
    for i in range(1, count + 1):
        segments = valuations[-i]["segments"]
        if segments:
            extra["value_start"][-i] = rounded(segments[0]["value"])
            extra["value_end"][-i] = rounded(segments[-1]["value"])
            extra["critic"][-i] = segments[-1]["rationale"]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
