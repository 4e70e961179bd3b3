"""A trained critic from Python, in two lines: `Critic(folder).value(prompt, response)`.

Only the controller's TypeScript writes the critic's prompts. So this starts `genac
value` (Node, and the controller of the checkout or of the wheel that this package lies in) and
exchanges JSON lines with it; the model itself runs in a worker of this Python. Nothing heavy is
imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any, TypeAlias

from .node import NodeError, controller_command, environment

#: A text, or a chat: `[{"role": "user", "content": "..."}]`.
Prompt: TypeAlias = "str | list[dict[str, str]]"


class CriticError(Exception):
    """What `genac value` says is wrong."""


def command() -> list[str]:
    """How `genac` is started: see `controller_command`. Raises `CriticError`."""
    try:
        return controller_command()
    except NodeError as error:
        raise CriticError(str(error)) from None


class Critic:
    """A trained critic. One call at a time is answered; threads wait for each other.

    `folder`: a run, a checkpoint of one, any folder in Hugging Face format (also a LoRA adapter),
    or a name on the Hub.
    `options`: those of `genac value`, such as `task="miniature"`, `completions=4`,
    `no_thinking=True`, `actor_name="mine"`. Raises `CriticError` where the folder holds no critic
    or an option is wrong.
    """

    def __init__(self, folder: str | os.PathLike[str], **options: str | float | bool) -> None:
        arguments = [*command(), "value", os.fspath(folder), "--input", "-"]
        for name, value in options.items():
            if value is not False:
                arguments += [
                    f"--{name.replace('_', '-')}",
                    *([] if value is True else [str(value)]),
                ]
        self._lock = threading.Lock()
        self._closed = "the critic is closed"
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment(),
        )
        self._said: list[str] = []
        self._reader = threading.Thread(
            target=self._listen, args=(self._process.stderr,), daemon=True
        )
        self._reader.start()

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            self._said = [*self._said[-20:], line.rstrip()]

    def _ask(self, line: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with self._lock:
            if process.stdin.closed:
                raise CriticError(self._closed)
            answer = ""
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(line) + "\n")
                    process.stdin.flush()
                    answer = process.stdout.readline()
            except BaseException:
                # The answer may still come, and the next question would be given it.
                self._closed = "a question was interrupted, which closed the critic: open it again"
                process.kill()
                process.wait()
                process.stdin.close()
                raise
        if not answer:  # it ended, and said why
            process.wait(60)
            self._reader.join(10)
            raise CriticError(
                "\n".join(self._said) or f"genac value ended with code {process.returncode}"
            )
        read: dict[str, Any] = json.loads(answer)
        if "error" in read:
            raise CriticError(read["error"])
        return read

    def value(
        self, prompt: Prompt, response: str, actor: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """`value` in [0, 1] of the response so far (None: the critic wrote no valid score), its
        `rationale`, and the same of each of its `prefixes`.

        `actor`: what In-Context Conditioning tells: `name`, `parameters`, `success_rate`. None:
        what the checkpoint knows.
        """
        answer = self._ask(_line(prompt, actor, response=response))
        return {name: answer[name] for name in ("value", "rationale", "prefixes")}

    def rank(
        self, prompt: Prompt, responses: Sequence[str], actor: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Returns the responses' `index`, `value` and `rationale`, the best first."""
        ranking: list[dict[str, Any]] = self._ask(_line(prompt, actor, responses=list(responses)))[
            "ranking"
        ]
        return ranking

    def prompt(self, prompt: Prompt, response: str, actor: dict[str, Any] | None = None) -> Prompt:
        """Returns the critic's prompt for a response so far."""
        asked: Prompt = self._ask(_line(prompt, actor, response=response, only_prompt=True))[
            "critic_prompt"
        ]
        return asked

    def close(self) -> None:
        """Ends the critic and its worker. May be called twice."""
        assert self._process.stdin is not None
        with self._lock:
            if not self._process.stdin.closed:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its worker ends with it
            self._process.wait()

    def __enter__(self) -> Critic:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _line(prompt: Prompt, actor: dict[str, Any] | None, **rest: Any) -> dict[str, Any]:
    return {"prompt": prompt, **rest, **({} if actor is None else {"actor": actor})}
