"""Training on states of the same responses on a GPU, with and without `share_prefixes`.

    bash bench/gpu.sh [--tiny] --only sharing OUT

A critic's batch: each response is cut into states, and each state's sequence is the problem, the
response so far, a closing text, and words that are trained. Both sides take one optimizer step with
the same sequences, medians of some rounds; beside it the peak of memory.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import common
import numpy as np
import torch
from training import Ours, freed

SECONDS = {"all": 150}


@dataclass
class States:
    responses: int
    states: int
    #: Tokens of a problem, of a segment, of the text behind the response so far, and trained words.
    problem: int
    segment: int
    closing: int
    words: int


CASES = {
    "135M": States(32, 8, problem=96, segment=32, closing=48, words=96),
    "1.5B": States(4, 8, problem=256, segment=64, closing=64, words=128),
    "tiny": States(2, 4, problem=8, segment=4, closing=2, words=6),
}


def batch_of(case: States, vocabulary: int) -> dict[str, np.ndarray]:
    """Words differ for each state; they are not those of a language."""
    random = np.random.default_rng(0)
    texts = []
    for _ in range(case.responses):
        whole = random.integers(2, vocabulary, case.problem + case.segment * case.states)
        for state in range(case.states):
            own = random.integers(2, vocabulary, case.closing + case.words)
            texts.append(np.concatenate([whole[: case.problem + case.segment * state], own]))
    mask = np.concatenate([np.arange(len(t)) >= len(t) - case.words for t in texts])
    return {
        "ids": np.concatenate(texts).astype(np.int32),
        "cu_seqlens": np.cumsum([0, *map(len, texts)]).astype(np.int32),
        "mask": mask.astype(np.float32),
        "pg.advantages": random.normal(size=len(mask)).astype(np.float32),
        "pg.old_logprobs": np.full(len(mask), -np.log(vocabulary), np.float32),
    }


def measure(shape: str, tiny: bool, rounds: int) -> dict[str, Any]:
    device, name = ("cpu", "tiny") if tiny else ("cuda", shape)
    batch = batch_of(CASES[name], common.SHAPES[name].vocab_size)
    found: dict[str, Any] = {
        "sequences": len(batch["cu_seqlens"]) - 1,
        "tokens": len(batch["ids"]),
    }
    with tempfile.TemporaryDirectory() as folder:
        common.make_folder(name, folder)
        for way, shares in (("plain", False), ("shared", True)):
            loading = {**common.LOADING, "share_prefixes": shares}
            ours = Ours(folder, device, loading=loading)
            work = ours.whole(batch)
            work()  # a network is tried out once
            common.peak_gib(device)
            took = [common.seconds(work, device) for _ in range(rounds)]
            found[f"{way}_ms"] = round(statistics.median(took) * 1e3, 2)
            found[f"{way}_peak_gib"] = common.peak_gib(device)
            del ours, work
            freed()
    found["ratio"] = round(found["plain_ms"] / found["shared_ms"], 3)
    return found


def main() -> bool:
    given = common.options(list(SECONDS))
    if given.part is None:
        return common.run_parts(__file__, given, SECONDS)
    torch.manual_seed(0)
    report = common.Report("sharing", given.out)
    for shape in ("135M", "1.5B"):
        report.attempt(shape, lambda s=shape: measure(s, given.tiny, given.rounds))
        freed()
    return report.failed


if __name__ == "__main__":
    sys.exit(main())
