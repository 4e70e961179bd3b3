"""Saving and restoring: exact, and refused in words where a folder is not whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import Client, ragged, word_tokenizer
from genac_bridge.checkpoints import STATE
from genac_bridge.wire.context import OperationError

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.3, "target_modules": ["q_proj", "v_proj"]}
SETUPS: list[dict[str, Any]] = [
    {},
    {"kind": "value"},
    {"lora": LORA},
    {"kind": "value", "lora": LORA},
]
NAMES = ["causal", "value", "lora", "value-lora"]


def train(client: Client, steps: int, kind: str = "causal", model: str = "m") -> None:
    """Steps on batches that depend on the model's step alone, as a resumed run would have them."""
    for _ in range(steps):
        step = client.operations.models[model].step
        random = np.random.default_rng(step)
        batch = ragged(random, [7, 12, 4])
        mask = np.ones(23, np.float32)
        mask[batch["cu_seqlens"][:-1]] = 0
        if kind == "value":
            streams: list[dict[str, Any]] = [{"kind": "value", "coefficient": 1.0, "clip": 0.2}]
            inputs = {
                "value.returns": random.random(23).astype(np.float32),
                "value.old_values": np.zeros(23, np.float32),
            }
        else:
            streams = [{"kind": "ce", "coefficient": 1.0}]
            inputs = {"ce.weights": random.normal(size=23).astype(np.float32)}
        client.accumulate({**batch, "mask": mask, **inputs}, streams, normalizer=10.0, model=model)
        client.step(expected_step=step, model=model, max_grad_norm=1.0)


def save(client: Client, path: Path, optimizer: bool = True, model: str = "m") -> dict[str, Any]:
    return client.run("save_model", model=model, path=str(path), optimizer=optimizer)[0]


def restore(client: Client, path: Path, model: str = "m") -> dict[str, Any]:
    return client.run("restore_model", model=model, path=str(path))[0]


@pytest.mark.parametrize("setup", SETUPS, ids=NAMES)
def test_training_on_after_restore_is_bit_equal(
    folder: str, tmp_path: Path, setup: dict[str, Any]
) -> None:
    kind = setup.get("kind", "causal")
    first = Client()
    first.load(folder, **setup)
    train(first, 3, kind)
    first.run("publish", model="m")
    saved = save(first, tmp_path)
    assert saved["step"] == 3
    assert saved["bytes"] == sum(file.stat().st_size for file in tmp_path.iterdir())
    train(first, 3, kind)

    second = Client()
    second.load(folder, **setup)
    train(second, 1, kind)  # what stood there before must not matter
    assert restore(second, tmp_path) == {"step": 3, "version": 3}
    train(second, 3, kind)
    for name, weight in first.weights().items():
        assert torch.equal(weight, second.weights()[name]), name
    assert first.run("publish", model="m")[0] == second.run("publish", model="m")[0]


def test_a_saved_folder_is_a_hugging_face_folder(
    client: Client, folder: str, tmp_path: Path
) -> None:
    client.load(folder)
    train(client, 2)
    save(client, tmp_path, optimizer=False)
    assert not (tmp_path / "genac_state.safetensors").exists()
    network = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, weight in network.named_parameters():
        assert torch.equal(weight, client.weights()[name])
    assert (
        AutoTokenizer.from_pretrained(tmp_path)("w1 w2")["input_ids"]
        == word_tokenizer()("w1 w2")["input_ids"]
    )
    client.load(tmp_path, "again", initialization="pretrained")
    assert client.operations.models["again"].step == 0


def test_a_value_model_starts_from_a_causal_folder_and_keeps_its_head(
    client: Client, folder: str, tmp_path: Path
) -> None:
    client.load(folder)
    save(client, tmp_path / "causal")
    client.load(tmp_path / "causal", "v", kind="value", initialization="pretrained")
    train(client, 2, "value", model="v")
    save(client, tmp_path / "value", model="v")
    client.load(tmp_path / "value", "w", kind="value", initialization="pretrained")
    for name, weight in client.weights("v").items():
        assert torch.equal(weight, client.weights("w")[name]), name
    assert client.weights("w")["value_head.weight"].abs().sum() > 0


