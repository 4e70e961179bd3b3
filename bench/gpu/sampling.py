"""Sampling: the worker's `sample` against `network.generate` with bfloat16 weights.

    python bench/gpu/sampling.py [--tiny] [--rounds 3] [--out OUT] [--part NAME]

Both sides read the same prompts, of 256 to 512 tokens, and write full lengths. The worker answers
ids, log-probs, texts and token ends; `generate` answers ids. Counted are new tokens a second, as
medians of some rounds after one that is not counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import common
import numpy as np
import torch

from genac_bridge.engines.slot_cache import planned_bytes
from genac_bridge.engines.slots import LOOK, Draw
from genac_bridge.engines.transformers_engine import TransformersEngine
from genac_bridge.operations import Operations
from genac_bridge.wire.context import NullContext


@dataclass
class Case:
    shape: str
    prompts: int
    new_tokens: int
    shortest: int = 256
    longest: int = 512
    device: str = "cuda"


CASES = {"1.5B": Case("1.5B", 256, 192), "135M": Case("135M", 512, 128)}
TINY = {"tiny": Case("tiny", 16, 24, 8, 24, "cpu")}
#: Seconds that each part may take.
LIMITS = {"1.5B": 150, "135M": 100}


class Request:
    """The prompts of a case, and ways to have them continued. `rounds`: that medians are of."""

    def __init__(self, case: Case, rounds: int) -> None:
        self.case, self.rounds = case, rounds
        random = np.random.default_rng(0)
        vocabulary = common.SHAPES[case.shape].vocab_size
        lengths = random.integers(case.shortest, case.longest + 1, case.prompts)
        self.prompts = [random.integers(2, vocabulary, n).astype(np.int32) for n in lengths]
        self.seeds = random.integers(0, 2**32, (case.prompts, 2), dtype=np.uint32)
        self.tokens = case.prompts * case.new_tokens

    def sample(self, operations: Operations, first: int | None = None, **changes: Any) -> Any:
        """Tensors of the answer for the `first` prompts."""
        prompts = self.prompts[:first]
        arguments = {
            "model": "m",
            "prompts": None,
            "literal": False,
            "completions_per_prompt": 1,
            "max_new_tokens": self.case.new_tokens,
            "temperature": 1.0,
            "top_p": None,
            "top_k": None,
            "stop_strings": [],
            "stop_token_ids": [],
            "batch_size": None,
            "stream": False,
        }
        tensors = {
            "prompt_ids": np.concatenate(prompts),
            "prompt_cu_seqlens": np.cumsum([0, *map(len, prompts)]).astype(np.int32),
            "seeds": self.seeds[: len(prompts) * changes.get("completions_per_prompt", 1)],
        }
        return operations.run("sample", {**arguments, **changes}, tensors, NullContext())[1]

    def generate(self, network: Any, new_tokens: int) -> None:
        """Left-padded prompts through `generate`."""
        width = max(map(len, self.prompts))
        ids = torch.zeros(len(self.prompts), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(self.prompts):
            ids[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask[row, width - len(prompt) :] = 1
        with torch.inference_mode():
            network.generate(
                input_ids=ids.to(self.case.device),
                attention_mask=mask.to(self.case.device),
                do_sample=True,
                top_k=0,
                max_new_tokens=new_tokens,
                pad_token_id=0,
            )


def bare(request: Request, folder: str) -> dict[str, Any]:
    case = request.case
    network = common.drawn(folder, torch.bfloat16, case.device)
    first = common.seconds(lambda: request.generate(network, 8), case.device)
    took = common.median(
        lambda: request.generate(network, case.new_tokens),
        case.device,
        request.rounds,
        uncounted=False,
    )
    return {
        "tokens_per_second": request.tokens / took,
        "first_8_tokens_s": first,
        "peak_gib": common.peak_gib(case.device),
    }


def worker(request: Request, operations: Operations) -> dict[str, Any]:
    case = request.case
    first = common.seconds(lambda: request.sample(operations), case.device)
    took = common.median(
        lambda: request.sample(operations), case.device, request.rounds, uncounted=False
    )
    reading = common.median(
        lambda: request.sample(operations, max_new_tokens=1),
        case.device,
        request.rounds,
        uncounted=False,
    )
    # A tokenizer's own end-of-sequence token ends a few sequences early.
    tokens = len(request.sample(operations)["completion_ids"])
    serving_of(operations).release(False)
    again = common.seconds(lambda: request.sample(operations), case.device)
    return {
        "tokens_per_second": tokens / took,
        "seconds": took,
        "first_request_s": first,
        "after_training_s": again,
        "one_token_s": reading,
        "peak_gib": common.peak_gib(case.device),
    }


def serving_of(operations: Operations) -> Any:
    engine = operations.models["m"].engine
    assert isinstance(engine, TransformersEngine)
    assert engine._slots is not None, "the model is not sampled in slots; the log says why"
    return engine._slots


def steps(operations: Operations, case: Case, captured: bool) -> dict[str, Any]:
    """Kernels of a decoding step over all rows, as they are left by the last request."""
    slots = serving_of(operations).slots
    draw = Draw(1.0, None, None)

    def some() -> None:
        with torch.inference_mode():
            slots.turn.zero_()
            for _ in range(LOOK):
                if captured:
                    slots.step(slots.rows, slots.columns, draw)
                else:
                    slots._step(slots.rows, slots.columns, draw)

    some()
    some()
    return common.profile(some, case.device, LOOK)


def gap(request: Request, operations: Operations, first: int) -> dict[str, Any]:
    """Log-probabilities of the sampler against those of `score`."""
    out = request.sample(operations, first)
    cu = out["completion_cu_seqlens"]
    done = [out["completion_ids"][cu[i] : cu[i + 1]] for i in range(first)]
    whole = [np.concatenate(pair) for pair in zip(request.prompts[:first], done, strict=True)]
    ends = np.cumsum([0, *map(len, whole)]).astype(np.int32)
    arguments = {
        "model": "m",
        "temperature": 1.0,
        "entropy": False,
        "micro_batch_tokens": None,
    }
    tensors = {"ids": np.concatenate(whole), "cu_seqlens": ends}
    start = time.perf_counter()
    scored = operations.run("score", arguments, tensors, NullContext())[1]["logprobs"]
    took = time.perf_counter() - start
    last = [scored[ends[i + 1] - len(done[i]) : ends[i + 1]] for i in range(first)]
    off = np.abs(np.concatenate(last) - out["logprobs"])
    return {
        "mean": float(off.mean()),
        "p99": float(np.quantile(off, 0.99)),
        "max": float(off.max()),
        "tokens": len(off),
        "score_tokens_per_second": len(tensors["ids"]) / took,
    }


def repeated(request: Request, operations: Operations, few: int) -> dict[str, Any]:
    """Of how many sequences the tokens are the same in a second run, and in smaller batches."""
    count = request.case.prompts

    def of(out: Any) -> list[bytes]:
        ids, cu = out["completion_ids"], out["completion_cu_seqlens"]
        return [ids[start:end].tobytes() for start, end in pairwise(cu)]

    def alike(some: list[bytes], others: list[bytes]) -> float:
        return sum(a == b for a, b in zip(some, others, strict=True)) / len(some)

    all_at_once = of(request.sample(operations))
    again = of(request.sample(operations))
    alone = of(request.sample(operations, few))
    smaller = of(request.sample(operations, few, batch_size=max(1, few // 4)))
    return {
        "second_run": alike(all_at_once, again),
        f"{few}_of_{count}": alike(all_at_once[:few], alone),
        f"batches_of_{max(1, few // 4)}": alike(alone, smaller),
    }


def groups(request: Request, operations: Operations) -> dict[str, Any]:
    """A quarter of the prompts, eight sequences each, of which about 1 token in 100 ends one: rows
    finish at all times, and others take their slots.
    """
    case, per_prompt = request.case, 8
    vocabulary = common.SHAPES[case.shape].vocab_size
    count = max(1, case.prompts // 4)
    seeds = np.random.default_rng(1).integers(0, 2**32, (count * per_prompt, 2), dtype=np.uint32)
    own, request.seeds = request.seeds, seeds
    changes = {
        "completions_per_prompt": per_prompt,
        "stop_token_ids": list(range(2, 2 + vocabulary // 100)),
        "batch_size": case.prompts,
    }
    try:
        first = common.seconds(lambda: request.sample(operations, count, **changes), case.device)
        start = time.perf_counter()
        out = request.sample(operations, count, **changes)
        took = time.perf_counter() - start
    finally:
        request.seeds = own
    return {
        "tokens_per_second": len(out["completion_ids"]) / took,
        "first_request_s": first,
        "sequences": count * per_prompt,
        "tokens": len(out["completion_ids"]),
    }


def memory(operations: Operations) -> dict[str, Any]:
    serving = serving_of(operations)
    slots = serving.slots
    return {
        "copy_bytes": serving.copy.bytes(),
        "cache_bytes": slots.cache.bytes(),
        "cache_bytes_planned": planned_bytes(
            serving.copy.config, slots.rows, slots.columns, serving.copy.dtype
        ),
        "rows": slots.rows,
        "columns": slots.columns,
        "by_length": slots.by_length,
        "recorded": sum(graph is not None for graph in slots.recorded.values()),
        "steps_seen": len(slots.recorded),
    }


def part(case: Case, report: common.Report, folder: str, rounds: int) -> None:
    name, request = case.shape, Request(case, rounds)
    common.make_folder(case.shape, folder)
    operations = Operations()
    start = time.perf_counter()
    common.load(operations, "m", folder, case.device, optimizer=None)
    print(f"{name}: loaded in {time.perf_counter() - start:.1f} s", flush=True)
    if case.device == "cpu":
        model = operations.models["m"]
        model.engine = TransformersEngine(model, in_slots=True)
        operations.run("publish", {"model": "m"}, {}, NullContext())
    few = max(4, case.prompts // 8)
    report.attempt(f"{name} worker", lambda: worker(request, operations))
    report.attempt(f"{name} memory", lambda: memory(operations))
    report.attempt(f"{name} step", lambda: steps(operations, case, True))
    report.attempt(f"{name} step, not recorded", lambda: steps(operations, case, False))
    report.attempt(f"{name} log-probs against score", lambda: gap(request, operations, few))
    report.attempt(f"{name} same tokens", lambda: repeated(request, operations, few))
    report.attempt(f"{name} groups", lambda: groups(request, operations))
    report.attempt(f"{name} generate", lambda: bare(request, folder))
    ours = report.entries[f"{name} worker"].get("tokens_per_second", 0.0)
    theirs = report.entries[f"{name} generate"].get("tokens_per_second", float("nan"))
    print(
        f"| sample, {name}, {case.prompts} prompts of {case.shortest} to {case.longest}, "
        f"{case.new_tokens} new | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} |",
        flush=True,
    )


def main() -> bool:
    cases = {**CASES, **TINY}
    given = common.options([*LIMITS, *TINY])
    if given.part is None:
        return common.run_parts(__file__, given, {"tiny": 60} if given.tiny else LIMITS)
    report = common.Report(f"sampling-{given.part}", given.out)
    with tempfile.TemporaryDirectory() as folder:
        part(cases[given.part], report, folder, given.rounds)
    return report.failed


if __name__ == "__main__":
    sys.exit(main())
