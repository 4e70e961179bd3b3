"""Answers of a vLLM server, from a stand-in: what is read, and what is told as an error."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from conftest import LOADING, Client
from genac_bridge.engines.engine import GenerationRequest, Options, Progress
from genac_bridge.engines.vllm import server
from genac_bridge.engines.vllm.server import Asking, Http, Server, ServerError
from genac_bridge.engines.vllm.settings import settings_of
from genac_bridge.models.model import LoadedModel
from genac_bridge.wire.context import BadArguments, NullContext, OperationError

Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]


class StandIn(ThreadingHTTPServer):
    """Answers by `answer`, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Answer = lambda path, body: (200, {})
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, body: dict[str, Any]) -> None:
        self.server.asked.append((self.path, body, self.headers["Authorization"]))
        code, answer = self.server.answer(self.path, body)
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def completion(ids: list[int], **changes: Any) -> dict[str, Any]:
    content = [{"token_id": token, "logprob": -0.5 * k} for k, token in enumerate(ids)]
    choice = {
        "token_ids": ids,
        "logprobs": {"content": content},
        "finish_reason": "length",
        "stop_reason": None,
        "weight_versions": [{"version": "now", "start": 0, "end": len(ids)}],
    }
    return {"choices": [{**choice, **changes}]}


def request(progress: Progress, strings: tuple[str, ...] = (), limit: int = 4) -> GenerationRequest:
    return GenerationRequest(
        prompts=[np.array([3, 4], np.int32), np.array([5], np.int32)],
        per_prompt=2,
        seeds=np.array([0, 1, 2**64 - 1, 7], np.uint64),
        limits=np.array([limit, 2]),
        options=Options(limit, 0.7, None, None, (1, 9), strings),
        batch_size=2,
        progress=progress,
    )


@pytest.fixture
def model(client: Client, folder: str) -> LoadedModel:
    client.load(folder)
    return client.operations.models["m"]


def asking(stand_in: StandIn, model: LoadedModel, *given: Any, **more: Any) -> Asking:
    http = Http(stand_in.url)
    http.label = "now"
    return Asking(http, "served", model, request(*given, **more))


def test_each_sequence_is_a_request_with_its_own_seed_and_limit(
    stand_in: StandIn, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "key")
    by_seed = {0: [7, 8, 10, 11], 2**63 - 1: [7, 1], 3: [8, 8]}

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        ids = by_seed[body["sampling_params"]["seed"]]
        stopped = {"stop_reason": 1, "finish_reason": "stop"} if ids[-1] == 1 else {}
        usage = {"prompt_tokens_details": {"cached_tokens": 5}}
        return 200, {**completion(ids, **stopped), "usage": usage}

    stand_in.answer = answer
    progress = Progress(NullContext())
    done = asking(stand_in, model, progress).run()
    assert [one.ids.tolist() for one in done] == [by_seed[0]] * 2 + [[7, 1], [8, 8]]
    assert [one.reason for one in done] == ["length", "length", "stop_token", "length"]
    assert done[0].logprobs.tolist() == [0.0, -0.5, -1.0, -1.5]
    assert progress.cached == 20
    paths, bodies, keys = zip(*stand_in.asked, strict=True)
    assert set(paths) == {"/inference/v1/generate"}
    assert set(keys) == {"Bearer key"}
    last = next(b for b in bodies if b["sampling_params"]["seed"] == 2**63 - 1)
    assert (last["model"], last["token_ids"], last["cache_salt"]) == ("served", [5], "now")
    wanted = {"max_tokens": 2, "temperature": 0.7, "stop_token_ids": [1, 9], "logprobs": 0}
    assert {name: last["sampling_params"][name] for name in wanted} == wanted


