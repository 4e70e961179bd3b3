"""Weights over NCCL, by vLLM's own code on both sides. NCCL itself needs GPUs: where weights are
sent, `nccl_by_store.py` takes its place.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nccl_by_store import ByStore, Stream, replacements, write_plugin
from test_vllm_http import StandIn
from torch import Tensor
from vllm_models import close_all, gap, loading, make_folder, needs_vllm, train

from conftest import LOADING, Client, prompts
from genac_bridge.engines.vllm import nccl, settings
from genac_bridge.engines.vllm.nccl import Nccl, address_towards, free_port
from genac_bridge.engines.vllm.server import Http, ServerError
from genac_bridge.wire.context import OperationError

CPU = torch.device("cpu")
WEIGHTS = {
    "embed.weight": torch.arange(24.0).view(6, 4),
    "norm.weight": torch.ones(6, dtype=torch.bfloat16),
    "turned.weight": torch.arange(6.0).view(2, 3).t(),
    "scalar": torch.tensor(3.0),
}


def stream() -> Iterator[tuple[str, Tensor]]:
    yield from WEIGHTS.items()


class Taker:
    """vLLM's worker of one GPU: its own class takes the weights."""

    def __init__(self) -> None:
        from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine

        self.weights: dict[str, Tensor] = {}
        self.calls: list[str] = []
        parallel = SimpleNamespace(data_parallel_index=0, world_size=1, rank=0)
        config: Any = SimpleNamespace(parallel_config=parallel, model_config=None)
        model: Any = SimpleNamespace(load_weights=self._load)
        self.engine = NCCLWeightTransferEngine(None, config, CPU, model)  # type: ignore[arg-type]

    def _load(self, weights: list[tuple[str, Tensor]]) -> None:
        self.weights |= {name: weight.clone() for name, weight in weights}

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.calls.append(path)
        if path == "/get_world_size":
            return 200, {"world_size": 1}
        engine = self.engine
        try:
            if path == "/init_weight_transfer_engine":
                engine.init_transfer_engine(engine.parse_init_info(body["init_info"]))
            if path == "/update_weights":
                engine.receive_weights(engine.parse_update_info(body["update_info"]))
        except Exception as error:
            return 500, {"error": str(error)}
        return 200, {}


@pytest.fixture
def by_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, value in replacements():
        monkeypatch.setattr(owner, name, value)
    monkeypatch.setattr(ByStore, "trainers", [])


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Nothing waits on once a transfer was given up."""
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 10
    while any(one.name == "nccl" for one in set(threading.enumerate()) - before):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@needs_vllm
def test_weights_arrive_as_vllm_s_worker_takes_them(stand_in: StandIn, by_store: None) -> None:
    taker = Taker()
    stand_in.answer = taker.answer
    transfer, http = Nccl(CPU), Http(stand_in.url)
    transfer.send(http, stream)
    assert taker.weights.keys() == WEIGHTS.keys()
    for name, weight in WEIGHTS.items():
        assert taker.weights[name].dtype == weight.dtype
        assert torch.equal(taker.weights[name], weight), name
    joined = ["/shutdown_weight_transfer_engine", "/get_world_size", "/init_weight_transfer_engine"]
    update = ["/start_weight_update", "/update_weights", "/finish_weight_update"]
    assert taker.calls == [*joined, *update]
    # The group lasts.
    transfer.send(http, lambda: ((name, weight + 1) for name, weight in stream()))
    assert taker.calls == [*joined, *update, *update]
    assert torch.equal(taker.weights["embed.weight"], WEIGHTS["embed.weight"] + 1)
    transfer.close()
    (group,) = ByStore.trainers
    assert group.ended.is_set()


@needs_vllm
def test_what_is_asked_is_what_vllm_reads(stand_in: StandIn, by_store: None) -> None:
    taker = Taker()
    stand_in.answer = taker.answer
    http = Http(stand_in.url)
    Nccl(CPU).send(http, stream)
    asked = {path: body for path, body, _ in stand_in.asked}
    init = asked["/init_weight_transfer_engine"]["init_info"]
    assert init.pop("master_port") > 1023
    assert init == {
        **{"master_address": "127.0.0.1", "rank_offset": 1, "world_size": 2},
        **{"packed": True, "packed_buffer_size_bytes": 2**30, "packed_num_buffers": 2},
    }
    assert asked["/update_weights"]["update_info"] == {
        "names": ["embed.weight", "norm.weight", "turned.weight", "scalar"],
        "dtype_names": ["float32", "bfloat16", "float32", "float32"],
        "shapes": [[6, 4], [6], [3, 2], []],
    }
    assert asked["/finish_weight_update"] == {"weight_version": http.label}


@needs_vllm
def test_a_server_that_refuses_the_group_is_told_at_once(stand_in: StandIn, by_store: None) -> None:
    taker = Taker()

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        refused = path == "/init_weight_transfer_engine"
        return (500, {"error": "no GPU"}) if refused else taker.answer(path, body)

    stand_in.answer = answer
    began = time.monotonic()
    # The trainer's side waits for the other one for minutes, in its thread.
    said = (
        r"no NCCL group of the trainer at 127\.0\.0\.1:\d+ and the server's 1 worker\(s\), which "
        r"must reach it and have other GPUs: the server said 500 to .*no GPU"
    )
    with pytest.raises(RuntimeError, match=said):
        Nccl(CPU).send(Http(stand_in.url), stream)
    assert time.monotonic() - began < 10


@needs_vllm
def test_a_server_that_fails_midway_ends_the_transfer(
    stand_in: StandIn,
    by_store: None,
    threads_end: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vllm.distributed.weight_transfer import nccl_engine

    taker = Taker()

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path != "/update_weights":
            return taker.answer(path, body)
        while ByStore.trainers[0].count < 2:
            time.sleep(0.01)
        return 500, {"error": "no room"}

    stand_in.answer = answer
    monkeypatch.setattr(Stream, "waits", True)
    # A buffer for each weight, two at a time.
    small = functools.partial(nccl_engine.NCCLTrainerInitInfo, packed_buffer_size_bytes=2)
    monkeypatch.setattr(nccl_engine, "NCCLTrainerInitInfo", small)
    with pytest.raises(ServerError, match=r"said 500 to http.*/update_weights: .*no room"):
        Nccl(CPU).send(Http(stand_in.url), stream)
    (group,) = ByStore.trainers
    assert group.ended.is_set()
    time.sleep(0.1)
    assert group.count == 2
    assert "/finish_weight_update" not in taker.calls


@needs_vllm
@pytest.mark.parametrize("path", ["/start_weight_update", "/update_weights"])
def test_a_server_that_refuses_an_update_ends_the_transfer(
    stand_in: StandIn, by_store: None, threads_end: None, path: str
) -> None:
    taker = Taker()

    def answer(asked: str, body: dict[str, Any]) -> tuple[int, Any]:
        return (500, {"error": "not now"}) if asked == path else taker.answer(asked, body)

    stand_in.answer = answer
    with pytest.raises(ServerError, match=rf"said 500 to http.*{path}: .*not now"):
        Nccl(CPU).send(Http(stand_in.url), stream)
    assert ByStore.trainers[0].ended.is_set()


@needs_vllm
def test_a_server_that_takes_no_part_is_given_up(
    stand_in: StandIn, by_store: None, threads_end: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    taker = Taker()

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return (200, {}) if path == "/update_weights" else taker.answer(path, body)

    stand_in.answer = answer
    monkeypatch.setattr(Stream, "waits", True)
    monkeypatch.setattr(nccl, "LIMIT", 2.0)
    with pytest.raises(TimeoutError, match="NCCL did not end within 2 s"):
        Nccl(CPU).send(Http(stand_in.url), stream)
    assert ByStore.trainers[0].ended.is_set()


SERVER = """
import sys
sys.path[:0] = sys.argv[1:]
import os, signal
import nccl_by_store
from test_vllm_nccl import StandIn, Taker
nccl_by_store.register()
server, taker = StandIn(), Taker()
def answer(path, body):
    if path == "/update_weights":
        os.kill(os.getpid(), signal.SIGKILL)
    return taker.answer(path, body)
