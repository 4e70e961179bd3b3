"""What is planned of a model before it is loaded is what it takes once it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import LOADING, Client, llama, word_tokenizer
from genac_bridge import planner
from genac_bridge.models import memory
from genac_bridge.wire.context import BadArguments, OperationError

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
ADAM = {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01}


def arguments(source: str | Path, **changes: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "source": str(source),
        "kind": "causal",
        "bounded": False,
        "initialization": "random",
        "seed": 0,
        "device": "cpu",
        "dtype": "float32",
        "loading": LOADING,
        "lora": None,
        "optimizer": ADAM,
        **changes,
    }


def plan_of(model: dict[str, Any], device_bytes: int | None = None) -> dict[str, Any]:
    return planner.plan([model], device_bytes)[0]


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As wide for its heads as models are."""
    path = tmp_path_factory.mktemp("wide")
    word_tokenizer().save_pretrained(path)
    llama(47, hidden_size=256, intermediate_size=768).save_pretrained(path)
    return str(path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora": LORA},
        {"kind": "value"},
        {"optimizer": None},
        {"loading": {**LOADING, "offload_optimizer": True}},
    ],
    ids=["full", "lora", "value", "frozen", "offloaded"],
)
def test_planned_as_loaded(
    client: Client, wide_folder: str, dtype: str, changes: dict[str, Any]
) -> None:
    client.load(wide_folder, dtype=dtype, **changes)
    model = client.operations.models["m"]
    planned = plan_of(arguments(wide_folder, dtype=dtype, **changes), device_bytes=2**30)
    weights = memory.weights_of(model)
    sizes = planned["bytes"]
    assert {name: sizes[name] for name in sizes if name != "logits"} == vars(weights)
    assert planned["weights"] == sum(p.numel() for p in model.network.parameters())
    assert planned["dtype"] == dtype
    kept, recomputed = memory.count_activations(model)
    # Attention without its kernel keeps the probabilities, too.
    assert planned["kept_per_token"] == pytest.approx(kept.kept + kept.passing, rel=0.15)
    assert planned["recomputed_per_token"] == pytest.approx(
        recomputed.kept + recomputed.passing, rel=0.15
    )
    # 2 layers of 4 heads, 256 wide together; 1 key-value head of 64 keys and 64 values.
    size = 2 if dtype == "bfloat16" else 4
    assert planned["cache_per_token"] == (0 if changes.get("kind") == "value" else 2 * 128 * size)


def test_tokens_are_what_is_left(folder: str) -> None:
    total = 2**30
    planned = plan_of(arguments(folder), device_bytes=total)
    left = 0.9 * 0.5 * total - sum(planned["bytes"].values())
    assert planned["share"] == 0.5
    assert planned["tokens"] == pytest.approx(left / planned["kept_per_token"], abs=1)
    assert planned["tokens_recomputed"] == pytest.approx(
        left / planned["recomputed_per_token"], abs=1
    )
    assert plan_of(arguments(folder), device_bytes=1000)["tokens"] == 0
    on_cpu = plan_of(arguments(folder))
    assert on_cpu["tokens"] is None
    assert on_cpu["device_bytes"] is None


@pytest.mark.parametrize(
    ("options", "served"),
    [
        ({}, 0.45 * 0.5 * 2**30),
        ({"gpu_memory_utilization": 0.25}, 2**28),
        ({"kv_cache_memory_bytes": 10**6}, 10**6),
    ],
)
def test_vllm_takes_what_its_options_say(
    folder: str, options: dict[str, Any], served: float
) -> None:
    loading = {**LOADING, "engine": "vllm", "engine_options": options}
    planned = plan_of(arguments(folder, loading=loading), device_bytes=2**30)
    weights = planned["bytes"]["network"] if "kv_cache_memory_bytes" in options else 0
    assert planned["bytes"]["served"] == int(served) + weights
    left = 0.9 * 0.5 * 2**30 - sum(planned["bytes"].values())
    assert planned["tokens"] == pytest.approx(left / planned["kept_per_token"], abs=1)


