"""A vLLM server, over HTTP. It serves one model of one trainer."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from ...models.model import LoadedModel
from ..decoding import hand_over
from ..endings import Endings
from ..engine import Completion, GenerationRequest, Reason
from .settings import refused

#: Sequences that are asked for at once, where the request does not say.
AT_ONCE = 256
#: Seconds between two looks for a cancelled request.
LOOK = 0.2
#: How often the server is asked to drop what was cancelled.
ABORTS = 25
#: Seconds for anything but a completion, which may take as long as it takes.
PATIENCE = 600.0
#: Seconds without a completion after which a server is asked whether it lives, and to answer.
SILENCE, HEALTH = 60.0, 10.0
#: Seconds for an abort: what is cancelled does not wait for a server that hangs.
ABORTING = 5.0
#: How a server is started.
FLAGS = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --enable-scale-out --generation-config vllm "
    '--logprobs-mode processed_logprobs --weight-transfer-config \'{"backend": "genac_files"}\' '
    "(or the backend of another transfer)"
)


class ServerError(Exception):
    """The server does not answer, or answers with an error."""


class Server:
    """One that somebody else started. Raises `BadArguments` for an address where none is."""

    def __init__(self, model: LoadedModel, client: Http) -> None:
        self._model = model
        self.client = client
        try:
            (served,) = self.client.get("v1/models")["data"]
            self._name, self.room = str(served["id"]), int(served["max_model_len"])
        except ServerError as error:
            raise refused(f"{error}; start it with {FLAGS}") from error
        except (LookupError, TypeError, ValueError) as error:
            raise refused(
                f"what answers at {client.url} is no vLLM server with one model; start it with "
                f"{FLAGS}"
            ) from error

    def run(self, request: GenerationRequest) -> list[Completion]:
        return Asking(self.client, self._name, self._model, request).run()

    def forget_prompts(self) -> None:
        """There is nothing to do: prompts are salted by the weights that read them."""

    def last_words(self) -> str:
        """Nothing: its log is elsewhere."""
        return ""

    def close(self) -> None:
        """It belongs to whoever started it."""


class Connection(http.client.HTTPConnection):
    """Sends a request at once. A server may answer and hang up before it reads a body that it has
    no use for, and what is sent then fails. `path`: of a socket in the place of a port.
    """

    def __init__(self, host: str, path: str | None, timeout: float | None) -> None:
        super().__init__(host, timeout=timeout)
        self._path = path
        self._unsent = b""

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def send(self, data: Any) -> None:
        self._unsent += data

    def getresponse(self) -> http.client.HTTPResponse:
        super().send(self._unsent)
        self._unsent = b""
        return super().getresponse()


class Handler(urllib.request.HTTPHandler):
    """Opens every connection as `Connection`."""

    def __init__(self, path: str | None) -> None:
        super().__init__()
        self._path = path

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connection(host: str, /, **options: Any) -> http.client.HTTPConnection:
            return Connection(host, self._path, **options)

        return self.do_open(connection, req)


class Http:
    """Calls of the server, those of vLLM's weight transfer among them. `path`: of its socket, where
    it has no port.
    """

    def __init__(self, url: str, path: str | None = None) -> None:
        self.url = url.rstrip("/")
        # A proxy of the environment is for the world outside.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Handler(path))
        #: Of the weights that the server has, new at every update by anyone.
        self.label = ""

    def get(self, path: str, seconds: float = PATIENCE) -> Any:
        return self._open(path, None, seconds)

    def post(self, path: str, body: dict[str, Any], seconds: float | None = PATIENCE) -> Any:
        return self._open(path, json.dumps(body).encode(), seconds)

    def look(self, seconds: float) -> None:
        """Raises `ServerError` where the server does not live."""
        self._read("health", None, seconds)

    def _open(self, path: str, body: bytes | None, seconds: float | None) -> Any:
        text = self._read(path, body, seconds)
        return json.loads(text) if text else None

    def _read(self, path: str, body: bytes | None, seconds: float | None) -> bytes:
        headers = {"Content-Type": "application/json"}
        if os.environ.get("VLLM_API_KEY"):
            headers["Authorization"] = f"Bearer {os.environ['VLLM_API_KEY']}"
        where = f"{self.url}/{path}"
        request = urllib.request.Request(where, data=body, headers=headers)
        try:
            with self._opener.open(request, timeout=seconds) as answer:
                text: bytes = answer.read()
        except urllib.error.HTTPError as error:
            said = " ".join(error.read(600).decode(errors="replace").split())
            raise ServerError(f"the server said {error.code} to {where}: {said}") from error
        except (OSError, ValueError) as error:
            raise ServerError(f"the server at {where} does not answer: {error}") from error
        return text

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.post("init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        self.post("start_weight_update", {})

    def update_weights(self, update_info: dict[str, Any]) -> None:
        if update_info.get("ipc_handles") is not None:
            from vllm.distributed.weight_transfer.clients import _json_safe_update_info

            update_info = _json_safe_update_info(update_info)
        self.post("update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.label = uuid.uuid4().hex
        self.post("finish_weight_update", {"weight_version": self.label})


class Asking:
    """One request of the controller's: every sequence is a request of the server's."""

    def __init__(
        self, http: Http, name: str, model: LoadedModel, request: GenerationRequest
    ) -> None:
        self._http, self._name, self._model, self._request = http, name, model, request
        self._strings = Endings(model, request)
        self._prefix = f"genac-{uuid.uuid4().hex}"
        self._ended = threading.Event()

    def run(self) -> list[Completion]:
        progress, count = self._request.progress, len(self._request.seeds)
        at_once = min(self._request.batch_size or AT_ONCE, max(1, count))
        pool = ThreadPoolExecutor(at_once, thread_name_prefix="vllm")
        waiting: dict[Future[Any], int] = {
            pool.submit(self._ask, number): number for number in range(count)
        }
        heard = time.monotonic()
        try:
            while waiting:
                progress.context.check()
                done, _ = wait(waiting, timeout=LOOK, return_when=FIRST_COMPLETED)
                if not done and time.monotonic() - heard > SILENCE:
                    self._http.look(HEALTH)
                    heard = time.monotonic()
                for future in done:
                    heard = time.monotonic()
                    number = waiting.pop(future)
                    completion = self._read(number, future.result())
                    hand_over(self._model, progress, [number], [completion])
                progress.context.progress(len(progress.finished) / count)
        finally:
            if waiting:
                self._stop(waiting)
            pool.shutdown(wait=False, cancel_futures=True)
        return [progress.finished[number] for number in range(count)]

    def _stop(self, waiting: dict[Future[Any], int]) -> None:
        """Has the server drop what it still has."""
        self._ended.set()
        asked = {future for future in waiting if not future.cancel()}
        for _ in range(ABORTS):
            # The server does not know requests that have not reached it yet.
            asked = {future for future in asked if not future.done()}
            if not asked:
                return
            names = [f"generate-tokens-{self._prefix}-{waiting[future]}" for future in asked]
            try:
                self._http.post("inference/v1/abort_requests", {"request_ids": names}, ABORTING)
            except ServerError as error:
                print(error, flush=True)
                return
            wait(asked, timeout=LOOK)

    def _ask(self, number: int) -> Any:
        if self._ended.is_set():
            raise ServerError("the request was cancelled")
        request, options = self._request, self._request.options
        prompt = number // request.per_prompt
        parameters = {
            "temperature": options.temperature,
            "top_k": options.top_k or 0,
            "top_p": 1.0 if options.top_p is None else options.top_p,
            "seed": int(request.seeds[number]) >> 1,
            "max_tokens": int(request.limits[prompt]),
            "stop_token_ids": list(options.stop_tokens),
            "ignore_eos": True,
            "logprobs": 0,
            "detokenize": self._strings.may_end is not None,
            "stop": list(options.stop_strings) or None,
            "include_stop_str_in_output": True,
        }
        asked = {
            "model": self._name,
            "request_id": f"{self._prefix}-{number}",
            "token_ids": request.prompts[prompt].tolist(),
            "sampling_params": parameters,
            "cache_salt": self._http.label,
        }
        return self._http.post("inference/v1/generate", asked, seconds=None)

    def _read(self, number: int, answer: Any) -> Completion:
        (choice,) = answer["choices"]
        labels = {span["version"] for span in choice["weight_versions"] or []}
        if labels != {self._http.label}:
            raise ServerError(
                "the server has other weights than it was given last; does another trainer use it?"
            )
        ids = list(choice["token_ids"])
        logprobs = [one["logprob"] for one in choice["logprobs"]["content"]]
        reason: Reason = "length"
        if isinstance(choice["stop_reason"], int):
            reason = "stop_token"
        elif choice["finish_reason"] == "stop":
            reason = "stop_string"
        elif choice["finish_reason"] != "length":
            raise ServerError(f"a sequence ended by {choice['finish_reason']!r}")
        end = self._end_by_string(number, ids[:-1] if reason == "stop_token" else ids)
        if end is not None:
            ids, logprobs, reason = ids[:end], logprobs[:end], "stop_string"
        details = (answer.get("usage") or {}).get("prompt_tokens_details") or {}
        self._request.progress.cached += details.get("cached_tokens") or 0
        return Completion(np.array(ids, np.int32), np.array(logprobs, np.float32), reason)

    def _end_by_string(self, number: int, ids: list[int]) -> int | None:
        """Returns how many tokens complete a stop string, in the text of the model's decoder."""
        may_end, ended = self._strings.may_end, self._strings.ended
        if may_end is None:
            return None
        ends = (e for e in range(1, len(ids) + 1) if may_end[ids[e - 1]])
        return next((e for e in ends if ended(number, ids[:e])), None)