server.answer = answer
print(server.url, flush=True)
server.serve_forever()
"""


@needs_vllm
def test_a_server_that_dies_midway_ends_the_transfer(
    by_store: None, threads_end: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stream, "waits", True)
    here = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(here), str(here.parent)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with pytest.raises(ServerError, match=r"/update_weights does not answer"):
            Nccl(CPU).send(Http(url), stream)
        assert server.wait(10) == -9
    assert ByStore.trainers[0].ended.is_set()


@needs_vllm
def test_an_engine_whose_transfer_fails_is_dead(
    stand_in: StandIn,
    by_store: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    taker = Taker()

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/models":
            return 200, {"data": [{"id": "m", "max_model_len": 96}]}
        failed = path == "/finish_weight_update"
        return (500, {"error": "no room"}) if failed else taker.answer(path, body)

    stand_in.answer = answer
    monkeypatch.setitem(settings.TRANSFERS, "files", lambda device, _: Nccl(device))
    client = Client()
    options = {"url": stand_in.url}
    with pytest.raises(
        OperationError, match=r"is dead: it took no weights: ServerError: .*no room"
    ):
        client.load(
            make_folder(tmp_path), loading={**LOADING, "engine": "vllm", "engine_options": options}
        )
    assert "lm_head.weight" in taker.weights or "model.embed_tokens.weight" in taker.weights
    assert ByStore.trainers[0].ended.is_set()


@needs_vllm
def test_a_server_of_vllm_s_serves_what_is_published(
    by_store: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = [*write_plugin(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setitem(settings.TRANSFERS, "files", lambda device, _: Nccl(device))
    tensors = prompts(np.random.default_rng(5), [3, 150, 9])
    client = Client()
    # CPU builds keep a copy of a tied head, which GenAC's own transfers renew.
    folder = make_folder(tmp_path / "model", tie_word_embeddings=False)
    client.load(folder, loading=loading(server=True))
    try:
        for step in range(2):
            _, out = client.sample(dict(tensors), max_new_tokens=12)
            assert gap(client, out, 1, 1.0) < 1e-4
            train(client, step)
            client.publish()
        assert client.sample(dict(tensors), max_new_tokens=4)[0]["version"] == 2
        assert [group.ended.is_set() for group in ByStore.trainers] == [False]
    finally:
        close_all(client)
    assert [group.ended.is_set() for group in ByStore.trainers] == [True]


@needs_vllm
def test_a_python_without_nccl_asks_nothing_of_the_server(stand_in: StandIn) -> None:
    with pytest.raises(ValueError, match="NCCL only supports CUDA"):
        Nccl(CPU).send(Http(stand_in.url), stream)
    assert stand_in.asked == []


def test_the_group_meets_where_a_server_reaches_the_trainer() -> None:
    for url in ("http://localhost", "http://127.0.0.1:8000/"):
        assert address_towards(url) == "127.0.0.1"
    port = free_port("127.0.0.1")
    with socket.create_server(("127.0.0.1", port)):
        assert free_port("127.0.0.1") != port
