"""A training script that ends in the way that its argument names.

Prints the processes that the trainer started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from datasets import Dataset

from conftest import letters
from genac_trl import GenACConfig, GenACTrainer

way, model, output = sys.argv[1:]


def reward(completions: list[Any], **_: Any) -> list[float]:
    if way == "exception":
        raise RuntimeError("the reward function failed")
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "interrupt":
        time.sleep(60)  # Ctrl-C comes now
    return letters(completions)


args = GenACConfig(
    output,
    per_device_train_batch_size=4,
    num_generations=4,
    max_completion_length=8,
    max_steps=1,
    critic_max_new_tokens=4,
    report_to="none",
    save_strategy="no",
    use_cpu=True,
)
data = Dataset.from_dict({"prompt": ["one", "two"]})
trainer = GenACTrainer(model, reward, args, data)
print(
    json.dumps(
        {"controller": trainer._critic.controller.pid, "workers": trainer.critic_info["pids"]}
    ),
    flush=True,
)  # type: ignore[union-attr]
trainer.train()
