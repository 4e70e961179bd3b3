"""Engines for tests, named `own_engines:Class` in `load_model`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from genac_bridge.engines.engine import Completion, GenerationRequest
from genac_bridge.models.model import LoadedModel
from genac_bridge.wire.arguments import LoadModel


class Counting:
    """Writes the numbers of its sequences; its log-prob is the largest published weight."""

    reproducible = False
    version = -1

    def __init__(self, model: LoadedModel, arguments: LoadModel) -> None:
        self.model, self.source = model, arguments.source
        self.requests: list[GenerationRequest] = []
        self.names: list[str] = []
        self.largest = 0.0
        self.closed = False

    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        given = list(weights)
        self.names = [name for name, _ in given]
        self.largest = max(float(weight.max()) for _, weight in given)
        self.version = version

    def generate(self, request: GenerationRequest) -> list[Completion]:
        self.requests.append(request)
        request.progress.padding += 5
        done = [
            Completion(
                np.array([7, 7 + number % 10], np.int32),
                np.full(2, self.largest, np.float32),
                "length",
            )
            for number in range(len(request.seeds))
        ]
        # The first of them early, as one that streams does; the rest at the end.
        request.progress.finish([0], done[:1])
        return done

    def close(self) -> None:
        self.closed = True


class Short(Counting):
    """Loses a completion."""

    def generate(self, request: GenerationRequest) -> list[Completion]:
        return super().generate(request)[1:]


class Wrong(Counting):
    """Gives what `change` makes of its completions; `early` says whether it reports the first one
    before, as it was.
    """

    early = False

    @staticmethod
    def change(done: list[Any]) -> Any:
        return done

    def generate(self, request: GenerationRequest) -> list[Completion]:
        self.requests.append(request)
        request.limits += 100  # of no effect on what is allowed
        done = [
            Completion(np.array([7, 8], np.int32), np.zeros(2, np.float32), "length")
            for _ in request.seeds
        ]
        if self.early:
            request.progress.finish([0], done[:1])
        answer: list[Completion] = self.change(done)
        return answer


class Exiting(Counting):
    """Ends the process."""

    def generate(self, request: GenerationRequest) -> list[Completion]:
        raise SystemExit(3)


class Unclosable(Counting):
    """Can't be closed."""

    def close(self) -> None:
        super().close()
        raise SystemExit("close failed")


class Stale(Counting):
    """Keeps the version that it had first."""

    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        if self.version < 0:
            super().publish(weights, version)


class Full(Counting):
    """Has no memory left for a second snapshot."""

    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        if self.version == 0:
            raise MemoryError("no room")
        super().publish(weights, version)


class Perhaps(Counting):
    """Does not know whether its samples can be had again."""

    reproducible: Any = "perhaps"


class Silent:
    """Lacks what an engine has."""

    def __init__(self, model: LoadedModel, arguments: LoadModel) -> None:
        self.reproducible = True

    def generate(self, request: GenerationRequest) -> list[Any]:
        return []


class Broken:
    """Can't be made."""

    def __init__(self, model: LoadedModel, arguments: LoadModel) -> None:
        raise ValueError("no such device")


number = 3
