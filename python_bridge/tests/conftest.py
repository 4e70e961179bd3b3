"""Small models made from configs: no hub is reached."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read when the libraries below are imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Processes that do not choose take one core each: two files run at once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from genac_bridge.operations import Operations
from genac_bridge.wire.context import NullContext

torch.set_num_threads(1)

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}{% if "
    "add_generation_prompt %}assistant {% endif %}"
)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """47 words, decoded with spaces between them."""
    words = (
        ["<pad>", "<eos>", "<unk>", "user", "assistant", "#", "."]
        + [str(n) for n in range(10)]
        + [f"w{n}" for n in range(30)]
    )
    backend = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        chat_template=CHAT_TEMPLATE,
    )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with few merges, so that emoji and accents are split over tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(
        ["the cat sat on the mat, the end", "naïve café", "the then there"], trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def llama(vocabulary: int, **changes: Any) -> LlamaConfig:
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": None,
    }
    return LlamaConfig(**{**settings, **changes}, architectures=["LlamaForCausalLM"])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """config.json and the word tokenizer; no weights."""
    path = tmp_path_factory.mktemp("words")
    word_tokenizer().save_pretrained(path)
    llama(47).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def byte_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("bytes")
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(path)
    llama(len(tokenizer), eos_token_id=0).save_pretrained(path)
    return str(path)


#: A model as its folder says, and nothing else.
LOADING: dict[str, Any] = {
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
    "memory_share": None,
}


class Client:
    """Short words for the operations under test.

    `context` is fresh for every call unless one is given.
    """

    def __init__(self) -> None:
        self.operations = Operations()

    def run(
        self,
        operation: str,
        tensors: dict[str, np.ndarray] | None = None,
        context: Any = None,
        **arguments: Any,
    ) -> Any:
        given = dict(tensors or {})
        if operation == "tokenize":
            arguments.setdefault("literal", False)
        for array in given.values():
            array.flags.writeable = False
        result, out = self.operations.run(operation, arguments, given, context or NullContext())
        json.dumps(result, allow_nan=False)  # what goes on the wire is plain JSON
        return result, out

    def load(self, source: str | Path, model: str = "m", **changes: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "source": str(source),
            "kind": "causal",
            "bounded": False,
            "initialization": "random",
            "seed": 0,
            "device": "cpu",
            "dtype": "float32",
            "loading": LOADING,
            "lora": None,
            "optimizer": {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01},
        }
        return self.run("load_model", model=model, **{**arguments, **changes})[0]

    def sample(self, tensors: dict[str, np.ndarray], context: Any = None, **changes: Any) -> Any:
        arguments: dict[str, Any] = {
            "model": "m",
            "prompts": None,
            "literal": False,
            "completions_per_prompt": 1,
            "max_new_tokens": 16,
            "temperature": 1.0,
            "top_p": None,
            "top_k": None,
            "stop_strings": [],
            "stop_token_ids": [],
            "batch_size": None,
            "stream": False,
        }
        return self.run("sample", tensors, context, **{**arguments, **changes})

    def accumulate(
        self,
        tensors: dict[str, np.ndarray],
        streams: list[dict[str, Any]],
        context: Any = None,
        **changes: Any,
    ) -> Any:
        arguments: dict[str, Any] = {
            "model": "m",
            "normalizer": 1.0,
            "temperature": 1.0,
            "micro_batch_tokens": None,
        }
        return self.run(
            "accumulate", tensors, context, **{**arguments, **changes}, streams=streams
        )[0]

    def score(self, tensors: dict[str, np.ndarray], **changes: Any) -> dict[str, np.ndarray]:
        arguments: dict[str, Any] = {
            "model": "m",
            "temperature": 1.0,
            "entropy": False,
            "micro_batch_tokens": None,
        }
        return self.run("score", tensors, **{**arguments, **changes})[1]

    def step(
        self, expected_step: int = 0, expected_accumulations: int = 1, **changes: Any
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {"model": "m", "learning_rate": 1e-2, "max_grad_norm": None}
        return self.run(
            "step",
            expected_step=expected_step,
            expected_accumulations=expected_accumulations,
            **{**arguments, **changes},
        )[0]

    def publish(self, model: str = "m") -> dict[str, Any]:
        return self.run("publish", model=model)[0]

    def weights(self, model: str = "m") -> dict[str, torch.Tensor]:
        return {
            name: p.detach().clone() for name, p in self.operations.models[model].named_parameters()
        }

    def gradients(self, model: str = "m") -> dict[str, torch.Tensor]:
        return {
            n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for n, p in self.operations.models[model].named_parameters()
        }


@pytest.fixture
def client() -> Client:
    return Client()


def ragged(
    random: np.random.Generator, lengths: list[int], vocabulary: int = 47
) -> dict[str, np.ndarray]:
    """Random ids (no special tokens) of these lengths."""
    total = sum(lengths)
    return {
        "ids": random.integers(3, vocabulary, total).astype(np.int32),
        "cu_seqlens": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
    }


def prompts(
    random: np.random.Generator, lengths: list[int], per_prompt: int = 1, vocabulary: int = 47
) -> dict[str, np.ndarray]:
    """Tensors of a `sample` request: random prompts and seeds."""
    batch = ragged(random, lengths, vocabulary)
    seeds = random.integers(0, 2**32, (len(lengths) * per_prompt, 2), dtype=np.uint32)
    return {"prompt_ids": batch["ids"], "prompt_cu_seqlens": batch["cu_seqlens"], "seeds": seeds}


def split(values: np.ndarray, cu: np.ndarray) -> list[np.ndarray]:
    return [values[cu[i] : cu[i + 1]] for i in range(len(cu) - 1)]


Make = Callable[..., Any]


def completions(out: dict[str, np.ndarray], name: str = "completion_ids") -> list[list[Any]]:
    return [part.tolist() for part in split(out[name], out["completion_cu_seqlens"])]
