"""Training on states of the same responses, with and without `share_prefixes`, in turns within one
run.

    OMP_NUM_THREADS=1 .venv/bin/python bench/shared_prefixes.py [--rounds 7] [--only miniature|10m]

`accumulate` on a critic's batch: each response is cut into states, and each state's sequence is the
problem, the response so far, and words that are trained. Also how far apart the gradients are, as
a part of the largest number of each weight's. A table of medians goes to stdout.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genac_bridge.models.model import LoadedModel
from genac_bridge.operations import Operations
from genac_bridge.wire.context import NullContext
from loading import PLAIN
from worker import CASES, interleave, make_folder


@dataclass
class Batch:
    name: str
    problems: int
    responses: int
    states: int
    #: Tokens of a problem, of a segment, of the text behind the response so far, and trained words.
    problem: int
    segment: int
    closing: int
    words: int


BATCHES = {
    "miniature": Batch("miniature", 16, 8, 8, problem=32, segment=2, closing=1, words=30),
    "10m": Batch("10m", 2, 4, 8, problem=96, segment=16, closing=16, words=40),
}


def sequences(batch: Batch, vocabulary: int) -> dict[str, np.ndarray]:
    """Words differ for each state; they are not those of a language."""
    random = np.random.default_rng(0)

    def drawn(count: int) -> np.ndarray:
        return random.integers(2, vocabulary, count)

    closing = drawn(batch.closing)
    texts, masks = [], []
    for _ in range(batch.problems):
        problem = drawn(batch.problem)
        for _ in range(batch.responses):
            response = drawn(batch.segment * batch.states)
            for state in range(batch.states):
                words = drawn(batch.words)
                before = [problem, response[: batch.segment * state], closing]
                texts.append(np.concatenate([*before, words]))
                masks.append(np.arange(len(texts[-1])) >= len(texts[-1]) - batch.words)
    mask = np.concatenate(masks).astype(np.float32)
    return {
        "ids": np.concatenate(texts).astype(np.int32),
        "cu_seqlens": np.cumsum([0, *map(len, texts)]).astype(np.int32),
        "mask": mask,
        "ce.weights": random.normal(size=len(mask)).astype(np.float32),
    }


def load(operations: Operations, folder: str, name: str, shares: bool) -> None:
    model = {"model": name, "source": folder, "kind": "causal", "bounded": False, "bins": None}
    how = {"initialization": "random", "seed": 0, "device": "cpu", "dtype": "float32"}
    loading = {**PLAIN, "share_prefixes": shares}
    rest: dict[str, Any] = {
        "loading": loading,
        "lora": None,
        "optimizer": {"betas": [0.9, 0.95], "eps": 1e-8},
    }
    rest["optimizer"]["weight_decay"] = 0.0
    operations.run("load_model", {**model, **how, **rest}, {}, NullContext())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=[*BATCHES])
    options = parser.parse_args()
    print(
        "| model | sequences, tokens | tokens read | plain, ms | shared, ms | ratio | gradients |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        if options.only in (None, case.name):
            with tempfile.TemporaryDirectory() as folder:
                make_folder(case, folder)
                print(row(BATCHES[case.name], case.config.vocab_size, folder, options.rounds))


def row(batch: Batch, vocabulary: int, folder: str, rounds: int) -> str:
    tensors = sequences(batch, vocabulary)
    operations = Operations()
    read: list[int] = []
    whole = LoadedModel.hidden_states

    def counted(self: LoadedModel, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        read.append(ids.numel())
        return whole(self, ids, *rest)

    LoadedModel.hidden_states = counted  # type: ignore[method-assign]

    def accumulates(name: str) -> Callable[[int], int]:
        def turn(_: int) -> int:
            arguments = {
                **{"model": name, "normalizer": 1.0, "temperature": 1.0},
                **{"micro_batch_tokens": None, "streams": [{"kind": "ce", "coefficient": 1.0}]},
            }
            operations.run("accumulate", arguments, dict(tensors), NullContext())
            return len(tensors["ids"])

        return turn

    gradients, counts = [], []
    for name, shares in (("plain", False), ("shared", True)):
        load(operations, folder, name, shares)
        accumulates(name)(0)  # a network is tried out once
        operations.models[name].optimizer.clear()
        read.clear()
        accumulates(name)(0)
        counts.append(sum(read))
        parameters = operations.models[name].named_parameters()
        gradients.append([p.grad.clone() for _, p in parameters if p.grad is not None])
    off = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*gradients, strict=True))
    total = len(tensors["ids"])
    plain, shared = (
        1000 * total / speed
        for speed in interleave([accumulates("plain"), accumulates("shared")], rounds)
    )
    size = f"{len(tensors['cu_seqlens']) - 1}, {total:,}"
    return (
        f"| {batch.name} | {size} | {counts[0]:,} and {counts[1]:,} | {plain:.0f} | {shared:.0f} "
        f"| {plain / shared:.2f} | {off:.1g} |"
    )


if __name__ == "__main__":
    main()
