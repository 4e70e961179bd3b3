"""Trains as its arguments say, and is killed at the third step:

`inside` it, in the reward function, or `between` it and the next.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback

import conftest
from genac_trl import GenACConfig, GenACTrainer

where, model, options = sys.argv[1:]
calls = 0


def letters(completions: list[Any], **_: Any) -> list[float]:
    global calls
    calls += 1
    if where == "inside" and calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return conftest.letters(completions)


class Between(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if where == "between" and state.global_step == 3:
            os.kill(os.getpid(), signal.SIGKILL)


data = Dataset.from_dict(conftest.COLUMNS)
GenACTrainer(
    model, letters, GenACConfig(**json.loads(options)), data, callbacks=[Between()]
).train()
