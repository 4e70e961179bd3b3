"""Training on a GPU: the worker's `accumulate` and `step` against a plain bfloat16 loop.

    bash bench/gpu.sh [--tiny] --only training OUT

The plain loop: bfloat16 weights, forward with labels, backward, clipping, fused AdamW in bfloat16;
sequences sorted by length. It is given several sizes of micro-batch, and the best counts. The
worker keeps float32 masters, and measures gradient, change of the weights and statistics. Both
sides take one optimizer step with the same sequences. Counted are the sequences' own tokens;
TFLOP/s are 6 x parameters x tokens/s.
"""

from __future__ import annotations

import copy
import gc
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import torch

from genac_bridge.models import memory, norms
from genac_bridge.operations import Operations
from genac_bridge.wire.context import NullContext

#: Of each shape: sequences of a step, their lengths, and sizes of the plain loop's micro-batches in
#: rows.
CASES: dict[str, tuple[int, tuple[int, int], list[int]]] = {
    "1.5B": (32, (704, 704), [16]),
    "135M": (64, (192, 384), [32, 64]),
}
#: Bytes that a worker plans with when two share a card of 80 GB.
HALF = 40 * 10**9
LORA = {"rank": 16, "alpha": 32.0, "dropout": 0.0, "target_modules": "all-linear"}
SECONDS = {"all": 150}


