"""Training on a GPU: the worker's `accumulate` and `step` against a plain bfloat16 loop.

    bash bench/gpu.sh [--tiny] --only training OUT

The plain loop: bfloat16 weights, forward with labels, backward, clipping, fused AdamW in bfloat16;
sequences sorted by length. It is given several sizes of micro-batch, and the best counts. The
worker keeps float32 masters, and measures gradient, change of the weights and statistics. Both
sides take one optimizer step with the same sequences. Counted are the sequences' own tokens;
TFLOP/s are 6 x parameters x tokens/s.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import torch

from genac_bridge.models import memory, norms
from genac_bridge.operations import Operations
from genac_bridge.wire.context import NullContext

#: Of each part: the shape of the model, sequences, their lengths, sizes of the plain loop's
#: micro-batches in rows, and of the worker's in padded tokens beside its own choice.
CASES: dict[str, tuple[str, int, tuple[int, int], list[int], list[int]]] = {
    "1.5B": ("1.5B", 32, (704, 704), [8, 16, 32], [11264]),
    "135M": ("135M", 64, (192, 384), [32, 64], [32768]),
}
SECONDS = {"1.5B": 120, "135M": 80, "shared": 110}
#: Of the part `shared`: the bytes of the device that is planned for, of which a worker has half.
SMALLER = 80 * 10**9
LORA = {"rank": 16, "alpha": 32.0, "dropout": 0.0, "target_modules": "all-linear"}


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

    def accumulate(self, batch: dict[str, np.ndarray], limit: int | None) -> dict[str, Any]:
        arguments = {
            "model": "m",
            "streams": [{"kind": "pg", "coefficient": 1.0, "clip_low": 0.2, "clip_high": 0.2}],
            "normalizer": float(batch["mask"].sum()),
            "temperature": 1.0,
            "micro_batch_tokens": limit,
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

    def whole(self, batch: dict[str, np.ndarray], limit: int | None) -> Callable[[], Any]:
        def work() -> None:
            self.accumulate(batch, limit)
            self.step()

        return work


def freed() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Case:
    """One shape and its sequences, measured into a report."""

    def __init__(self, part: str, tiny: bool, report: common.Report) -> None:
        shape, count, lengths, self.rows, self.limits = CASES[part]
        self.device = "cpu" if tiny else "cuda"
        if tiny:
            shape, count, lengths, self.rows, self.limits = "tiny", 8, (16, 32), [2, 4, 8], [64]
        self.part, self.shape, self.report = part, shape, report
        self.batch = batch_of(count, lengths, common.SHAPES[shape].vocab_size)
        #: A step with as few sequences as a plain loop has in one micro-batch.
        self.few = batch_of(8, lengths, common.SHAPES[shape].vocab_size)
        self.parameters = 0

    def attempt(self, entry: str, work: Callable[[], dict[str, Any]]) -> None:
        self.report.attempt(f"{self.part} {entry}", work)
        freed()

    def rate(self, work: Callable[[], Any], few: bool = False) -> dict[str, Any]:
        tokens = len((self.few if few else self.batch)["ids"])
        common.peak_gib(self.device)
        took = common.median(work, self.device)
        return {
            "tokens_per_s": round(tokens / took),
            "ms": round(took * 1e3, 2),
            "tflops": round(6 * self.parameters * tokens / took / 1e12, 1),
            "peak_gib": common.peak_gib(self.device),
        }

    def bare(self, folder: str) -> None:
        network = common.drawn(folder, torch.bfloat16, self.device)
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        for rows in self.rows:
            self.attempt(
                f"bare, {rows} rows",
                lambda n=rows: self.rate(bare(network, self.batch, n, self.device)),
            )
        self.attempt(
            "few, bare", lambda: self.rate(bare(network, self.few, 8, self.device), few=True)
        )

    def worker(self, folder: str) -> None:
        ours = Ours(folder, self.device)
        self.report.add(f"{self.part} loaded", ours.loaded)
        self.attempt("memory", lambda: planned(ours))
        for limit in (None, *self.limits):
            self.attempt(
                f"worker, {limit} tokens", lambda n=limit: self.rate(ours.whole(self.batch, n))
            )
        self.attempt("fused norms", lambda: {"modules": fused(ours)})
        self.attempt("few, worker", lambda: self.rate(ours.whole(self.few, None), few=True))
        self.attempt("ratio", self.ratio)
        self.attempt("score", lambda: self.rate(lambda: ours.score(self.batch)))

        def parts() -> dict[str, Any]:
            sums: dict[str, list[float]] = {"accumulate": [], "step": []}
            for _ in range(4):
                took = common.seconds(lambda: ours.accumulate(self.batch, None), self.device)
                sums["accumulate"].append(took)
                sums["step"].append(common.seconds(ours.step, self.device))
            return {name: round(float(np.median(t[1:])) * 1e3, 2) for name, t in sums.items()}

        self.attempt("worker, ms", parts)
        work = ours.whole(self.batch, None)
        self.attempt("worker, profile", lambda: common.profile(work, self.device, 1, 24))
        self.attempt("statistics", lambda: {**ours.accumulate(self.batch, None), **ours.step()})

    def worker_without_kernels(self, folder: str) -> None:
        """Transformers' own norms in the place of the worker's kernels."""
        agrees, norms.agrees = norms.agrees, lambda module: False
        try:
            ours = Ours(folder, self.device)
            self.attempt("worker, no kernels", lambda: self.rate(ours.whole(self.batch, None)))
        finally:
            norms.agrees = agrees

    def ratio(self) -> dict[str, Any]:
        """Returns the worker, left to itself, against the best plain loop."""
        found = {
            name: values.get("tokens_per_s", 0) for name, values in self.report.entries.items()
        }
        bares = [speed for name, speed in found.items() if " bare, " in name]
        worker = found[f"{self.part} worker, None tokens"]
        few = [found[f"{self.part} few, {side}"] for side in ("worker", "bare")]
        return {
            "worker": worker,
            "bare": max(bares),
            "ratio": round(worker / max(bares), 3),
            "ratio of few": round(few[0] / few[1], 3),
        }


def shared(tiny: bool, report: common.Report) -> None:
    """Models of which two must fit on a card of 80 GB: peak memory and speed in half of it, with
    all weights or LoRA, with activations kept or computed again, with moments on the host.
    """
    device = "cpu" if tiny else "cuda"
    memory.device_bytes = lambda _: SMALLER
    half = {**common.LOADING, "memory_share": None}
    for shape, changes in (
        ("1.5B", {}),
        ("1.5B", {"offload_optimizer": True}),
        ("7B", {"lora": LORA}),
    ):
        entry = f"{shape} {' '.join(changes)} in 40 GB"
        how = {name: value for name, value in changes.items() if name == "lora"}
        loading = {**half, **{n: v for n, v in changes.items() if n != "lora"}}

        def work(shape: str = shape, how: Any = how, loading: Any = loading) -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as folder:
                name = "tiny" if tiny else shape
                common.make_folder(name, folder)
                ours = Ours(folder, device, loading=loading, **how)
                freed()
                common.peak_gib(device)
                lengths = (16, 32) if tiny else (512, 2048)
                batch = batch_of(8, lengths, common.SHAPES[name].vocab_size)
                model = ours.operations.models["m"]
                took = common.median(ours.whole(batch, None), device, 2)
                return {
                    "tokens_per_s": round(len(batch["ids"]) / took),
                    "peak_gib": common.peak_gib(device),
                    "recomputes": memory.recomputes(model, lengths[1]),
                    **planned(ours),
                }

        report.attempt(entry, work)
        freed()


def run(part: str, tiny: bool, report: common.Report) -> None:
    if part == "shared":
        shared(tiny, report)
        return
    case = Case(part, tiny, report)
    with tempfile.TemporaryDirectory() as folder:
        common.make_folder(case.shape, folder)
        case.bare(folder)
        freed()
        case.worker(folder)
        freed()
        case.worker_without_kernels(folder)


def fused(ours: Ours) -> int:
    network = ours.operations.models["m"].network
    return sum("forward" in vars(module) for module in network.modules())


def planned(ours: Ours) -> dict[str, Any]:
    """Returns what the worker's planner says of its model, in GiB and tokens."""
    model = ours.operations.models["m"]
    if model.activations is None:
        return {"planned": None}
    total = memory.device_bytes(model.device) or 0
    return {
        "weights_gib": memory.weights_of(model).total / 2**30,
        "activations": str(model.activations),
        "room": memory.room(model, total, 0),
        "allocated_gib": torch.cuda.memory_allocated() / 2**30,
    }


def main() -> None:
    given = common.options(list(SECONDS))
    if given.part is None:
        common.run_parts(__file__, given, SECONDS)
        return
    run(given.part, given.tiny, common.Report(f"training-{given.part}", given.out))


if __name__ == "__main__":
    main()
