"""Code that others wrote, in a worker: what it may do to the process that runs it."""

from __future__ import annotations

import asyncio
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from bridge_operations import EchoOperations

import genac_bridge
from genac_bridge.functions.call import call
from genac_bridge.wire.compute import Compute, Job
from genac_bridge.wire.context import OperationError
from genac_bridge.wire.frames import Decoder, encode
from genac_bridge.wire.messages import (
    PROTOCOL_VERSION,
    FromWorker,
    Hello,
    Request,
    Result,
    Welcome,
)
from genac_bridge.worker import FUNCTIONS as FUNCTION_WORKER

Own = Callable[[str], Any]

FUNCTIONS = """
import asyncio
import os
import signal
import time

def alarming():
    def ring(*_):
        raise TimeoutError("too late")
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    return [0.5]

def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)

def in_a_loop():
    asyncio.get_event_loop().run_until_complete(asyncio.sleep(0))
    return [1.0]

async def later():
    return [1.0]
"""


@pytest.fixture
def own(tmp_path: Path) -> Own:
    (tmp_path / "own.py").write_text(FUNCTIONS)
    return lambda name: call(f"{tmp_path}/own.py:{name}", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(2)", "SystemExit: 2 \\(sys.exit.*argparse belong"),
        (
            "import argparse\nargparse.ArgumentParser().parse_args(['--no'])",
            "SystemExit: 2 \\(sys.exit.*argparse belong",
        ),
        ("raise KeyboardInterrupt('by hand')", "KeyboardInterrupt: by hand"),
    ],
)
def test_a_file_that_ends_its_program_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "script.py").write_text(text)
    with pytest.raises(OperationError, match=f"importing .*script.py failed: {message}"):
        call("genac_bridge.functions.rewards:prepare", {"function": f"{tmp_path}/script.py:f"})


def test_a_real_interrupt_is_none_of_the_functions_errors(own: Own) -> None:
    with pytest.raises(KeyboardInterrupt):
        own("interrupted")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_alarm_ends_with_the_call_that_set_it(own: Own) -> None:
    before = signal.getsignal(signal.SIGALRM)
    assert own("alarming") == [0.5]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before
    time.sleep(0.4)


def test_a_handler_set_at_import_is_there_in_every_call(tmp_path: Path) -> None:
    """And only there: `signal.alarm` alone would end the process."""
    (tmp_path / "ring.py").write_text(
        "import signal, time\n"
        "def ring(*_): raise TimeoutError('too late')\n"
        "signal.signal(signal.SIGALRM, ring)\n"
        "def f():\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "    try: time.sleep(10)\n"
        "    except TimeoutError as error: return str(error)\n"
    )
    before = signal.getsignal(signal.SIGALRM)
    for _ in range(2):
        assert call(f"{tmp_path}/ring.py:f", {}) == "too late"
        assert signal.getsignal(signal.SIGALRM) is before


def test_an_alarm_that_goes_off_as_the_call_ends_harms_nothing(tmp_path: Path) -> None:
    """Whichever line it meets, the call answers or says what the handler raised."""
    (tmp_path / "late.py").write_text(
        "import signal\n"
        "def ring(*_): raise TimeoutError('too late')\n"
        "def f(seconds):\n"
        "    signal.signal(signal.SIGALRM, ring)\n"
        "    signal.setitimer(signal.ITIMER_REAL, seconds)\n"
    )
    before = signal.getsignal(signal.SIGALRM)
    for step in range(1, 300):
        said = "late.py:f raised TimeoutError: too late"
        try:
            call(f"{tmp_path}/late.py:f", {"seconds": step * 1e-6})
        except OperationError as error:
            said = str(error)
        assert "late.py:f raised TimeoutError: too late" in said
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) is before


def test_the_threads_event_loop_stays_after_an_async_function(own: Own) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert own("later") == [1.0]
        assert own("in_a_loop") == [1.0]
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_the_computing_thread_survives_what_is_raised_between_requests() -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def say(frames: Any, answers: str | None) -> None:
        if answers == "1":
            raise TimeoutError("a handler's")
        said.put(answers or "ready")

    failures: list[str] = []
    compute = Compute(EchoOperations, say, failures.append)
    compute.start(2**20)
    for name in ("1", "2"):
        arguments = {"function": "test:count", "keywords": {}}
        compute.submit(Job(Request(name, "call", arguments, None, []), {}, say))
    assert [said.get(timeout=20), said.get(timeout=20)] == ["ready", "2"]
    assert failures == []


def test_a_worker_of_functions_outlives_an_armed_alarm_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FUNCTIONS)
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{tmp_path}/s")
    command = [sys.executable, "-m", "genac_bridge", "--name", "w"]
    command += ["--connect", f"ipc://{tmp_path}/s", "--operations", FUNCTION_WORKER]
    worker = subprocess.Popen(command, cwd=Path(genac_bridge.__file__).parents[1])

    def hear(kind: type) -> Any:
        while router.poll(60_000):
            identity, *frames = router.recv_multipart()
            message, _ = Decoder(FromWorker).decode(frames)
            if isinstance(message, kind):
                return identity, message
        raise AssertionError(f"no {kind.__name__}")

    try:
        identity, _ = hear(Hello)
        router.send_multipart([identity, *encode(Welcome(PROTOCOL_VERSION, 50, 60_000, 2**20))])
        for name in ("1", "2"):
            arguments = {"function": f"{tmp_path}/own.py:alarming", "keywords": {}}
            request = Request(name, "call", arguments, None, [])
            router.send_multipart([identity, *encode(request)])
            assert hear(Result)[1].result == {"value": [0.5]}
            time.sleep(0.5)
        worker.send_signal(signal.SIGINT)
        assert worker.wait(20) == 130
    finally:
        worker.kill()
        worker.wait()
        context.destroy(0)
