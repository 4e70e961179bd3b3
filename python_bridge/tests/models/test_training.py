"""`score`, `accumulate` and `step` against a float64 reference with explicit loops, one sequence
and one token at a time.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training_batches import ALL_STREAMS, batch_of, reference_logits, reference_loss

from conftest import Client, ragged, split
from genac_bridge.wire.context import OperationError


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_losses_and_gradients_match_the_reference(
    client: Client, folder: str, temperature: float
) -> None:
    client.load(folder)
    network = copy.deepcopy(client.operations.models["m"].network).double()
    batch = batch_of(np.random.default_rng(3), [7, 1, 12, 2, 30, 5])
    result = client.accumulate(
        batch, ALL_STREAMS, normalizer=3.0, temperature=temperature, micro_batch_tokens=24
    )
    loss, counts = reference_loss(network, batch, temperature)
    (loss / 3.0).backward()
    assert counts["clipped_low"] > 0
    assert counts["clipped_high"] > 0
    for name, value in counts.items():
        assert result["statistics"][name] == pytest.approx(value, rel=1e-4, abs=1e-4), name
    assert result["statistics"]["loss"] == pytest.approx(loss.item() / 3.0, rel=1e-4)
    for (name, gradient), parameter in zip(
        client.gradients().items(), network.parameters(), strict=True
    ):
        assert parameter.grad is not None
        torch.testing.assert_close(
            gradient.double(),
            parameter.grad,
            rtol=1e-3,
            atol=2e-5,
            msg=lambda m, name=name: f"{name}: {m}",
        )


def test_scores_match_the_reference(client: Client, folder: str) -> None:
    client.load(folder)
    network = copy.deepcopy(client.operations.models["m"].network).double()
    batch = ragged(np.random.default_rng(4), [5, 0, 17, 1, 9])
    out = client.score(batch, temperature=0.8, entropy=True, micro_batch_tokens=20)
    ids = split(batch["ids"], batch["cu_seqlens"])
    logprobs, entropies = (
        split(out["logprobs"], batch["cu_seqlens"]),
        split(out["entropies"], batch["cu_seqlens"]),
    )
    for sequence, logs, entropy in zip(ids, logprobs, entropies, strict=True):
        if len(sequence) == 0:
            continue
        assert logs[0] == 0
        assert entropy[0] == 0
        full = torch.log_softmax(reference_logits(network, sequence) / 0.8, -1).detach().numpy()
        for i in range(1, len(sequence)):
            assert logs[i] == pytest.approx(full[i - 1, sequence[i]], abs=2e-5)
            assert entropy[i] == pytest.approx(-(np.exp(full[i - 1]) * full[i - 1]).sum(), abs=2e-5)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_each_weight_meets_its_own_token(folder: str, data: st.DataObject) -> None:
    """Whatever the raggedness: the gradient of a batch is that of lone tokens, each with the weight
    at its own index.
    """
    lengths = data.draw(
        st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(lambda found: max(found) > 1)
    )
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    limit = data.draw(st.integers(1, 40))
    client = aligned_client(folder)
    batch = ragged(random, lengths)
    cu = batch["cu_seqlens"]
    total = len(batch["ids"])
    candidates = [i for i in range(total) if i not in set(cu.tolist())]
    marked = data.draw(st.sets(st.sampled_from(candidates), min_size=1, max_size=3))
    mask = np.zeros(total, np.float32)
    mask[list(marked)] = 1
    # Every weight is different, so a weight that slipped to a neighbour would show.
    weights = (np.arange(total) + 1).astype(np.float32)
    client.operations.models["m"].optimizer.clear()  # type: ignore[union-attr]  # loaded with one
    client.accumulate(
        {**batch, "mask": mask, "ce.weights": weights},
        [{"kind": "ce", "coefficient": 1.0}],
        micro_batch_tokens=limit,
    )
    found = client.gradients()
    network = client.operations.models["m"].network
    loss = torch.zeros(())
    for s in range(len(cu) - 1):
        for i in range(cu[s], cu[s + 1]):
            if i in marked:
                # Nothing but what stands before the token is shown to the model.
                logits = reference_logits(network, batch["ids"][cu[s] : i])[-1]
                loss = loss - weights[i] * torch.log_softmax(logits, -1)[batch["ids"][i]]
    expected = torch.autograd.grad(loss, list(network.parameters()))
    for gradient, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=2e-3, atol=2e-4)


_aligned: dict[str, Client] = {}


def aligned_client(folder: str) -> Client:
    if folder not in _aligned:
        _aligned[folder] = Client()
        _aligned[folder].load(folder)
    return _aligned[folder]


def test_micro_batches_do_not_change_the_gradient(client: Client, folder: str) -> None:
    batch = batch_of(np.random.default_rng(5), [11, 4, 9, 11, 3, 16, 8, 2])
    found = []
    for limit in (1, 25, 10_000):
        client.load(folder)
        statistics = client.accumulate(
            batch, ALL_STREAMS, normalizer=2.0, micro_batch_tokens=limit
        )["statistics"]
        found.append((statistics, client.gradients()))
    for statistics, gradients in found[1:]:
        assert statistics == pytest.approx(found[0][0], rel=1e-5, abs=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[0][1][name], rtol=1e-4, atol=1e-5)


def test_eight_accumulations_of_one_equal_one_of_eight(client: Client, folder: str) -> None:
    batch = batch_of(np.random.default_rng(6), [6] * 8)
    client.load(folder)
    client.accumulate(batch, ALL_STREAMS, normalizer=8.0)
    whole = client.gradients()
    client.load(folder)
    for k in range(8):
        part = {
            name: values[6 * k : 6 * k + 6].copy()
            for name, values in batch.items()
            if name != "cu_seqlens"
        }
        part["cu_seqlens"] = np.array([0, 6], np.int32)
        assert client.accumulate(part, ALL_STREAMS, normalizer=8.0)["accumulations"] == k + 1
    for name, gradient in client.gradients().items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)


def test_step_is_adamw_with_clipping_and_decay_of_matrices_only(
    client: Client, folder: str
) -> None:
    client.load(folder, optimizer={"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1})
    batch = batch_of(np.random.default_rng(7), [9, 9])
    before = client.weights()
    client.accumulate(batch, ALL_STREAMS)
    gradients = client.gradients()
    result = client.step(learning_rate=0.01, max_grad_norm=0.5)
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
    assert result["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert norm > 0.5, "the case must clip"
    change = 0.0
    for name, old in before.items():
        g = gradients[name].double() * 0.5 / norm
        # The first step of Adam: m / sqrt(v) = g / |g|, both moments free of bias.
        decay = 0.1 if old.ndim == 2 else 0.0
        expected = old.double() * (1 - 0.01 * decay) - 0.01 * g / (g.abs() + 1e-8)
        new = client.weights()[name].double()
        torch.testing.assert_close(new, expected, rtol=1e-4, atol=1e-5)
        change += float((new - old.double()).square().sum())
    assert result["update_norm"] == pytest.approx(math.sqrt(change), rel=1e-5)
    assert result["step"] == 1
    assert all(float(g.abs().sum()) == 0 for g in client.gradients().values()), (
        "the gradient was not cleared"
    )


def test_step_is_a_fence(client: Client, folder: str) -> None:
    client.load(folder)
    batch = batch_of(np.random.default_rng(8), [5, 5])
    with pytest.raises(
        OperationError, match="0 accumulations stand in the gradient of model 'm', not 1"
    ):
        client.step()
    client.accumulate(batch, ALL_STREAMS)
    with pytest.raises(OperationError, match="is at step 0, not 3"):
        client.step(expected_step=3)
    with pytest.raises(
        OperationError, match="1 accumulations stand in the gradient of model 'm', not 2"
    ):
        client.step(expected_accumulations=2)
    assert client.step()["step"] == 1


def test_an_empty_mask_counts_as_an_accumulation_of_nothing(client: Client, folder: str) -> None:
    client.load(folder)
    batch = batch_of(np.random.default_rng(9), [5, 5])
    batch["mask"] = np.zeros(10, np.float32)
    result = client.accumulate(batch, ALL_STREAMS)
    assert result["accumulations"] == 1
    assert result["statistics"]["tokens"] == 0
    before = client.weights()
    assert client.step()["update_norm"] == 0
    assert all(torch.equal(before[name], new) for name, new in client.weights().items())


def test_bfloat16_computes_near_float32_over_float32_weights(client: Client, folder: str) -> None:
    batch = batch_of(np.random.default_rng(14), [20, 14, 9])
    client.load(folder)
    plain = client.score({"ids": batch["ids"], "cu_seqlens": batch["cu_seqlens"]})["logprobs"]
    client.accumulate(batch, ALL_STREAMS)
    gradients = client.gradients()
    assert client.load(folder, dtype="bfloat16")["dtype"] == "bfloat16"
    half = client.score({"ids": batch["ids"], "cu_seqlens": batch["cu_seqlens"]})["logprobs"]
    assert 1e-5 < np.abs(plain - half).max() < 0.1, "bfloat16 must show, and must not show much"
    client.accumulate(batch, ALL_STREAMS)
    for name, gradient in client.gradients().items():
        assert gradient.dtype == torch.float32
        relative = float((gradient - gradients[name]).norm() / gradients[name].norm())
        assert relative < 0.1, name
    client.step()
    assert all(weight.dtype == torch.float32 for weight in client.weights().values())


def test_lora_trains_its_own_weights_only(client: Client, folder: str) -> None:
    lora = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
    loaded = client.load(folder, lora=lora)
    # Two layers: q 32 -> 32 and v 32 -> 8, each rank x (in + out).
    assert loaded["trainable_parameters"] == 2 * 4 * (32 + 32 + 32 + 8)
    assert loaded["parameters"] == 16000 + loaded["trainable_parameters"]
    before = client.weights()
    batch = batch_of(np.random.default_rng(17), [9, 12])
    client.accumulate(batch, ALL_STREAMS)
    client.step()
    moved = {name for name, new in client.weights().items() if not torch.equal(before[name], new)}
    assert moved == {name for name in before if "lora_B" in name} | {
        name for name in moved if "lora_A" in name
    }
    assert len(moved) >= 4


def test_lora_dropout_drops_in_training_only(client: Client, folder: str) -> None:
    batch = batch_of(np.random.default_rng(18), [9, 12])
    found = []
    for dropout in (0.0, 0.5, 0.5):
        client.load(
            folder, lora={"rank": 4, "alpha": 8.0, "dropout": dropout, "target_modules": ["q_proj"]}
        )
        client.accumulate(batch, ALL_STREAMS)
        found.append(torch.cat([g.flatten() for g in client.gradients().values()]))
    assert not torch.allclose(found[0], found[1])
    assert torch.equal(found[1], found[2]), "the same step must drop the same"
    assert not any(module.training for module in client.operations.models["m"].network.modules())


def test_architectures_that_cap_their_logits_fall_back_to_their_own_forward(
    client: Client, folder: str, tmp_path: Any
) -> None:
    from transformers import Gemma2Config

    from conftest import word_tokenizer

    config = Gemma2Config(
        vocab_size=47, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=1, head_dim=8,
        max_position_embeddings=128, sliding_window=4,
        final_logit_softcapping=2.0, attn_logit_softcapping=None,
        eos_token_id=1, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    word_tokenizer().save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    client.load(tmp_path)
    model = client.operations.models["m"]
    assert not model.splits_head
    batch = ragged(np.random.default_rng(19), [12])
    full = torch.log_softmax(reference_logits(model.network, batch["ids"]), -1)
    expected = [0.0, *(full[i - 1, batch["ids"][i]].item() for i in range(1, 12))]
    np.testing.assert_allclose(client.score(batch)["logprobs"], expected, atol=1e-5)
    client.load(folder)
    assert client.operations.models["m"].splits_head
