"""The loggers that a run can name: what each needs to begin, to take a row, and to end.

Their packages are imported when one is made, never before.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from .wandb_files import last_step


class Logger(Protocol):
    #: The logger's name for the run; a resumed run keeps it.
    id: str

    def rows_logged(self) -> int | None:
        """Returns how many rows it holds, where it can tell itself; None: as many as were noted."""

    def log(self, number: int, step: int, metrics: dict[str, float]) -> None:
        """Row number `number` (from 1). Several rows may have one step; steps never fall."""

    def rewind(self, step: int) -> bool:
        """Takes back what it has of this step and later ones. False: it can't."""

    def flush(self) -> None: ...

    def finish(self) -> None:
        """Writes all and leaves no process behind."""


class TensorBoard:
    """Event files in `RUN/tensorboard`, written by TensorBoard's own writer: neither PyTorch nor
    TensorFlow is imported.
    """

    def __init__(
        self, options: dict[str, Any], folder: str, config: dict[str, Any], known: str | None
    ) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.Event, self.Summary = Event, Summary
        self.id = options["folder"] or os.path.join(folder, "tensorboard")
        self.writer = EventFileWriter(self.id)
        if known is None:
            self.add(0, self.text("config", f"```json\n{json.dumps(config, indent=2)}\n```"))

    def text(self, tag: str, text: str) -> Any:
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        metadata = create_summary_metadata(display_name=tag, description="")
        return self.Summary.Value(
            tag=f"{tag}/text_summary", metadata=metadata, tensor=make_tensor_proto([text.encode()])
        )

    def add(self, step: int, *values: Any) -> None:
        self.writer.add_event(
            self.Event(wall_time=time.time(), step=step, summary=self.Summary(value=values))
        )

    def rows_logged(self) -> int | None:
        return None

    def log(self, number: int, step: int, metrics: dict[str, float]) -> None:
        values = {name: value for name, value in metrics.items() if name != "train/global_step"}
        self.add(
            step,
            *(self.Summary.Value(tag=name, simple_value=value) for name, value in values.items()),
        )

    def rewind(self, step: int) -> bool:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        start = SessionLog(status=SessionLog.START)
        self.writer.add_event(self.Event(wall_time=time.time(), step=step, session_log=start))
        return True

    def flush(self) -> None:
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of wandb, whose files lie in `RUN/wandb`.

    As with Transformers, the axis of all metrics is `train/global_step`.
    """

    def __init__(
        self, options: dict[str, Any], folder: str, config: dict[str, Any], known: str | None
    ) -> None:
        import wandb

        self.id = known or uuid.uuid4().hex[:12]
        self.had = last_step(folder, self.id)  # before a new file is written
        self.run = wandb.init(
            id=self.id,
            resume="allow",
            dir=folder,
            config=config,
            project=options["project"],
            name=options["name"] or os.path.basename(folder),
            **{
                name: options[name]
                for name in ("entity", "group", "tags", "mode")
                if options[name] is not None
            },
            # What a worker prints is in the run's logs; a login is nothing to wait for here.
            settings=wandb.Settings(console="off", login_timeout=10),
        )
        self.run.define_metric("train/global_step")
        self.run.define_metric("*", step_metric="train/global_step", step_sync=True)
        self.end: Callable[[], None] = wandb.teardown  # its service is a process of its own

    def rows_logged(self) -> int | None:
        return self.had

    def log(self, number: int, step: int, metrics: dict[str, float]) -> None:
        self.run.log(
            metrics, step=number, commit=True
        )  # else it is held back until the next row, and lost with a sudden end

    def rewind(self, step: int) -> bool:
        return False

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        try:
            self.run.finish()
        finally:
            self.end()


class Trackio:
    """A run of Trackio: a local database, or a Space where one is named."""

    def __init__(
        self, options: dict[str, Any], folder: str, config: dict[str, Any], known: str | None
    ) -> None:
        place = options["folder"]
        if place is not None:
            os.makedirs(place, exist_ok=True)
            os.environ["TRACKIO_DIR"] = place  # read when it is imported
        import trackio

        self.project, self.local = options["project"], options["space_id"] is None
        # Trackio resumes by name, so a name of our own has something in it that is nobody else's.
        self.id = known or options["name"] or f"{os.path.basename(folder)}-{uuid.uuid4().hex[:6]}"
        self.run = trackio.init(
            project=self.project,
            name=self.id,
            group=options["group"],
            space_id=options["space_id"],
            config=config,  # of a resumed run too: it replaces what was there
            resume="never" if known is None else "allow",
            embed=False,
        )

    def rows_logged(self) -> int | None:
        if not self.local:
            return None
        # It writes in the background: what it was given before a sudden end may not be there.
        from trackio.sqlite_storage import SQLiteStorage

        return int(SQLiteStorage.get_log_count(self.project, self.id, run_id=self.run.id))

    def log(self, number: int, step: int, metrics: dict[str, float]) -> None:
        self.run.log(metrics, step=step)

    def rewind(self, step: int) -> bool:
        return False

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self.run.finish()


kinds: dict[str, Callable[[dict[str, Any], str, dict[str, Any], str | None], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}
