"""The worker against bare Transformers: the same models, the same prompts and sequences, in turns
within one run.

    OMP_NUM_THREADS=1 .venv/bin/python bench/worker.py [--rounds 5] [--only miniature|10m]

Sampling: `Operations.run("sample")` (ids, log-probs, texts, token ends) against `model.generate`
(ids). Completions end at stop tokens, so lengths vary; counted are completions' tokens. Training:
`accumulate` + `step` against a plain loop (forward with labels, backward, clip, fused AdamW) over
the same right-padded batch; counted are the sequences' tokens. A table of medians goes to stdout.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_bridge"))

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from genac_bridge.operations import Operations
from genac_bridge.wire.context import NullContext
from loading import PLAIN


@dataclass
class Case:
    name: str
    config: LlamaConfig
    #: How many ids stop a completion: about 1 token in 50 does.
    stops: int
    prompts: int
    new_tokens: int
    sequences: int


def llama(vocabulary: int, width: int, layers: int, heads: int, kv: int, mlp: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        # Stop tokens are named in each request, so that full lengths can be asked for too.
        eos_token_id=None,
        pad_token_id=0,
        architectures=["LlamaForCausalLM"],
    )


CASES = [
    Case(
        "miniature", llama(47, 64, 2, 4, 1, 160), stops=1, prompts=512, new_tokens=96, sequences=256
    ),
    Case(
        "10m", llama(16384, 256, 8, 8, 4, 688), stops=300, prompts=64, new_tokens=64, sequences=16
    ),
]


def make_folder(case: Case, folder: str) -> None:
    vocabulary = {"<pad>": 0, "<stop>": 1} | {f"w{n}": n for n in range(2, case.config.vocab_size)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>").save_pretrained(folder)
    case.config.save_pretrained(folder)


def interleave(sides: list[Callable[[int], int]], rounds: int) -> list[float]:
    """Median tokens per second of each side.

    One round unmeasured, then turns, so that a slow spell of the machine hits all.
    """
    rates: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        for side, rate in zip(sides, rates, strict=True):
            start = time.perf_counter()
            tokens = side(turn)
            if turn > 0:
                rate.append(tokens / (time.perf_counter() - start))
    return [statistics.median(rate) for rate in rates]


def sampling(case: Case, operations: Operations, rounds: int, stopping: bool) -> list[float]:
    random = np.random.default_rng(0)
    first = 2 + case.stops
    lengths = np.sort(random.integers(24, 49, case.prompts))
    prompts = [random.integers(first, case.config.vocab_size, n).astype(np.int32) for n in lengths]
    shuffled = [prompts[i] for i in random.permutation(case.prompts)]
    stops = list(range(1, 1 + case.stops)) if stopping else []
    tensors = {
        "prompt_ids": np.concatenate(shuffled),
        "prompt_cu_seqlens": np.concatenate([[0], np.cumsum([len(p) for p in shuffled])]).astype(
            np.int32
        ),
    }

    def ours(turn: int) -> int:
        seeds = np.random.default_rng(turn).integers(0, 2**32, (case.prompts, 2), dtype=np.uint32)
        arguments = {
            "model": "m",
            "prompts": None,
            "literal": False,
            "completions_per_prompt": 1,
            "max_new_tokens": case.new_tokens,
            "temperature": 1.0,
            "top_p": None,
            "top_k": None,
            "stop_strings": [],
            "stop_token_ids": stops,
            "batch_size": None,
            "stream": False,
        }
        _, out = operations.run("sample", arguments, {**tensors, "seeds": seeds}, NullContext())
        return len(out["completion_ids"])

    network: Any = operations.models["m"].network
    width = int(lengths.max())
    ids = torch.zeros(case.prompts, width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(shuffled):
        ids[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
        mask[row, width - len(prompt) :] = 1
    is_stop = torch.zeros(case.config.vocab_size, dtype=torch.bool)
    is_stop[stops] = True

    def generate(turn: int) -> int:
        torch.manual_seed(turn)
        with torch.inference_mode():
            out = network.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                max_new_tokens=case.new_tokens,
                eos_token_id=stops or None,
                pad_token_id=0,
            )
        stopped = is_stop[out[:, width:]].int()
        # Tokens up to and with the first stop token.
        return int((stopped.cumsum(1) - stopped == 0).sum())

    return interleave([ours, generate], rounds)


def training(case: Case, operations: Operations, rounds: int) -> list[float]:
    random = np.random.default_rng(1)
    lengths = random.integers(60, 161, case.sequences)
    sequences = [random.integers(2, case.config.vocab_size, n).astype(np.int32) for n in lengths]
    mask = np.concatenate([np.arange(n) >= 40 for n in lengths]).astype(np.float32)
    tensors = {
        "ids": np.concatenate(sequences),
        "cu_seqlens": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        "mask": mask,
        "ce.weights": mask,
    }
    trained = float(mask.sum())

    def ours(turn: int) -> int:
        arguments = {
            "model": "m",
            "streams": [{"kind": "ce", "coefficient": 1.0}],
            "normalizer": trained,
            "temperature": 1.0,
            "micro_batch_tokens": None,
        }
        operations.run("accumulate", arguments, tensors, NullContext())
        step = {
            "model": "m",
            "expected_step": turn,
            "expected_accumulations": 1,
            "learning_rate": 1e-4,
            "max_grad_norm": 1.0,
        }
        operations.run("step", step, {}, NullContext())
        return int(lengths.sum())

    network: Any = operations.models["bare"].network
    width = int(lengths.max())
    ids = torch.zeros(case.sequences, width, dtype=torch.int64)
    attention = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.from_numpy(sequence.astype(np.int64))
        attention[row, : len(sequence)] = 1
        labels[row, 40 : len(sequence)] = ids[row, 40 : len(sequence)]

    def loop(parts: int) -> Callable[[int], int]:
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        # Sorted by length and cut into parts, each no wider than it must be.
        order = torch.from_numpy(np.argsort(lengths, kind="stable").copy())
        cuts = list(order.chunk(parts))

        def turn_of(turn: int) -> int:
            for rows in cuts:
                wide = int(lengths[rows.numpy()].max())
                out = network(
                    input_ids=ids[rows, :wide],
                    attention_mask=attention[rows, :wide],
                    labels=labels[rows, :wide],
                    num_items_in_batch=trained,
                )
                out.loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return int(lengths.sum())

        return turn_of

    return interleave([ours, loop(1), loop(8)], rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=[case.name for case in CASES])
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of "
        f"{options.rounds} interleaved rounds\n"
    )
    print("| model | work | worker, tokens/s | bare Transformers, tokens/s | ratio |")
    print("|---|---|---|---|---|")
    for case in CASES:
        if options.only not in (None, case.name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            make_folder(case, folder)
            operations = Operations()
            for name in ("m", "bare"):
                arguments = {
                    "model": name,
                    "source": folder,
                    "kind": "causal",
                    "bounded": False,
                    "initialization": "random",
                    "seed": 0,
                    "device": "cpu",
                    "dtype": "float32",
                    "loading": PLAIN,
                    "lora": None,
                    "optimizer": {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01},
                }
                size = operations.run("load_model", arguments, {}, NullContext())[0]["parameters"]
            label = f"{case.name} ({size / 1e6:.2f} M)"
            for stopping, title in ((True, "with stop tokens"), (False, "all to full length")):
                ours, bare = sampling(case, operations, options.rounds, stopping)
                title = f"sample, {case.prompts} prompts, {title}"
                print(
                    f"| {label} | {title} | {ours:,.0f} | {bare:,.0f} | {ours / bare:.2f} |",
                    flush=True,
                )
            ours, *loops = training(case, operations, options.rounds)
            for title, bare in zip(("one batch", "8 batches by length"), loops, strict=True):
                print(
                    f"| {label} | train, against {title} | {ours:,.0f} | {bare:,.0f} | "
                    f"{ours / bare:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