def test_a_saved_adapter_loads_over_its_base(client: Client, folder: str, tmp_path: Path) -> None:
    client.load(folder)
    save(client, tmp_path / "base", optimizer=False)
    client.load(tmp_path / "base", initialization="pretrained", lora={**LORA, "dropout": 0.0})
    train(client, 2)
    save(client, tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists(), (
        "the base is not written again"
    )
    client.load(tmp_path / "adapter", "again", initialization="pretrained")
    batch = ragged(np.random.default_rng(0), [9])
    np.testing.assert_array_equal(
        client.score(batch)["logprobs"], client.score(batch, model="again")["logprobs"]
    )
    train(client, 1, model="again")
    with pytest.raises(OperationError, match="already is a LoRA adapter"):
        client.load(tmp_path / "adapter", "x", initialization="pretrained", lora=LORA)


def damage(path: Path, how: str) -> None:
    if how == "missing weights":
        os.remove(path / "model.safetensors")
    elif how == "cut-off weights":
        data = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(data[: len(data) // 2])
    elif how == "changed weights":
        data = bytearray((path / "model.safetensors").read_bytes())
        data[-100:] = bytes(100)
        (path / "model.safetensors").write_bytes(bytes(data))
    elif how == "missing state":
        os.remove(path / "genac_state.safetensors")
    else:
        data = (path / "genac_state.safetensors").read_bytes()
        (path / "genac_state.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing weights", "lacks model.safetensors, which was saved with it"),
        (
            "cut-off weights",
            r"model.safetensors' has \d+ bytes instead of \d+: it is cut off or was changed",
        ),
        ("changed weights", "its weights are not those that were saved"),
        (
            "missing state",
            "has no genac_state.safetensors: it was saved without the optimizer, or the save was "
            "cut off",
        ),
        ("cut-off state", "genac_state.safetensors' is damaged or cut off"),
    ],
)
def test_a_damaged_folder_is_refused_and_the_model_stays(
    client: Client, folder: str, tmp_path: Path, how: str, words: str
) -> None:
    client.load(folder)
    train(client, 2)
    save(client, tmp_path)
    train(client, 1)
    before, state = client.weights(), client.operations.models["m"].optimizer.state()  # type: ignore[union-attr]  # loaded with one
    damage(tmp_path, how)
    with pytest.raises(OperationError, match=words) as caught:
        restore(client, tmp_path)
    assert caught.value.code == "bad_arguments"
    assert "\n" not in str(caught.value)
    assert client.operations.models["m"].step == 3
    assert all(torch.equal(before[name], weight) for name, weight in client.weights().items())
    after = client.operations.models["m"].optimizer.state()  # type: ignore[union-attr]  # loaded with one
    assert all(torch.equal(state[name], after[name]) for name in state)


def test_a_changed_adapter_or_head_is_refused_and_the_model_stays(
    client: Client, folder: str, tmp_path: Path
) -> None:
    for number, setup in enumerate(SETUPS[1:]):
        kind = setup.get("kind", "causal")
        client.load(folder, **setup)
        train(client, 2, kind)
        for name in ("adapter_model.safetensors", "value_head.safetensors"):
            path = tmp_path / f"{number}-{name}"
            save(client, path)
            if not (path / name).exists():
                continue
            with safe_open(path / name, "pt") as file:
                metadata = file.metadata()
            tensors = load_file(path / name)
            tensors[max(tensors)][0] += 0.25
            save_file(tensors, path / name, metadata)
            assert_refused(client, path, "its weights are not those that were saved")


def assert_refused(client: Client, path: Path, words: str, model: str = "m") -> None:
    """That restoring says so and changes nothing."""
    loaded = client.operations.models[model]
    before, step = client.weights(model), loaded.step
    state = {} if loaded.optimizer is None else loaded.optimizer.state()
    with pytest.raises(OperationError, match=words) as caught:
        restore(client, path, model)
    assert caught.value.code == "bad_arguments"
    assert loaded.step == step
    assert all(torch.equal(before[name], new) for name, new in client.weights(model).items())
    after = {} if loaded.optimizer is None else loaded.optimizer.state()
    assert all(torch.equal(tensor, after[name]) for name, tensor in state.items())


@pytest.mark.parametrize("setup", SETUPS, ids=NAMES)
@pytest.mark.parametrize("what", ["exp_avg", "exp_avg_sq"])
def test_moments_that_are_not_finite_are_refused_and_the_model_stays(
    client: Client, folder: str, tmp_path: Path, setup: dict[str, Any], what: str
) -> None:
    client.load(folder, **setup)
    train(client, 2, setup.get("kind", "causal"))
    save(client, tmp_path)
    train(client, 1, setup.get("kind", "causal"))
    with safe_open(tmp_path / STATE, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / STATE)
    tensors[max(name for name in tensors if name.endswith(what))].flatten()[-1] = torch.inf
    save_file(tensors, tmp_path / STATE, metadata)
    assert_refused(client, tmp_path, f"its optimizer.*{what} is not finite")


@pytest.mark.parametrize("setup", SETUPS, ids=NAMES)
def test_broken_weights_are_refused_by_name(
    client: Client, folder: str, tmp_path: Path, setup: dict[str, Any]
) -> None:
    client.load(folder, "broken", **setup)
    with torch.no_grad():
        weight = next(
            w
            for name, w in client.operations.models["broken"].named_parameters()
            if w.requires_grad and ".1." in name and "q_proj" in name
        )
        weight[-1, -1] = -torch.inf
    save(client, tmp_path, model="broken")
    client.load(folder, **setup)
    assert_refused(client, tmp_path, "its weights are broken: .*1.self_attn.q_proj.* is not finite")


def test_an_adapter_goes_on_in_another_dtype(client: Client, folder: str, tmp_path: Path) -> None:
    client.load(folder, dtype="bfloat16", lora=LORA)
    train(client, 2)
    save(client, tmp_path)
    trained = client.weights()
    client.load(folder, lora=LORA)
    assert restore(client, tmp_path)["step"] == 2
    for name, weight in client.weights().items():
        assert "lora" not in name or torch.equal(weight, trained[name])


@pytest.mark.parametrize("optimizer", [True, False])
@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"bins": 21}, "has 21 bins, and one number was asked for"),
        ({"bounded": True}, r"has one number between 0 and 1 \(bounded\), and one number was"),
    ],
)
@pytest.mark.parametrize("steps", [0, 1])
def test_a_head_of_another_kind_is_refused_and_the_model_stays(
    client: Client,
    folder: str,
    tmp_path: Path,
    optimizer: bool,
    saved: dict[str, Any],
    words: str,
    steps: int,
) -> None:
    client.load(folder, "other", kind="value", **saved)
    client.operations.models["other"].step = steps
    save(client, tmp_path, model="other")
    client.load(folder, kind="value", seed=1, **({} if optimizer else {"optimizer": None}))
    assert_refused(client, tmp_path, f"restore_model: the value head .* {words}")


