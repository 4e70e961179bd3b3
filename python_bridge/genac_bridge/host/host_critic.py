"""The critic of a host: credit of its batches, values, checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from .advice import Advice
from .batch import Batch, Credit, from_wire, plain_prompt, to_wire
from .continuations import Continuations, Wanted, answer_of, wanted_of
from .controller import Controller, ControllerError
from .processes import on_main, on_main_with_help
from .reverse_requests import Tensors
from .trainer import HostTrainer
from .valuations import silence, valuations_of

#: Who learns from a batch: actor and critic, the critic alone, or neither.
Purpose: TypeAlias = Literal["joint", "critic-rl", "evaluation"]
#: What advantages are divided by: see `assign_credit` in src/bridge/host-operations.ts.
Scale: TypeAlias = Literal["none", "batch-std", "group-std"]


class HostCritic:
    """What a host asks of the controller.

    All processes make one, and call all of its methods but `ask` and `value`.

    Args:
        host: the trainer.
        on_failure: what a batch gets that can't be valued: `"error"` raises, `"group-mean"` gives
            a `Credit` without advantages.
        tells_valuations: should `valuations` be filled?
        advice: names of the host's options, for messages.
    """

    def __init__(
        self,
        host: HostTrainer,
        on_failure: str = "error",
        tells_valuations: bool = False,
        advice: Advice | None = None,
    ) -> None:
        self.host = host
        #: Where a critic was opened, in the main process; else None.
        self.controller: Controller | None = None
        #: The critic's name and kind, the process ids of its workers, and the most tokens that a
        #: response can have (`max_new_tokens`), as `Opening.finish` gives them. Main process only.
        self.info: dict[str, Any] = {}
        #: Batches of each purpose so far: draws and learning rates of the critic depend on them.
        self.batches: dict[Purpose, int] = {"joint": 0, "critic-rl": 0, "evaluation": 0}
        #: The last batch as the critic valued it: see `valuations_of`. Main process only.
        self.valuations: list[dict[str, Any]] = []
        self.tells_valuations = tells_valuations
        #: Each is given `valuations` whenever a batch was valued. Main process only.
        self.on_valued: list[Callable[[list[dict[str, Any]]], None]] = []
        self.advice = advice or Advice()
        self._on_failure = on_failure
        #: What `say_once` has printed.
        self._said: set[str] = set()

    def say_once(self, what: str, text: str) -> None:
        """Prints a sentence in the main process, once for each `what`."""
        if what not in self._said and self.host.is_main:
            self._said.add(what)
            print(text, flush=True)

    def ask(
        self, operation: str, arguments: dict[str, Any], tensors: Tensors | None = None, **rest: Any
    ) -> tuple[dict[str, Any], Tensors]:
        """An operation of the controller (`src/bridge/host-operations.ts`). Main process only.

        Raises `ControllerError`.
        """
        if self.controller is None:
            raise ControllerError(f"this trainer has no controller: {self.advice.no_controller}")
        return self.controller.ask(operation, arguments, tensors, **rest)

    def close(self) -> None:
        """Ends the controller and its workers. May be called twice."""
        if self.controller is not None:
            self.controller.close()

    def assign_credit(
        self, batch: Batch, purpose: Purpose, iterations: int | None, scale: Scale
    ) -> Credit:
        """The credit of a batch of all processes. The critic learns from it as `purpose` says, and
        may have the host continue its responses.

        `iterations`: how many batches of this purpose there will be, for the critic's learning
        rate; None: not known. Raises `ControllerError`.
        """
        iteration = self.batches[purpose]
        self.batches[purpose] += 1
        asked = {
            "purpose": purpose,
            "iteration": iteration,
            "iterations": iterations,
            "scale": scale,
        }

        def continued(wanted: Wanted) -> Continuations:
            return self.host.continue_responses(batch, wanted)

        def work(
            continue_all: Callable[[Wanted], Continuations],
        ) -> tuple[list[np.ndarray] | None, dict[str, float]]:
            return self._assigned(batch, asked, continue_all)

        advantages, metrics = on_main_with_help(self.host, work, continued)
        valuations = self.valuations if advantages is not None and self.tells_valuations else []
        if valuations:
            for tell in self.on_valued:
                tell(valuations)
        return Credit(advantages, metrics, valuations)

    def _assigned(
        self,
        batch: Batch,
        asked: dict[str, Any],
        continue_all: Callable[[Wanted], Continuations],
    ) -> tuple[list[np.ndarray] | None, dict[str, float]]:
        began = time.perf_counter()
        rows, rewards = batch.rows, batch.rewards
        unit = batch.width if asked["scale"] == "none" else 1.0
        try:
            arguments, tensors, sent = to_wire(rows, rewards, batch.group_size)
            report = len(sent) if self.tells_valuations else 0

            def serve(_: str, given: dict[str, Any], received: Tensors) -> Any:
                wanted = wanted_of(given, received, sent)
                done = continue_all(wanted)
                most = self.info.get("max_new_tokens")
                return answer_of(done, wanted, type(self.host).__name__, most)

            result, answer = self.ask(
                "assign_credit",
                {**arguments, **asked, "report": report},
                tensors,
                on_request=serve if self.host.can_continue else None,
            )
        except ControllerError as error:
            if self._on_failure == "error":
                raise
            self.say_once(
                "failed",
                "GenAC: the critic failed, and training goes on with GRPO's own advantages until "
                f"it answers again (critic/failed): {error}",
            )
            return None, {"critic/failed": 1.0}
        metrics = {name: float(value) for name, value in result["metrics"].items()}
        warning = silence(metrics, self.host.group_size, self.advice)
        if warning is not None:
            self.say_once("silence", warning)
        metrics["critic/seconds_host_waited"] = time.perf_counter() - began
        if self._on_failure != "error":
            metrics["critic/failed"] = 0.0
        if self.tells_valuations:
            self.valuations = valuations_of(rows, sent, rewards, result["valuations"])
            for one in self.valuations:
                one |= {"purpose": asked["purpose"], "step": self.host.step}
                for segment in one["segments"]:
                    segment["advantage"] *= unit
        return from_wire(answer["advantages"] * unit, rows, sent), metrics

    def value(
        self, prompts: list[Any], responses: list[str], greedy: bool = True
    ) -> tuple[np.ndarray, list[str], list[bool]]:
        """The critic's value of each partial response, float64 [N] in [0, 1], its words, and
        whether it wrote a valid score (else the value is a fallback). By its likeliest completion,
        or with `greedy` False as in training. Main process only. Raises `ControllerError`.
        """
        result, tensors = self.ask(
            "value",
            {
                "prompts": [plain_prompt(prompt) for prompt in prompts],
                "responses": responses,
                "greedy": greedy,
            },
        )
        return (
            tensors["values"],
            result["rationales"],
            [parsed == "ok" for parsed in result["parsed"]],
        )

    def save(
        self, folder: str | os.PathLike[str], optimizer: bool = False, required: bool = True
    ) -> None:
        """Writes the critic to `folder/critic` and the controller's state to `folder`.

        The critic loads with `from_pretrained`. `folder` is made, or replaced. Raises
        `ControllerError`; not `required` and with `on_failure="group-mean"`, a critic that can't be
        saved is said to be missing.
        """

        def work() -> None:
            if self.controller is None:
                return
            path = os.path.abspath(folder)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            place = {"stage": "joint", "iteration": self.batches["joint"], "complete": False}
            kept = {"optimizer": optimizer, "reward_range": self.host.rewards_seen}
            self._save({"folder": path, **kept, **place}, required)

        on_main(self.host, work)

    def _save(self, asked: dict[str, Any], required: bool) -> None:
        try:
            self.ask("save", asked)
            return
        except ControllerError as error:
            if self._on_failure == "error":
                raise
            first = error
        # It may be the critic's last update that failed, of which the controller tells here first.
        # The critic itself is whole then, and is saved when asked again.
        try:
            self.ask("save", asked)
        except ControllerError as error:
            if required:
                raise
            where = asked["folder"]
            self.say_once(where, f"GenAC: the critic is not in {where}, for it failed: {error}")
        else:
            self.say_once("failed update", f"GenAC: the critic failed, and was saved: {first}")

    def restore(self, folder: str | os.PathLike[str]) -> None:
        """Restores what `save` wrote, and `batches["joint"]`; the controller counts evaluations.

        Raises `ControllerError`.
        """
        self.batches["joint"] = self.restore_place(folder)["iteration"]

    def restore_place(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Restores a critic of any stage; returns `stage`, `iteration` and `complete`."""
        path = os.path.abspath(folder)
        place = on_main(self.host, lambda: self.ask("restore", {"folder": path})[0])
        seen = place["reward_range"]
        self.host.rewards_seen = None if seen is None else (seen[0], seen[1])
        return place
