"""What activations are counted, what is computed again, and which sequences share a pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_batches import ALL_STREAMS, batch_of

from conftest import LOADING, Client, llama, word_tokenizer
from genac_bridge.models import memory
from genac_bridge.models.activations import checkpointed, layers_of, saved_bytes
from genac_bridge.models.micro_batches import choose_micro_batch
from genac_bridge.models.ragged import micro_batches


def test_saved_bytes_are_those_of_the_saved_tensors() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 2), torch.nn.Sigmoid()
    )
    inputs = torch.zeros(3, 4)
    # The linear layers save their inputs, SiLU its own (which is 8 wide), the sigmoid its output.
    expected = 4 * 3 * (4 + 8 + 8 + 2)
    assert saved_bytes(lambda: layers(inputs), layers) == expected
    on_meta = layers.to("meta")
    assert saved_bytes(lambda: on_meta(inputs.to("meta")), on_meta) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_computed_again_give_the_same_gradient(
    client: Client, folder: str, dtype: str
) -> None:
    batch = batch_of(np.random.default_rng(5), [11, 4, 9])
    ids = torch.zeros(1, 64, dtype=torch.int64)
    found, kept = [], []
    for again in (False, True):
        client.load(folder, dtype=dtype, loading={**LOADING, "gradient_checkpointing": again})
        model = client.operations.models["m"]
        client.accumulate(batch, ALL_STREAMS)
        found.append(client.gradients())
        if again:
            with checkpointed(model.network, drops=False):
                kept.append(saved_bytes(lambda m=model: m.hidden_states(ids), model.network))
        else:
            kept.append(saved_bytes(lambda m=model: m.hidden_states(ids), model.network))
    assert len(layers_of(model.network)) == 2
    assert not any("forward" in vars(layer) for layer in layers_of(model.network))
    assert kept[1] < kept[0] / 5
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


def test_lora_drops_the_same_when_layers_are_computed_again(client: Client, folder: str) -> None:
    batch = batch_of(np.random.default_rng(18), [9, 12])
    lora = {"rank": 4, "alpha": 8.0, "dropout": 0.5, "target_modules": ["q_proj"]}
    found = []
    for again in (False, True):
        client.load(folder, lora=lora, loading={**LOADING, "gradient_checkpointing": again})
        client.accumulate(batch, ALL_STREAMS)
        found.append(client.gradients())
    assert any(bool(gradient.any()) for gradient in found[0].values())
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


def test_layers_have_the_forward_again_that_they_had(client: Client, folder: str) -> None:
    client.load(folder)
    network = client.operations.models["m"].network
    first, second = layers_of(network)
    calls = []

    def hooked(*given: Any, **keywords: Any) -> Any:
        calls.append(1)
        return type(first).forward(first, *given, **keywords)

    first.forward = hooked
    with checkpointed(network, drops=False):
        network(input_ids=torch.ones(1, 3, dtype=torch.int64))
    assert calls == [1]
    assert first.forward is hooked
    assert "forward" not in vars(second)


def test_micro_batches_of_sequences_of_like_length() -> None:
    lengths = np.array([100, 40, 99, 88, 87, 86, 30, 10, 5])
    parts = [lengths[part].tolist() for part in micro_batches(lengths, 300, enough=200)]
    # 87 is shorter than 100 by more than an eighth; 40 goes with it, for 200 are not reached.
    assert parts == [[100, 99, 88], [87, 86, 40], [30, 10, 5]]
    # What is left then would be less than 200, and fits.
    parts = [lengths[part].tolist() for part in micro_batches(lengths, 522, enough=200)]
    assert parts == [[100, 99, 88], [87, 86, 40, 30, 10, 5]]
    parts = [lengths[part].tolist() for part in micro_batches(lengths, 200, enough=200)]
    assert parts[0] == [100, 99]
    assert sorted(length for part in parts for length in part) == sorted(lengths.tolist())


@pytest.mark.parametrize("kind", ["causal", "value"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_planned_bytes_are_those_in_use(client: Client, folder: str, kind: str, dtype: str) -> None:
    client.load(folder, kind=kind, dtype=dtype)
    model = client.operations.models["m"]
    batch = batch_of(np.random.default_rng(5), [11, 4])
    streams = ALL_STREAMS
    if kind == "value":
        ones = np.ones(15, np.float32)
        texts = {name: batch[name] for name in ("ids", "cu_seqlens", "mask")}
        batch = {**texts, "value.returns": ones, "value.old_values": ones}
        streams = [{"kind": "value", "coefficient": 1.0, "clip": None}]
    client.accumulate(batch, streams)
    client.step()
    client.accumulate(batch, streams)
    assert model.optimizer is not None
    used = [*model.network.parameters()]
    for parameter in model.optimizer.parameters.values():
        used += [parameter.grad] if model.masters is None else [parameter.grad, parameter]
    used += [p for _, p in model.named_parameters()] if model.masters is None else []
    moments = [t for n, t in model.optimizer.state().items() if not n.endswith(".step")]
    served = model.engine._snapshot.values() if model.engine is not None else []
    tensors = {id(t): t for t in (*used, *moments, *served)}.values()
    counted = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert memory.weights_of(model).total == pytest.approx(counted, rel=0.03)


def test_eager_attention_keeps_more_the_longer_a_sequence_is(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = {**LOADING, "attn_implementation": "eager", "memory_share": 1}
    client.load(folder, loading=loading)
    model = client.operations.models["m"]
    model.activations = memory.count_activations(model)
    kept, recomputed = model.activations
    for length in (16, 24, 48):
        ids = torch.zeros(1, length, dtype=torch.int64)
        each = saved_bytes(lambda ids=ids: model.hidden_states(ids), model.network) / length
        assert kept.of(length - 16) - kept.passing == pytest.approx(each, rel=0.02)
    assert recomputed.of(32) - recomputed.of(0) == pytest.approx(32 * kept.by_length / 2, rel=0.02)
    monkeypatch.setattr(memory, "device_bytes", lambda _: 2**30)
    monkeypatch.setattr(memory, "_fixed", {})
    short, long = (memory.tokens_that_fit(model, length) for length in (16, 64))
    assert short
    assert long
    assert short / long == pytest.approx(kept.of(48) / kept.of(0), rel=0.01)


def test_micro_batches_follow_from_the_device_and_the_models_on_it(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder, dtype="bfloat16", loading={**LOADING, "memory_share": 0.25})
    model = client.operations.models["m"]
    monkeypatch.setattr(memory, "_fixed", {})
    model.activations = memory.count_activations(model)
    memory.register(model)
    kept, recomputed = model.activations
    fixed = memory.weights_of(model).total

    def device_of(tokens: int) -> int:
        """The bytes of a device on which this many tokens fit."""
        bytes_needed = fixed + tokens * (kept.kept + kept.passing)
        return int(bytes_needed / (0.25 * memory.USABLE - memory.LOGIT_BYTES / 320)) + 1

    for tokens, longest, chosen, again in (
        (10_000, 100, 10_000, False),
        (10**6, 100, 32768, False),
        (5000, 6000, None, True),  # the longest would not fit
        (1000, 100, None, True),  # too few at once
    ):
        monkeypatch.setattr(memory, "device_bytes", lambda _, n=tokens: device_of(n))
        assert memory.recomputes(model, longest) is again
        size = choose_micro_batch(model, longest)
        if again:
            ratio = (kept.kept + kept.passing) / (recomputed.kept + recomputed.passing)
            assert ratio > 1.3
            assert size == pytest.approx(tokens * ratio, rel=0.01)
        else:
            assert size == pytest.approx(chosen, rel=0.01)
    monkeypatch.setattr(memory, "device_bytes", lambda _: device_of(10_000))
    memory._fixed[model.device, "another"] = fixed + 5000 * (kept.kept + kept.passing)
    assert choose_micro_batch(model, 100) < 5001


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("again", [False, True])
def test_planned_activations_are_those_in_use_on_cuda(
    client: Client, tmp_path: Path, again: bool
) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    llama(
        2000, hidden_size=512, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=8
    ).save_pretrained(tmp_path)
    loading = {**LOADING, "gradient_checkpointing": again}
    client.load(tmp_path, device="cuda", dtype="bfloat16", loading=loading)
    model = client.operations.models["m"]
    batch = batch_of(np.random.default_rng(5), [256] * 32)
    tokens = 255 * 32
    client.accumulate(batch, ALL_STREAMS, micro_batch_tokens=tokens + 32)
    client.step()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    client.accumulate(batch, ALL_STREAMS, micro_batch_tokens=tokens + 32)
    used = torch.cuda.max_memory_allocated() - before
    assert model.activations is not None
    activations = model.activations[again]
    planned = memory.weights_of(model).gradients
    planned += tokens * (activations.kept + activations.passing)
    planned += int(batch["mask"].sum()) * 2000 * memory.LOGIT_BYTES
    assert 0.4 * planned < used < 1.1 * planned