@pytest.mark.parametrize(
    ("known", "refused"),
    [("1", None), ("2", "digest differs"), ("3", "reads '2' and '1'")],
)
def test_a_folder_of_an_earlier_version_can_be_restored(
    client: Client, folder: str, tmp_path: Path, known: str, refused: str | None
) -> None:
    """The first format had another digest."""
    client.load(folder)
    train(client, 2)
    save(client, tmp_path)
    state = tmp_path / STATE
    with safe_open(state, "pt") as file:
        metadata = {**file.metadata(), "format": known, "digest": "0123456789abcdef"}
    save_file(load_file(state), state, metadata)
    train(client, 1)
    if refused is None:
        assert restore(client, tmp_path)["step"] == 2
    else:
        with pytest.raises(OperationError, match=refused):
            restore(client, tmp_path)


def test_a_folder_of_another_model_is_refused(
    client: Client, folder: str, byte_folder: str, tmp_path: Path
) -> None:
    client.load(folder)
    train(client, 1)
    save(client, tmp_path)
    client.load(byte_folder, "other")
    with pytest.raises(
        OperationError,
        match=r"does not fit model 'other': .* has shape \[47, 32\], the parameter \[\d+, 32\]",
    ):
        restore(client, tmp_path, "other")
    client.load(folder, "v", kind="value")
    with pytest.raises(OperationError, match="holds a causal model, 'v' is a value model"):
        restore(client, tmp_path, "v")
    client.load(folder, "l", lora=LORA)
    with pytest.raises(OperationError, match="differ in having LoRA"):
        restore(client, tmp_path, "l")
    with pytest.raises(OperationError, match="there is no folder"):
        restore(client, tmp_path / "nowhere")


def test_state_of_a_frozen_model_is_not_mistaken_for_training_state(
    client: Client, folder: str, tmp_path: Path
) -> None:
    client.load(folder)
    train(client, 1)
    save(client, tmp_path)
    client.load(folder, "frozen", optimizer=None)
    assert restore(client, tmp_path, "frozen")["step"] == 1
    assert all(
        torch.equal(weight, client.weights()[name])
        for name, weight in client.weights("frozen").items()
    )
    save(client, tmp_path, model="frozen")
    with pytest.raises(OperationError, match="saved from a frozen model, without optimizer state"):
        restore(client, tmp_path)


def test_restoring_the_start_forgets_the_moments(
    client: Client, folder: str, tmp_path: Path
) -> None:
    client.load(folder)
    save(client, tmp_path)
    train(client, 2)
    once = client.weights()
    assert restore(client, tmp_path) == {"step": 0, "version": 0}
    train(client, 2)
    assert all(torch.equal(once[name], weight) for name, weight in client.weights().items())


def test_restore_clears_the_gradient(client: Client, folder: str, tmp_path: Path) -> None:
    client.load(folder)
    save(client, tmp_path)
    batch = ragged(np.random.default_rng(0), [4])
    mask = np.array([0, 1, 1, 1], np.float32)
    client.accumulate(
        {**batch, "mask": mask, "ce.weights": mask}, [{"kind": "ce", "coefficient": 1.0}]
    )
    restore(client, tmp_path)
    with pytest.raises(OperationError, match="0 accumulations"):
        client.step()


def test_a_path_that_can_not_be_written_says_so(
    client: Client, folder: str, tmp_path: Path
) -> None:
    client.load(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationError, match="could not be written"):
        save(client, tmp_path / "file" / "inside")
