"""The engines `vllm` and `transformers` against each other: the same model, prompts and seeds, in
turns within one process.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 \
        .venv-vllm/bin/python bench/engines.py MODEL [--dtype float32] [--rounds 3] [--only states]

MODEL is a folder in Hugging Face format (examples/smollm2/fetch.py makes one). Nothing ends a
completion early, so both engines compute as many tokens. `responses`: 16 prompts of 64 tokens with
4 completions of 64 tokens, as an actor's. `states`: 8 texts of 512 tokens, each read after every 64
tokens, with one completion of 16 tokens, as a critic's. Before each round the weights are published
anew, so that vLLM has no prompts of the round before. A table of medians goes to stdout.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_bridge"))

from genac_bridge.operations import Operations
from genac_bridge.wire.context import NullContext
from loading import PLAIN

ENGINES: dict[str, dict[str, Any]] = {
    "transformers": {},
    "vllm": {"enforce_eager": True, "kv_cache_memory_bytes": 2**30, "max_model_len": 1024},
}


def load(operations: Operations, engine: str, source: str, dtype: str) -> int:
    """Returns the size of the vocabulary."""
    arguments = {
        "model": engine,
        "source": source,
        "kind": "causal",
        "bounded": False,
        "initialization": "pretrained",
        "seed": 0,
        "device": "cpu",
        "dtype": dtype,
        "loading": {**PLAIN, "engine": engine, "engine_options": ENGINES[engine]},
        "lora": None,
        "optimizer": None,
    }
    result, _ = operations.run("load_model", arguments, {}, NullContext())
    return int(result["vocabulary_size"])


def workloads(vocabulary: int) -> dict[str, tuple[list[np.ndarray], int, int]]:
    """Prompts, completions of each, and new tokens."""
    random = np.random.default_rng(0)
    prompts = [random.integers(100, vocabulary, 64) for _ in range(16)]
    texts = [random.integers(100, vocabulary, 512) for _ in range(8)]
    states = [text[: 64 * k] for text in texts for k in range(1, 9)]
    return {"responses": (prompts, 4, 64), "states": (states, 1, 16)}


def sample(
    operations: Operations, engine: str, work: tuple[list[np.ndarray], int, int], seed: int
) -> tuple[float, int]:
    """Returns seconds, and prompt tokens that were not computed."""
    prompts, each, new_tokens = work
    count = len(prompts) * each
    tensors = {
        "prompt_ids": np.concatenate(prompts).astype(np.int32),
        "prompt_cu_seqlens": np.cumsum([0, *map(len, prompts)]).astype(np.int32),
        "seeds": np.random.default_rng(seed).integers(0, 2**32, (count, 2), dtype=np.uint32),
    }
    arguments = {
        "model": engine,
        "prompts": None,
        "literal": False,
        "completions_per_prompt": each,
        "max_new_tokens": new_tokens,
        "temperature": 1.0,
        "top_p": None,
        "top_k": None,
        "stop_strings": [],
        "stop_token_ids": [],
        "batch_size": None,
        "stream": False,
    }
    operations.run("publish", {"model": engine}, {}, NullContext())
    operations.models[engine].eos_token_ids.clear()
    began = time.perf_counter()
    result, out = operations.run("sample", arguments, tensors, NullContext())
    seconds = time.perf_counter() - began
    assert len(out["completion_ids"]) == count * new_tokens
    return seconds, int(result["cached_tokens"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["responses", "states"])
    options = parser.parse_args()
    operations = Operations()
    for engine in ENGINES:
        vocabulary = load(operations, engine, options.model, options.dtype)
    print(f"{options.dtype}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads\n")
    print("| work | transformers, s | vllm, s | ratio | prompt tokens that vLLM did not compute |")
    print("|---|---|---|---|---|")
    for name, work in workloads(vocabulary).items():
        if options.only not in (None, name):
            continue
        taken: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        cached = 0
        for turn in range(options.rounds + 1):
            for engine in ENGINES:
                seconds, cached = sample(operations, engine, work, turn)
                if turn > 0:  # the first warms both
                    taken[engine].append(seconds)
        ours, vllm = (statistics.median(taken[engine]) for engine in ENGINES)
        total = sum(len(prompt) for prompt in work[0]) * work[1]
        part = f"{cached:,} of {total:,}"
        print(f"| {name} | {ours:.1f} | {vllm:.1f} | {ours / vllm:.2f} | {part} |", flush=True)


if __name__ == "__main__":
    main()
