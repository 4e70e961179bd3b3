"""Several GPUs in one worker, told apart without one: which is current, and what is on which."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from conftest import LOADING, Client
from genac_bridge import loading, planner
from genac_bridge.models import memory, model
from genac_bridge.wire.context import OperationError

FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The GPUs that were made the current one, in order."""
    made: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    return made


def test_a_model_s_gpu_is_current_for_each_of_its_operations(
    client: Client, folder: str, current: list[torch.device]
) -> None:
    client.load(folder, optimizer=None)
    assert current == []
    own = client.operations.models["m"]
    models = {
        name: dataclasses.replace(own, name=name, device=device)
        for name, device in (("first", FIRST), ("second", SECOND))
    }
    for name in ("second", "first", "second"):
        assert model.find(models, name) is models[name]
    assert current == [SECOND, FIRST, SECOND]


def test_a_model_is_loaded_with_its_gpu_current(
    client: Client, folder: str, current: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "choose_device", lambda _: SECOND)

    def fail(*_: Any) -> Any:
        raise OperationError("internal", "on purpose")

    monkeypatch.setattr(loading, "network_of", fail)
    monkeypatch.setattr(planner, "refuse_too_large", lambda _: None)
    with pytest.raises(OperationError, match="on purpose"):
        client.load(folder)
    assert current == [SECOND]


def test_a_gpu_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    chosen = [loading.choose_device(name) for name in ("auto", "cuda", "cuda:0", "cuda:1", "cpu")]
    assert chosen == [FIRST, FIRST, FIRST, SECOND, torch.device("cpu")]


def arguments(folder: str, name: str, device: str) -> dict[str, Any]:
    return {
        **{"model": name, "source": folder, "kind": "causal", "bounded": False, "seed": 0},
        **{"initialization": "random", "device": device, "dtype": "float32", "lora": None},
        **{"loading": LOADING, "optimizer": None},
    }


def test_models_are_planned_beside_those_of_their_gpu(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "choose_device", torch.device)
    plans = []
    for devices in (("cuda:0",), ("cuda:0", "cuda:1"), ("cuda:0", "cuda:0")):
        asked = [arguments(folder, f"m{n}", device) for n, device in enumerate(devices)]
        plans.append(planner.plan(asked, 2**30)[0]["tokens"])
    assert plans[1] == plans[0]
    assert plans[2] < plans[0]


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> dict[Any, int]:
    """What is counted of the models, on a CPU as on a GPU of 1 GiB."""
    counted: dict[Any, int] = {}
    monkeypatch.setattr(memory, "_fixed", counted)
    monkeypatch.setattr(memory, "device_bytes", lambda _: 2**30)
    return counted


def test_a_model_that_can_not_be_loaded_takes_no_memory(
    client: Client, folder: str, planned: dict[Any, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder)
    before = dict(planned)
    assert set(before) == {(torch.device("cpu"), "m")}

    def fail(*_: Any) -> Any:
        raise OperationError("internal", "on purpose")

    monkeypatch.setattr(loading, "add_engine", fail)
    for name in ("m", "other"):
        with pytest.raises(OperationError, match="on purpose"):
            client.load(folder, model=name, optimizer=None)
    assert planned == before


def test_a_model_that_moves_is_counted_where_it_is(
    client: Client, folder: str, planned: dict[Any, int]
) -> None:
    client.load(folder)
    moved = dataclasses.replace(client.operations.models["m"], device=SECOND)
    memory.register(moved)
    assert set(planned) == {(SECOND, "m")}
    assert memory.others(torch.device("cpu"), "other") == 0
