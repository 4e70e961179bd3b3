"""vLLM samples (`use_vllm`, in the trainer's process): its tokens and log-probabilities stay as
they are, and get per-token credit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from conftest import Make, logged, moved, tokenizer, weights

pytest.importorskip("vllm", reason="vLLM is not installed")


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """As `tiny`, with heads of a size that vLLM has.

    In float16: on CPUs whose oneDNN multiplies the type of the checkpoint vLLM packs the weights,
    and TRL can't load new ones.
    """
    for name, value in {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_USE_AOT_COMPILE": "0",
        "TORCHDYNAMO_DISABLE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")  # so that what TRL sets is taken back
        monkeypatch.delenv(name)
    words = tokenizer()
    words.save_pretrained(tmp_path / "half")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    LlamaForCausalLM(config).half().save_pretrained(tmp_path / "half")
    yield str(tmp_path / "half")
    from vllm.distributed import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()


def test_trains_on_what_vllm_sampled(make: Make, half: str, own_critic: str, no_gate: str) -> None:
    trainer = make(
        {"model": half},
        critic=own_critic,
        controller_config=no_gate,
        segmentation={"by": "tokens", "tokens": 4},
        use_vllm=True,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=0.3,
        vllm_max_model_length=256,
        bf16=False,
    )
    sampled: list[Any] = []
    batches: list[dict[str, Any]] = []
    generate, score = trainer.vllm_generation.generate, trainer._generate_and_score_completions
    trainer.vllm_generation.generate = lambda *a, **k: (
        sampled.append(generate(*a, **k)) or sampled[-1]
    )
    trainer._generate_and_score_completions = lambda inputs: (
        batches.append(score(inputs)) or batches[-1]
    )
    before = weights(trainer)
    trainer.train()
    assert moved(trainer, before)
    assert len(logged(trainer, "loss")) == 2
    assert all(math.isfinite(loss) for loss in logged(trainer, "loss"))
    for (_, ids, logprobs, _), batch in zip(sampled, batches, strict=True):
        assert batch["advantages"].shape == batch["completion_ids"].shape
        own = batch["completion_mask"].bool()
        for row, mask in enumerate(own):
            assert batch["completion_ids"][row][mask].tolist() == list(ids[row])
            told = torch.tensor([one[0] for one in logprobs[row]])
            torch.testing.assert_close(batch["sampling_per_token_logps"][row][mask], told)
        # vLLM has the trainer's weights, also after the first update.
        torch.testing.assert_close(
            batch["sampling_per_token_logps"][own],
            batch["old_per_token_logps"][own],
            atol=0.05,
            rtol=0,
        )
        assert "importance_sampling_ratio" in batch
    assert any(row.unique().numel() > 1 for row in batches[0]["advantages"])
