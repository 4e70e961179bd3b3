"""Models that vLLM's CPU build can serve, for the tests that run it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import LOADING, Client, completions, llama, ragged, split, word_tokenizer

#: Whoever runs these: `python_bridge/vllm-environment.sh` makes the environment.
needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="needs vLLM: .venv-vllm/bin/python -m pytest (docs/vllm.md)",
)


def make_folder(path: Path, **changes: Any) -> str:
    """Config and tokenizer of a Llama whose heads are as wide as vLLM's kernels for CPUs want."""
    word_tokenizer().save_pretrained(path)
    settings = {"hidden_size": 64, "num_attention_heads": 2, "head_dim": 32, **changes}
    llama(47, **settings).save_pretrained(path)
    return str(path)


def loading(**options: Any) -> dict[str, Any]:
    """Loading options with the engine `vllm`."""
    return {
        **LOADING,
        "engine": "vllm",
        "engine_options": {"enforce_eager": True, "kv_cache_memory_bytes": 2**27, **options},
    }


def gap(client: Client, out: dict[str, np.ndarray], per_prompt: int, temperature: float) -> float:
    """Largest difference between log-probs of an answer and those of `score`."""
    asked = split(out["prompt_ids"], out["prompt_cu_seqlens"])
    written = split(out["completion_ids"], out["completion_cu_seqlens"])
    whole = [np.concatenate([asked[i // per_prompt], ids]) for i, ids in enumerate(written)]
    cu = np.cumsum([0, *map(len, whole)]).astype(np.int32)
    tensors = {"ids": np.concatenate(whole), "cu_seqlens": cu}
    scored = split(client.score(tensors, temperature=temperature)["logprobs"], cu)
    own = [logs[len(logs) - len(ids) :] for logs, ids in zip(scored, written, strict=True)]
    return float(np.abs(np.concatenate(own) - out["logprobs"]).max())


def train(client: Client, step: int = 0, rate: float = 0.05) -> None:
    """One step on random tokens."""
    batch = ragged(np.random.default_rng(12 + step), [40])
    mask = np.r_[0, np.ones(39)].astype(np.float32)
    client.accumulate(
        {**batch, "mask": mask, "ce.weights": mask}, [{"kind": "ce", "coefficient": 1 / 40}]
    )
    client.step(step, learning_rate=rate)


def sampled(
    client: Client, tensors: dict[str, np.ndarray], **changes: Any
) -> tuple[list[list[int]], list[float]]:
    """Ids and log-probs."""
    _, out = client.sample(dict(tensors), **changes)
    return completions(out), out["logprobs"].tolist()


def close_all(client: Client) -> None:
    """As a worker that loads other models in the place of these does."""
    for model in client.operations.models.values():
        if model.engine is not None:
            model.engine.close()