def test_a_server_that_is_silent_is_asked_whether_it_lives(
    stand_in: StandIn, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/health":
            health.append(path)
            if len(health) == 1:
                return 200, {}  # it is only slow
        released.wait(30)
        return 200, {}

    health: list[str] = []
    stand_in.answer = answer
    monkeypatch.setattr(server, "SILENCE", 0.3)
    monkeypatch.setattr(server, "HEALTH", 2.0)
    monkeypatch.setattr(server, "ABORTING", 0.3)
    began = time.monotonic()
    with pytest.raises(ServerError, match=r"the server at http://.*/health does not answer"):
        asking(stand_in, model, Progress(NullContext())).run()
    assert time.monotonic() - began < 20
    assert len(health) >= 2
    released.set()


def test_what_is_cancelled_does_not_wait_for_a_server_that_hangs(
    stand_in: StandIn, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    stand_in.answer = lambda path, body: (200, {"hung": released.wait(30)})
    monkeypatch.setattr(server, "ABORTING", 0.3)

    class Cancelled(NullContext):
        def check(self) -> None:
            if stand_in.asked:
                raise OperationError("cancelled", "cancelled")

    began = time.monotonic()
    with pytest.raises(OperationError, match="cancelled"):
        asking(stand_in, model, Progress(Cancelled())).run()
    assert time.monotonic() - began < 5
    released.set()


def test_a_stop_string_is_cut_where_the_model_s_decoder_finds_it(
    stand_in: StandIn, model: LoadedModel
) -> None:
    words = completion([7, 8, 10, 11], finish_reason="stop", stop_reason="1 3")
    stand_in.answer = lambda path, body: (200, words)
    done = asking(stand_in, model, Progress(NullContext()), ("1 3",)).run()
    # Word 7 is "0", 8 "1", 10 "3".
    assert [one.ids.tolist() for one in done] == [[7, 8, 10]] * 4
    assert {one.reason for one in done} == {"stop_string"}
    assert len(done[0].logprobs) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weight_versions": [{"version": "old", "start": 0, "end": 4}]}, "other weights than it"),
        ({"weight_versions": None}, "other weights than it was given last"),
        ({"finish_reason": "abort"}, "a sequence ended by 'abort'"),
    ],
)
def test_what_is_no_whole_sequence_of_these_weights_is_an_error(
    stand_in: StandIn, model: LoadedModel, changes: dict[str, Any], said: str
) -> None:
    stand_in.answer = lambda path, body: (200, completion([7, 8], **changes))
    with pytest.raises(ServerError, match=said):
        asking(stand_in, model, Progress(NullContext())).run()


def test_a_cancelled_request_is_told_to_the_server(stand_in: StandIn, model: LoadedModel) -> None:
    aborted = threading.Event()
    names: list[str] = []

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/inference/v1/abort_requests":
            names.extend(body["request_ids"])
            aborted.set()
            return 200, {}
        assert aborted.wait(30)
        return 200, completion([7], finish_reason="abort")

    class Cancelled(NullContext):
        def check(self) -> None:
            if len(stand_in.asked) == 2:
                raise OperationError("cancelled", "enough")

    stand_in.answer = answer
    with pytest.raises(OperationError, match="enough"):
        asking(stand_in, model, Progress(Cancelled())).run()
    # Two at a time: the others were never asked for.
    asked = [body["request_id"] for path, body, _ in stand_in.asked if path.endswith("generate")]
    assert len(asked) == 2
    assert sorted(set(names)) == sorted(f"generate-tokens-{name}" for name in asked)


def test_errors_name_the_address_and_say_what_the_server_said(stand_in: StandIn) -> None:
    stand_in.answer = lambda path, body: (400, {"error": "no such thing"})
    with pytest.raises(ServerError, match=r'said 400 to http://.*/v1/x: \{"error": "no such thing'):
        Http(stand_in.url).get("v1/x")
    with pytest.raises(ServerError, match="does not answer"):
        Http("http://127.0.0.1:9").get("v1/x")


def test_a_request_is_sent_at_once(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    # A server that needs no body answers without it, and may have hung up when it comes.
    sent: list[bytes] = []
    send = http.client.HTTPConnection.send

    def record(connection: http.client.HTTPConnection, data: bytes) -> None:
        sent.append(data)
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", record)
    Http(stand_in.url).post("start", {"a": 1})
    (whole,) = sent
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /start HTTP/1.1\r\n")
    assert body == b'{"a": 1}'


def test_an_update_names_the_weights_anew(stand_in: StandIn) -> None:
    http = Http(stand_in.url)
    labels = []
    for _ in range(2):
        http.finish_weight_update()
        labels.append(http.label)
    assert [body["weight_version"] for _, body, _ in stand_in.asked] == labels
    assert labels[0] != labels[1]


@pytest.mark.parametrize("answer", [{}, {"data": []}, {"data": [{"id": "m"}]}])
def test_what_is_no_server_of_vllm_s_is_refused(
    stand_in: StandIn, model: LoadedModel, answer: Any
) -> None:
    stand_in.answer = lambda path, body: (200, answer)
    with pytest.raises(BadArguments, match="start it with VLLM_SERVER_DEV_MODE=1 vllm serve"):
        Server(model, Http(stand_in.url))


def test_an_address_without_a_server_is_told_at_load(client: Client, folder: str) -> None:
    options = {"url": "http://127.0.0.1:9"}
    with pytest.raises(OperationError, match=r"does not answer: .*start it with VLLM_SERVER"):
        client.load(folder, loading={**LOADING, "engine": "vllm", "engine_options": options})
    assert client.operations.models == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_model_len": 5}, "max_model_len is for the server at http://h, which was started"),
        ({"transfer": "memory"}, "use files or ipc"),
        ({"transfer": "ipc"}, "transfer ipc is CUDA's"),
    ],
)
def test_options_that_a_server_has_itself_are_refused(
    model: LoadedModel, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadArguments, match=said):
        settings_of(model, {"url": "http://h", **options})