def test_a_saved_adapter_is_planned_over_its_base(
    client: Client, folder: str, tmp_path: Path
) -> None:
    client.load(folder, optimizer=None)
    client.run("save_model", model="m", path=str(tmp_path / "base"), optimizer=False)
    pretrained = {"initialization": "pretrained"}
    client.load(tmp_path / "base", lora=LORA, **pretrained)
    client.run("save_model", model="m", path=str(tmp_path / "adapter"), optimizer=False)
    of_adapter = plan_of(arguments(tmp_path / "adapter", **pretrained))
    of_base = plan_of(arguments(tmp_path / "base", **pretrained, lora=LORA))
    assert of_adapter == of_base
    assert of_base["trained"] == 2 * 4 * (32 + 32 + 32 + 8)


def test_what_does_not_fit_is_refused_before_it_is_loaded(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "device_bytes", lambda _: 250_000)
    monkeypatch.setattr(memory, "_fixed", {(torch.device("cpu"), "other"): 2**30})
    monkeypatch.setattr("genac_bridge.loading.load", lambda _: pytest.fail("it was loaded"))
    with pytest.raises(
        OperationError,
        match=r"model 'm' needs 0\.0 GiB \(0\.0 network, .* moments, 0\.0 served\), and its device "
        r"has 0\.0, of which other models of this worker take 1\.0; use lora",
    ) as caught:
        client.load(folder)
    assert caught.value.code == "bad_arguments"


def test_what_can_not_be_planned_says_so(folder: str, tmp_path: Path) -> None:
    loading = {**LOADING, "quantization_config": {"load_in_4bit": True}}
    quantized = plan_of(arguments(folder, loading=loading))
    assert "is quantized; its size is known once it is loaded" in quantized["reason"]
    assert "can't be planned" in plan_of(arguments(tmp_path))["reason"]
    with pytest.raises(BadArguments, match=r"plan: .*kind"):
        plan_of(arguments(folder, kind="other"))


def test_a_folder_of_quantized_weights_can_not_be_planned(
    client: Client, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its layers are smaller than those that its config makes. It is not refused before it is
    loaded, either.
    """
    quantized = tmp_path / "quantized"
    shutil.copytree(folder, quantized)
    config = json.loads((quantized / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (quantized / "config.json").write_text(json.dumps(config))
    adapter = tmp_path / "adapter"
    client.load(folder, lora=LORA)
    client.operations.models["m"].network.save_pretrained(adapter)
    names = json.loads((adapter / "adapter_config.json").read_text())
    names["base_model_name_or_path"] = str(quantized)
    (adapter / "adapter_config.json").write_text(json.dumps(names))
    for source in (quantized, adapter):
        asked = arguments(source, initialization="pretrained")
        assert "is quantized; its size is known once it is loaded" in plan_of(asked)["reason"]
    assert "reason" not in plan_of(arguments(quantized))  # drawn: its weights are not quantized
    monkeypatch.setattr(memory, "device_bytes", lambda _: 1000)
    monkeypatch.setattr("genac_bridge.loading.load", _reached)
    with pytest.raises(OperationError, match="it was reached"):
        client.load(str(quantized), initialization="pretrained")


def _reached(*_: Any) -> Any:
    raise BadArguments("it was reached")


def test_models_of_one_worker_share_its_part(folder: str) -> None:
    total = 2**30
    alone = plan_of(arguments(folder), total)
    actor, critic = planner.plan([arguments(folder), arguments(folder, kind="value")], total)
    assert critic["bytes"]["served"] == 0
    beside = sum(critic["bytes"].values())
    assert actor["tokens"] == pytest.approx(
        alone["tokens"] - beside / alone["kept_per_token"], abs=1
    )
