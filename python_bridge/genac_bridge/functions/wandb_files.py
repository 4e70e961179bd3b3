"""What wandb has written of a run to its own files: it writes in the background, so after a sudden
end that may be less than it was given.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import Any

MAGIC = b":W&B"
HEAD = 7
BLOCK = 32 * 1024
WHOLE, LAST = 1, 4


def records(path: str) -> Iterator[Any]:
    """Yields the records of a `.wandb` file up to its end, or to where it was cut off.

    Its format is LevelDB's log behind a head of its own.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(MAGIC):
        return
    position, parts = HEAD, b""
    while position + HEAD <= len(data):
        left = BLOCK - position % BLOCK
        length, kind = (
            int.from_bytes(data[position + 4 : position + 6], "little"),
            data[position + 6],
        )
        if left < HEAD or kind == 0:  # padding up to the next block
            position += left
            continue
        start, position = position + HEAD, position + HEAD + length
        if position > len(data):
            return
        parts += data[start:position]
        if kind in (WHOLE, LAST):
            yield Record.FromString(parts)
            parts = b""


def last_step(folder: str, run_id: str) -> int:
    """Returns the highest wandb step of a run in `folder/wandb`, over all its lives; 0: none."""
    steps = [0]
    for path in glob.glob(
        os.path.join(glob.escape(folder), "wandb", f"*run-*-{run_id}", f"run-{run_id}.wandb")
    ):
        for record in records(path):
            if record.HasField("history"):
                steps.append(int(record.history.step.num))
    return max(steps)
