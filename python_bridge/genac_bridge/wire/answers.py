"""Remembers answers by request id, so that a request that is sent twice is served once."""

from __future__ import annotations

from collections import OrderedDict

from .frames import Buffer

MAX_ANSWERS = 64
MAX_BYTES = 64 * 2**20
# Ids are remembered for longer than answers: a request that is repeated late is refused then, never
# done again.
MAX_IDS = 100_000


class Answers:
    """The last answers (64, of 64 MiB together), and the ids of all that were given lately."""

    def __init__(
        self, max_answers: int = MAX_ANSWERS, max_bytes: int = MAX_BYTES, max_ids: int = MAX_IDS
    ) -> None:
        self._limits = max_answers, max_bytes
        self._max_ids = max_ids
        self._frames: OrderedDict[str, list[Buffer]] = OrderedDict()
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0

    def add(self, request_id: str, frames: list[Buffer]) -> None:
        self._frames[request_id] = frames
        self._ids[request_id] = None
        self._bytes += sum(len(frame) for frame in frames)
        max_answers, max_bytes = self._limits
        # The newest is kept whatever its size: it is the one most likely to be needed again.
        while len(self._frames) > 1 and (
            len(self._frames) > max_answers or self._bytes > max_bytes
        ):
            _, dropped = self._frames.popitem(last=False)
            self._bytes -= sum(len(frame) for frame in dropped)
        while len(self._ids) > self._max_ids:
            self._ids.popitem(last=False)

    def get(self, request_id: str) -> list[Buffer] | None:
        return self._frames.get(request_id)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._ids
