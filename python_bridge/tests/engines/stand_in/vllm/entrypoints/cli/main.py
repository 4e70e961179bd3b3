"""`vllm serve`: answers what GenAC asks a server, all tokens alike."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

#: At this temperature, the server dies in the middle of a request.
DEADLY = 1.5


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked is gone."""


class Handler(BaseHTTPRequestHandler):
    #: Of the weights, and how many times they were changed.
    label = ""
    updates = 0
    #: Of several requests, one dies.
    dying = threading.Lock()

    def do_GET(self) -> None:
        served = {"data": [{"id": "served", "max_model_len": 96}]}
        self.answer(served if self.path == "/v1/models" else None)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/inference/v1/generate":
            self.answer(self.completion(body["sampling_params"]))
            return
        if self.path == "/update_weights":
            assert os.listdir(body["update_info"]["path"]) == ["weights.safetensors"]
        if self.path == "/finish_weight_update":
            Handler.label = body["weight_version"]
            Handler.updates += 1
        self.answer(None)

    def completion(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["temperature"] == DEADLY:
            self.dying.acquire()
            print("ValueError: out of luck", file=sys.stderr, flush=True)
            os._exit(3)
        count = asked["max_tokens"]
        logprob = -0.5 - Handler.updates / 100
        choice = {
            "token_ids": [7] * count,
            "logprobs": {"content": [{"token_id": 7, "logprob": logprob}] * count},
            "finish_reason": "length",
            "stop_reason": None,
            "weight_versions": [{"version": Handler.label, "start": 0, "end": count}],
        }
        return {"choices": [choice]}

    def answer(self, value: Any) -> None:
        text = b"" if value is None else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    path = next(word for word in sys.argv if word.startswith("--uds=")).removeprefix("--uds=")
    child = subprocess.Popen(["sleep", "600"])
    plugins = importlib.metadata.entry_points(group="vllm.general_plugins")
    told = {
        "argv": sys.argv,
        "environment": dict(os.environ),
        "pids": [os.getpid(), child.pid],
        # vLLM's own are there, too, where it is installed.
        "plugins": [
            [point.name, point.load().__module__]
            for point in plugins
            if point.value.startswith("genac_bridge.")
        ],
        "config": json.loads(Path(sys.argv[2], "config.json").read_text()),
        "tokenizer": Path(sys.argv[2], "tokenizer.json").exists(),
        "folder": [os.path.dirname(path), os.stat(os.path.dirname(path)).st_mode & 0o777],
    }
    with open(os.environ["STAND_IN_RECORD"], "a") as record:
        print(json.dumps(told), file=record, flush=True)
    print("The stand-in starts.", flush=True)
    time.sleep(float(os.environ.get("STAND_IN_SLEEP", "0")))
    if "STAND_IN_FAILS" in os.environ:
        raise SystemExit("ValueError: no room for keys and values")
    Server(path, Handler).serve_forever()
