"""Shapes of models, their weights, timing and tables of the GPU benchmarks."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

from genac_bridge import loading
from genac_bridge.operations import Operations
from genac_bridge.wire.context import NullContext

PLAIN = {
    "tie_word_embeddings": True,
    "bos_token_id": None,
    # Stop tokens are named in each request, so that full lengths can be asked for too.
    "eos_token_id": None,
    "pad_token_id": 0,
}
SHAPES = {
    "tiny": LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        architectures=["LlamaForCausalLM"],
        **PLAIN,
    ),
    # SmolLM2-135M
    "135M": LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        architectures=["LlamaForCausalLM"],
        **PLAIN,
    ),
    # Qwen2-1.5B
    "1.5B": Qwen2Config(
        vocab_size=151936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        architectures=["Qwen2ForCausalLM"],
        **PLAIN,
    ),
    # Qwen2-7B
    "7B": Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        architectures=["Qwen2ForCausalLM"],
        **{**PLAIN, "tie_word_embeddings": False},
    ),
}
LOADING = {
    "revision": None,
    "trust_remote_code": False,
    "attn_implementation": None,
    "quantization_config": None,
    "tokenizer": None,
    "chat_template_kwargs": {},
    "engine": "transformers",
    "engine_options": {},
    "gradient_checkpointing": False,
    "share_prefixes": False,
    "offload_optimizer": False,
    # One model has the device to itself.
    "memory_share": 1.0,
}
ADAM = {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01}


def make_folder(shape: str, folder: str) -> None:
    """Writes config.json and a tokenizer of nearly as many words as the vocabulary has: the
    architecture's tokenizer may add some of its own.
    """
    config = SHAPES[shape]
    words = config.vocab_size - 16
    vocabulary = {"<pad>": 0, "<stop>": 1} | {f"w{n}": n for n in range(2, words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>").save_pretrained(folder)
    config.save_pretrained(folder)


def drawn(folder: str, dtype: torch.dtype, device: str, seed: int = 0) -> Any:
    """Returns the causal model of a folder's config; matrices are drawn on the device from
    N(0, .02^2).
    """
    config = AutoConfig.from_pretrained(folder)
    torch.manual_seed(seed)
    with torch.device(device):
        network = loading.auto_class("causal").from_config(config, dtype=dtype)
        generator = torch.Generator(device=device).manual_seed(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1:
                    # In float32, so that every dtype has the same weights but for rounding.
                    values = torch.empty(parameter.shape).normal_(0, 0.02, generator=generator)
                    parameter.copy_(values)
    return network.eval()


def load(operations: Operations, name: str, folder: str, device: str, **changes: Any) -> Any:
    """Loads the model of `folder` under `name` into the worker, with the weights of `drawn`."""
    loading.drawn = lambda source, kind, options, seed: drawn(source, torch.float32, device, seed)
    arguments = {
        "model": name,
        "source": folder,
        "kind": "causal",
        "bounded": False,
        "initialization": "random",
        "seed": 0,
        "device": device,
        "dtype": "bfloat16",
        "loading": LOADING,
        "lora": None,
        "optimizer": ADAM,
    }
    return operations.run("load_model", {**arguments, **changes}, {}, NullContext())[0]


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any], device: str) -> float:
    """Returns how long the work takes, the device's part included."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def median(work: Callable[[], Any], device: str, rounds: int = 3, uncounted: bool = True) -> float:
    """Returns the median seconds of some rounds, after one that is not counted, if asked."""
    if uncounted:
        work()
    return statistics.median(seconds(work, device) for _ in range(rounds))


def peak_gib(device: str) -> float | None:
    """Returns the most memory that was in use since the last call, in GiB; None on a CPU."""
    if device != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


def profile(work: Callable[[], Any], device: str, steps: int, listed: int = 10) -> dict[str, Any]:
    """Returns, for each of the `steps` steps that the work does: kernels, their milliseconds
    (busy), and milliseconds of the clock (wall); and the `listed` kernels that took longest.
    """
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if device == "cuda" else []
    wall = seconds(work, device)
    with torch.profiler.profile(activities=kinds) as profiled:
        work()
        synchronize(device)
    cuda = torch.autograd.DeviceType.CUDA
    found: dict[str, list[float]] = {}
    for event in profiled.events():
        if event.device_type == cuda:
            found.setdefault(event.name, []).append(event.device_time_total)
    total = sum(sum(times) for times in found.values())
    longest = sorted(found.items(), key=lambda item: -sum(item[1]))[:listed]
    return {
        "kernels": sum(map(len, found.values())) / steps,
        "busy_ms": total / 1e3 / steps,
        "wall_ms": wall * 1e3 / steps,
        "longest": [
            {"name": name[:90], "ms": sum(times) / 1e3 / steps, "count": len(times) / steps}
            for name, times in longest
        ],
    }


class Report:
    """What one script measured, written to `OUT/NAME.json` after every entry."""

    def __init__(self, name: str, out: str) -> None:
        self.path = Path(out) / f"{name}.json"
        self.entries: dict[str, Any] = {}

    def add(self, entry: str, values: dict[str, Any]) -> None:
        self.entries[entry] = values
        self.path.write_text(json.dumps(self.entries, indent=1))
        print(f"{entry}: {json.dumps(values)}", flush=True)

    @property
    def failed(self) -> bool:
        return any("error" in values for values in self.entries.values())

    def attempt(self, entry: str, work: Callable[[], dict[str, Any]]) -> None:
        """Adds what the work returns, or its error; goes on either way."""
        try:
            self.add(entry, work())
        except Exception as error:
            traceback.print_exc()
            self.add(entry, {"error": f"{type(error).__name__}: {error}"[:400]})


def options(parts: list[str]) -> argparse.Namespace:
    """Parses --tiny, --out, --part and --rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3, help="that the medians are of")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", default=".")
    parser.add_argument("--part", choices=parts)
    return parser.parse_args()


def run_parts(script: str, given: argparse.Namespace, parts: dict[str, int]) -> bool:
    """Runs each part of a script in a process of its own, for at most its seconds. Returns whether
    one failed or was not done.
    """
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    failed = False
    for part, limit in parts.items():
        command = [sys.executable, script, "--out", given.out, "--part", part]
        command += ["--rounds", str(given.rounds)]
        start = time.perf_counter()
        try:
            code: Any = subprocess.run(
                command + (["--tiny"] if given.tiny else []), timeout=limit, env=os.environ
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"none within {limit} s"
        print(f"-- {part}: {time.perf_counter() - start:.1f} s, exit {code}", flush=True)
        failed = failed or code != 0
    return failed
