"""All that is used of TRL beyond its top-level names, in one place: when a version of TRL differs, it differs here."""

from __future__ import annotations

from typing import Any

import torch
import trl
from packaging.version import Version

#: Tested from the first to before the last.
SUPPORTED = ("1.15.0", "1.17.0")


def check_version() -> None:
    """Raises `ImportError` for a TRL that this trainer was not tested with."""
    least, beyond = SUPPORTED
    if not Version(least) <= Version(trl.__version__) < Version(beyond):
        raise ImportError(
            f"GenACTrainer was tested with TRL {least} to {beyond} (not included), and this is TRL {trl.__version__}: it builds on what GRPOTrainer does inside. "
            f"Install one of them: pip install 'trl>={least},<{beyond}'"
        )


def check_output(output: dict[str, Any]) -> None:
    """That `_generate_and_score_completions` gave what this trainer puts its credit into. Raises `RuntimeError`."""
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
