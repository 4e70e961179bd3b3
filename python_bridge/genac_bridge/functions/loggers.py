"""`log` of a config: the lines of a run's `metrics.jsonl`, as they come, to TensorBoard, Weights &
Biases or Trackio, by these packages themselves.

Each logger has a thread and reads the file itself, so that nothing waits for one that is slow, and
one that comes later (or again) gets what it lacks. What it has had is noted in `loggers/NAME.json`
of the run's folder, with a digest of each row: a run that was resumed from an earlier checkpoint
may have written other ones in their place.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any

from .logger_kinds import Logger, kinds

#: Seconds between looks at the file.
INTERVAL = 0.5
#: At most so many rows lie between two notes of what was logged.
BATCH = 200


Renamed = dict[str, dict[str, str]]


@dataclass
class Row:
    """One line of `metrics.jsonl` as loggers get it.

    Names and steps follow Transformers: `train/`, `eval/`, and the step after which it was
    measured.
    """

    number: int
    #: Iterations of all stages that lie before it.
    step: int
    metrics: dict[str, float]
    #: Of all that does not depend on the machine's speed.
    digest: str


class Rows:
    """Whole lines of a file that grows, as rows.

    `renamed` maps old names to present ones, by the type of the line.
    """

    def __init__(self, path: str, renamed: Renamed) -> None:
        self.path = path
        self.renamed = renamed
        self.position = 0
        self.number = 0
        self.stage: str | None = None
        self.stages = 0
        #: Iterations of the stages before this one, and of this one so far.
        self.before = 0
        self.done = 0

    def read(self) -> list[Row]:
        try:
            with open(self.path, "rb") as file:
                file.seek(self.position)
                whole = file.read()
        except FileNotFoundError:
            return []
        whole = whole[: whole.rfind(b"\n") + 1]
        self.position += len(whole)
        return [self.row(json.loads(line)) for line in whole.splitlines()]

    def row(self, line: dict[str, Any]) -> Row:
        if line["stage"] != self.stage:
            self.stage = line["stage"]
            self.stages += 1
            self.before, self.done = self.before + self.done, 0
        training = line["type"] == "iteration"
        if training:
            self.done = line["iteration"] + 1
        step = self.before + line["iteration"] + (1 if training else 0)
        prefix = "train/" if training else "eval/"
        metrics = {
            "train/global_step": float(step),
            prefix + "stage": float(STAGES.index(line["stage"]) + 1),
        }
        renamed = self.renamed[line["type"]]
        for written, value in line.items():
            name = renamed.get(written, written)
            if name not in ("type", "stage", "iteration"):
                # The file has null for numbers that are not finite.
                metrics[prefix + name.removeprefix("evaluation/")] = (
                    float("nan") if value is None else float(value)
                )
        self.number += 1
        return Row(self.number, step, metrics, digest_of(line))


def digest_of(line: dict[str, Any]) -> str:
    kept = {name: value for name, value in line.items() if "seconds" not in name}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


#: Of a row that was sent before digests were noted.
UNKNOWN = ""
STAGES = ("critic-sft", "critic-rl", "joint")


class Feed(threading.Thread):
    """One logger of one run, from its opening to its end."""

    def __init__(
        self,
        name: str,
        options: dict[str, Any],
        folder: str,
        config: dict[str, Any],
        renamed: Renamed,
    ) -> None:
        super().__init__(name=f"log {name}", daemon=True)
        self.renamed = renamed
        self.logger_name = name
        self.options, self.folder, self.config = options, folder, config
        self.note_path = os.path.join(folder, "loggers", f"{name}.json")
        self.over = threading.Event()
        self.error: str | None = None
        #: For the user, where the logger goes on all the same.
        self.notice: str | None = None
        #: Of the rows that the logger has had, as far as they are known.
        self.digests: list[str] = []

    def run(self) -> None:
        try:
            logger, logged = self.open()
            self.feed(logger, logged)
            logger.finish()
        except BaseException as error:
            traceback.print_exc()  # to the worker's log
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self.error = f"{type(error).__name__}: {lines[0]}"

    def open(self) -> tuple[Logger, int]:
        """Returns the logger, and how many rows it has had."""
        note = None
        if os.path.exists(self.note_path):
            with open(self.note_path, encoding="utf-8") as file:
                note = json.load(file)
        kind = kinds[self.logger_name]
        logger = kind(self.options, self.folder, self.config, note["id"] if note else None)
        self.digests = note.get("digests", []) if note else []
        self.note(logger, note["rows"] if note else 0)
        known = logger.rows_logged()
        return logger, note["rows"] if note and known is None else known or 0

    def feed(self, logger: Logger, logged: int) -> None:
        rows = Rows(os.path.join(self.folder, "metrics.jsonl"), self.renamed)
        news = News(logger, logged, self.digests)
        while True:
            last = (
                self.over.is_set()
            )  # before reading, so that all that was written until then is read
            new = news.of(rows.read())
            self.notice = self.notice or news.notice
            for start in range(0, len(new), BATCH):
                batch = new[start : start + BATCH]
                for row in batch:
                    logger.log(row.number, row.step, row.metrics)
                logger.flush()
                self.note(logger, batch[-1].number)
            if last:
                return
            self.over.wait(INTERVAL)

    def note(self, logger: Logger, rows: int) -> None:
        os.makedirs(os.path.dirname(self.note_path), exist_ok=True)
        with open(f"{self.note_path}.unfinished", "w", encoding="utf-8") as file:
            json.dump({"id": logger.id, "rows": rows, "digests": self.digests}, file)
        os.replace(f"{self.note_path}.unfinished", self.note_path)


class News:
    """Which rows a logger lacks, and which of those that it has are of another course of the run.

    `digests` of the rows that it has, as far as they are known; it grows by those that follow.
    """

    def __init__(self, logger: Logger, logged: int, digests: list[str]) -> None:
        self.logger, self.logged, self.digests = logger, logged, digests
        del digests[logged:]
        self.notice: str | None = None
        #: The last rows that the logger has, of one step.
        self.of_step: list[Row] = []

    def of(self, rows: list[Row]) -> list[Row]:
        new: list[Row] = []
        for row in rows:
            index = row.number - 1
            unknown = index >= len(self.digests) or self.digests[index] == UNKNOWN
            if row.number <= self.logged and (unknown or self.digests[index] == row.digest):
                if self.of_step and self.of_step[0].step != row.step:
                    self.of_step = []
                self.of_step.append(row)
                continue
            if row.number <= self.logged:
                if not self.rewound(row):
                    self.digests[index] = row.digest
                    continue
                new += [one for one in self.of_step if one.step == row.step]
            del self.digests[index:]
            self.digests += [UNKNOWN] * (index - len(self.digests)) + [row.digest]
            new.append(row)
        return new

    def rewound(self, row: Row) -> bool:
        """Takes back what follows from this row on, if the logger can."""
        if self.logger.rewind(row.step):
            self.logged = row.number - 1
            return True
        self.notice = self.notice or (
            f"its rows {row.number} to {self.logged} are of another course of the run, which was "
            "resumed from before them; it can't take them back, and gets the rows after them"
        )
        return False


_open: dict[str, list[Feed]] = {}


def open_loggers(
    folder: str, config: dict[str, Any], loggers: list[dict[str, Any]], renamed: Renamed
) -> None:
    """Begins to feed the loggers of a run; returns at once.

    `told` has what went wrong.
    """
    feeds = [Feed(options.pop("use"), options, folder, config, renamed) for options in loggers]
    _open[folder] = feeds
    for feed in feeds:
        feed.start()


def told(folder: str) -> dict[str, dict[str, str]]:
    """Returns what went wrong so far (`failed`), and what is to be known (`notices`), by logger."""
    feeds = _open.get(folder, [])
    return {
        "failed": {feed.logger_name: feed.error for feed in feeds if feed.error is not None},
        "notices": {feed.logger_name: feed.notice for feed in feeds if feed.notice is not None},
    }


def close_loggers(folder: str, seconds: float) -> dict[str, dict[str, str]]:
    """Gives them what is left and ends them, within so many seconds; returns what `told` does."""
    feeds = _open.get(folder, [])
    for feed in feeds:
        feed.over.set()
    deadline = time.monotonic() + seconds
    for feed in feeds:
        feed.join(max(0.0, deadline - time.monotonic()))
        if feed.is_alive():
            feed.error = f"did not end within {seconds:g} s"
    last = told(folder)
    _open.pop(folder, None)
    return last
