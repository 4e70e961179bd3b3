"""Refuses options of GRPO that have no meaning with per-token credit."""

from __future__ import annotations

from typing import Any

from .config import WITHOUT, has_critic
from .trl_internals import has_liger_loss


def refuse_data_without_prompts(**data: Any) -> None:
    """Raises `ValueError` for data sets whose columns are known and have no `prompt`."""
    for name, given in data.items():
        for one in given.values() if isinstance(given, dict) else [given]:
            columns = getattr(one, "column_names", None)
            if isinstance(columns, list) and "prompt" not in columns:
                raise ValueError(
                    f"{name} has no column 'prompt' (it has {', '.join(columns)}): rename the one "
                    "with the text or the messages that the actor is given"
                )


def refuse_what_has_no_meaning(args: Any) -> None:
    """Raises `ValueError` for the first of them.

    Without a critic all of GRPO's options are allowed.
    """
    if not has_critic(args):
        return
    for condition, why in (
        (
            args.use_liger_kernel and has_liger_loss(),
            "use_liger_kernel=True: in this version of TRL, the Liger kernel's GRPO loss takes one "
            "advantage for each completion, and the critic gives one for each token; set it to "
            "False or use TRL 1.14 or newer",
        ),
        (
            args.multi_objective_aggregation != "sum_then_normalize",
            f"multi_objective_aggregation={args.multi_objective_aggregation!r}: the critic's value "
            "is the chance of one combined reward in `reward_range`; use 'sum_then_normalize' "
            "with `reward_weights`",
        ),
    ):
        if condition:
            raise ValueError(f"{why}, or critic={WITHOUT!r}")