def batch_of(count: int, lengths: tuple[int, int], vocabulary: int) -> dict[str, np.ndarray]:
    """Random sequences of which all but the first quarter of their tokens is trained."""
    random = np.random.default_rng(0)
    sizes = random.integers(lengths[0], lengths[1] + 1, count)
    mask = np.concatenate([np.arange(n) >= n // 4 for n in sizes]).astype(np.float32)
    return {
        "ids": random.integers(2, vocabulary, int(sizes.sum())).astype(np.int32),
        "cu_seqlens": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        "mask": mask,
        "pg.advantages": random.normal(size=len(mask)).astype(np.float32),
        "pg.old_logprobs": np.full(len(mask), -np.log(vocabulary), np.float32),
    }


def bare(network: Any, batch: dict[str, np.ndarray], rows: int, device: str) -> Callable[[], None]:
    """Returns one step of the plain loop, `rows` sequences at a time."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    cu = batch["cu_seqlens"]
    order = np.argsort(-np.diff(cu), kind="stable")
    parts = []
    for start in range(0, len(order), rows):
        picked = order[start : start + rows]
        width = int(np.diff(cu)[picked].max())
        ids = np.zeros((len(picked), width), np.int64)
        labels = np.full((len(picked), width), -100)
        for row, sequence in enumerate(picked):
            own = batch["ids"][cu[sequence] : cu[sequence + 1]]
            ids[row, : len(own)] = own
            trained = batch["mask"][cu[sequence] : cu[sequence + 1]] == 1
            labels[row, : len(own)][trained] = own[trained]
        parts.append([torch.from_numpy(array).to(device) for array in (ids, labels)])
    count = float(batch["mask"].sum())

    def step() -> None:
        for ids, labels in parts:
            network(input_ids=ids, labels=labels, num_items_in_batch=count).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


class Ours:
    """The worker, with the model `m`."""

    def __init__(self, folder: str, device: str, **changes: Any) -> None:
        self.operations = Operations()
        self.loaded = common.load(self.operations, "m", folder, device, **changes)
        self.device = device
        self.steps = 0

    def accumulate(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        arguments = {
            "model": "m",
            "streams": [{"kind": "pg", "coefficient": 1.0, "clip_low": 0.2, "clip_high": 0.2}],
            "normalizer": float(batch["mask"].sum()),
            "temperature": 1.0,
            "micro_batch_tokens": None,
        }
        answer = self.operations.run("accumulate", arguments, batch, NullContext())[0]
        return answer["statistics"]  # type: ignore[no-any-return]  # a plain dict

    def step(self) -> dict[str, Any]:
        arguments = {
            "model": "m",
            "expected_step": self.steps,
            "expected_accumulations": 1,
            "learning_rate": 1e-5,
            "max_grad_norm": 1.0,
        }
        answer = self.operations.run("step", arguments, {}, NullContext())[0]
        self.steps += 1
        return answer

    def score(self, batch: dict[str, np.ndarray]) -> None:
        arguments = {"model": "m", "temperature": 1.0, "entropy": False, "micro_batch_tokens": None}
        texts = {name: batch[name] for name in ("ids", "cu_seqlens")}
        self.operations.run("score", arguments, texts, NullContext())

    def whole(self, batch: dict[str, np.ndarray]) -> Callable[[], Any]:
        def work() -> None:
            self.accumulate(batch)
            self.step()

        return work


def freed() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Case:
    """One shape and its sequences, measured into a report."""

    def __init__(self, shape: str, tiny: bool, report: common.Report) -> None:
        count, lengths, self.rows = CASES[shape]
        self.device = "cpu" if tiny else "cuda"
        if tiny:
            count, lengths, self.rows = 8, (16, 32), [4, 8]
        self.name, self.report = shape, report
        self.shape = "tiny" if tiny else shape
        vocabulary = common.SHAPES[self.shape].vocab_size
        self.batch = batch_of(count, lengths, vocabulary)
        #: A step with as few sequences as a plain loop has in one micro-batch.
        self.few = batch_of(8, lengths, vocabulary)
        #: Sequences as long as responses are, of which few fit at once.
        self.long = batch_of(8, (16, 32) if tiny else (512, 2048), vocabulary)
        self.parameters = 0

    def attempt(self, entry: str, work: Callable[[], dict[str, Any]]) -> None:
        self.report.attempt(f"{self.name} {entry}", work)
        freed()

    def rate(
        self, work: Callable[[], Any], batch: dict[str, np.ndarray], per_weight: int = 6
    ) -> dict[str, Any]:
        """`per_weight`: operations for each weight and token, 6 in training and 2 in reading."""
        tokens = len(batch["ids"])
        common.peak_gib(self.device)
        took = common.median(work, self.device)
        found = {
            "tokens_per_s": round(tokens / took),
            "ms": round(took * 1e3, 2),
            "peak_gib": common.peak_gib(self.device),
        }
        if self.parameters > 0:
            found["tflops"] = round(per_weight * self.parameters * tokens / took / 1e12, 1)
        return found

    def worker(self, folder: str) -> Ours:
        ours = Ours(folder, self.device)
        self.parameters = ours.loaded["parameters"]
        self.attempt("worker", lambda: self.rate(ours.whole(self.batch), self.batch))
        self.attempt("few, worker", lambda: self.rate(ours.whole(self.few), self.few))
        self.attempt("planned", lambda: planned(ours))
        return ours

    def bare(self, folder: str) -> None:
        network = common.drawn(folder, torch.bfloat16, self.device)
        for rows in self.rows:
            work = bare(network, self.batch, rows, self.device)
            self.attempt(f"bare, {rows} rows", lambda w=work: self.rate(w, self.batch))
        work = bare(network, self.few, 8, self.device)
        self.attempt("few, bare", lambda: self.rate(work, self.few))
        self.attempt("ratio", self.ratio)

    def ratio(self) -> dict[str, Any]:
        """Returns the worker against the best plain loop."""
        found = {
            name: values.get("tokens_per_s", 0) for name, values in self.report.entries.items()
        }
        best = max(found[f"{self.name} bare, {rows} rows"] for rows in self.rows)
        few = [found[f"{self.name} few, {side}"] for side in ("worker", "bare")]
        return {
            "ratio": round(found[f"{self.name} worker"] / best, 3),
            "ratio of few": round(few[0] / few[1], 3),
        }

    def in_half(self, ours: Ours, entry: str) -> None:
        """A step with long sequences, planned with half of a card of 80 GB."""
        device_bytes, memory.device_bytes = memory.device_bytes, lambda _: HALF
        model = ours.operations.models["m"]

        def work() -> dict[str, Any]:
            longest = int(np.diff(self.long["cu_seqlens"]).max())
            return {
                **self.rate(ours.whole(self.long), self.long),
                "recomputes": memory.recomputes(model, longest),
                **planned(ours),
            }

        try:
            self.attempt(entry, work)
        finally:
            memory.device_bytes = device_bytes

    def details(self, ours: Ours) -> None:
        def parts() -> dict[str, Any]:
            sums: dict[str, list[float]] = {"accumulate": [], "step": []}
            for _ in range(3):
                took = common.seconds(lambda: ours.accumulate(self.batch), self.device)
                sums["accumulate"].append(took)
                sums["step"].append(common.seconds(ours.step, self.device))
            return {name: round(float(np.median(t)) * 1e3, 2) for name, t in sums.items()}

        self.attempt("worker, ms", parts)
        self.attempt("score", lambda: self.rate(lambda: ours.score(self.batch), self.batch, 2))
        work = ours.whole(self.batch)
        self.attempt("profile", lambda: common.profile(work, self.device, 1, 24))

    def without_kernels(self, folder: str) -> None:
        """Transformers' own norms in the place of the worker's kernels."""
        agrees, norms.agrees = norms.agrees, lambda module: False
        try:
            ours = Ours(folder, self.device)
            self.attempt(
                "worker, no kernels", lambda: self.rate(ours.whole(self.batch), self.batch)
            )
        finally:
            norms.agrees = agrees


def run(tiny: bool, report: common.Report) -> None:
    """What matters most comes first: the time may end."""
    large, small = Case("1.5B", tiny, report), Case("135M", tiny, report)
    with (
        tempfile.TemporaryDirectory() as of_large,
        tempfile.TemporaryDirectory() as of_small,
        tempfile.TemporaryDirectory() as of_7b,
    ):
        common.make_folder(large.shape, of_large)
        ours = large.worker(of_large)
        large.in_half(ours, "in half")
        del ours
        freed()
        large.bare(of_large)
        freed()
        common.make_folder("tiny" if tiny else "7B", of_7b)
        report.attempt("7B", lambda: lora(large, of_7b))
        freed()
        common.make_folder(small.shape, of_small)
        ours = small.worker(of_small)
        small.details(ours)
        del ours
        freed()
        small.bare(of_small)
        freed()
        small.without_kernels(of_small)
        freed()
        ours = Ours(of_large, large.device, loading={**common.LOADING, "offload_optimizer": True})
        large.in_half(ours, "in half, offloaded")
        del ours
        freed()
        large.without_kernels(of_large)


def lora(case: Case, folder: str) -> dict[str, Any]:
    """Trains an adapter of 7B in half of a card."""
    ours = Ours(folder, case.device, lora=LORA)
    seven = copy.copy(case)
    # Without the gradients of frozen weights, 6 x parameters would be too many.
    seven.name, seven.parameters = "7B", 0
    seven.in_half(ours, "LoRA in half")
    return {"trained": ours.loaded["trainable_parameters"], "norms": fused(ours)}


def fused(ours: Ours) -> int:
    """Returns how many norms are kernels."""
    network = ours.operations.models["m"].network
    return sum("forward" in vars(module) for module in network.modules())


def planned(ours: Ours) -> dict[str, Any]:
    """Returns what the worker's planner says of its model, in GiB and tokens."""
    model = ours.operations.models["m"]
    total = memory.device_bytes(model.device)
    if model.activations is None or total is None:
        return {"planned": None}
    return {
        "weights_gib": memory.weights_of(model).total / 2**30,
        "activations": str(model.activations),
        "room": memory.room(model, total, 0),
        "norms": fused(ours),
    }


def main() -> bool:
    given = common.options(list(SECONDS))
    if given.part is None:
        return common.run_parts(__file__, given, SECONDS)
    report = common.Report("training", given.out)
    run(given.tiny, report)
    return report.failed


if __name__ == "__main__":
    sys.exit(main())
