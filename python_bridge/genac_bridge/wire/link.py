"""The worker's end of the bridge.

The thread that runs `Link.run` owns the socket, so that heartbeats and `cancel` are answered while
another computes.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import socket
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import zmq

from .answers import Answers
from .compute import Compute, Job, OperationsLike
from .connection import Connection
from .frames import Buffer, Decoder, FrameError, encode, readable_id
from .messages import (
    PROTOCOL_VERSION,
    AnyMessage,
    Bye,
    Cancel,
    Drain,
    Error,
    FromController,
    Heartbeat,
    Hello,
    Reject,
    Request,
    Shutdown,
    Welcome,
    schema_hash,
)

# Until `welcome` says otherwise.
DEFAULT_CONTROLLER_TIMEOUT = 60.0
# `bye` and answers on their way are given so long to leave, in milliseconds.
LINGER = 500
# An answer that comes within so many seconds of its request is waited for: waking this thread from
# its poll takes longer than most small calls.
QUICK = 0.001
# Frames larger than this are handed to ZeroMQ without a copy.
COPY_THRESHOLD = 65536


class Link:
    """Connects to the controller, serves its requests, and returns from `run` when the worker
    should end.

    `curve`: the worker's public and secret key and the controller's public key (Z85); `token`: what
    it shows where there are no keys. For protected endpoints. `is_child`: the controller's end ends
    this process anyway, so its silence means nothing (it may be stopped, and go on).
    """

    def __init__(
        self,
        endpoint: str,
        name: str,
        make_operations: Callable[[], OperationsLike],
        curve: tuple[str, str, str] | None = None,
        start_id: str | None = None,
        token: str | None = None,
        is_child: bool = False,
    ) -> None:
        self._name = name
        self._is_child = is_child
        self._start_id = start_id or uuid.uuid4().hex
        self._compute = Compute(make_operations, self._say, self._fail)
        self._decoder = Decoder(FromController)
        self._answers = Answers()
        self._jobs: dict[str, Job] = {}  # queued and running
        self._outbox: queue.SimpleQueue[tuple[list[Buffer], str | None]] = queue.SimpleQueue()
        self._polling = False
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._welcomed = False
        #: Was this connection's `hello` answered by `welcome`?
        self._greeted = False
        self._draining = False
        self._end: tuple[int, str] | None = None
        self._heartbeat = 1.0
        self._controller_timeout = DEFAULT_CONTROLLER_TIMEOUT
        self._sequence = 0
        self._context = zmq.Context()
        self._connection = Connection(self._context, endpoint, self._start_id)
        self._socket = self._connection.dealer
        self._socket.setsockopt(zmq.LINGER, LINGER)
        self._socket.copy_threshold = COPY_THRESHOLD
        if curve is not None:
            (
                self._socket.curve_publickey,
                self._socket.curve_secretkey,
                self._socket.curve_serverkey,
            ) = (key.encode() for key in curve)
        elif token is not None:
            self._connection.show_token(token)
        self._connection.connect()

    # Called by other threads and by signal handlers

    def end(self, code: int, reason: str) -> None:
        """Makes `run` return soon; the first reason given counts."""
        self._end = self._end or (code, reason)
        self._wake()

    def _fail(self, reason: str) -> None:
        print(reason, file=sys.stderr, flush=True)
        self.end(1, reason)

    def _say(self, frames: list[Buffer], answers: str | None) -> None:
        self._outbox.put((frames, answers))
        if (
            self._polling
        ):  # Set before the outbox is looked at for the last time, so that nothing is left lying.
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # The buffer is full of wake-ups: it will wake.
            self._wake_sender.send(b"\0")

    def lend_thread(self) -> None:
        """Before `run`, which another thread is to call: this one computes, in `compute_here`."""
        self._compute.lend_thread()

    def compute_here(self) -> None:
        self._compute.serve_here()

    # The thread that owns the socket

    def run(self) -> int:
        """Serves until `end` is called. Returns the process's exit code."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        # Behind the socket: what is read from a new connection is read after the news of it.
        poller.register(self._connection.monitor, zmq.POLLIN)
        poller.register(self._wake_receiver, zmq.POLLIN)
        self._last_heard = next_beat = time.monotonic()
        while self._end is None:
            self._polling = True
            wait = max(0.0, next_beat - time.monotonic()) if self._outbox.empty() else 0.0
            ready = dict(poller.poll(math.ceil(wait * 1000)))
            self._polling = False
            if (
                self._wake_receiver.fileno() in ready
            ):  # `poll` gives file descriptors back as numbers.
                self._wake_receiver.recv(4096)
            if self._connection.monitor in ready and self._connection.read_event():
                self._connected()
            began_idle = not self._jobs
            if self._socket in ready:
                self._read()
            self._flush(QUICK if began_idle and self._jobs else 0.0)
            now = time.monotonic()
            if now >= next_beat:
                self._beat(now, late=now - next_beat)
                next_beat = now + self._heartbeat
        return self._leave()

    def _leave(self) -> int:
        code, reason = self._end or (0, "")
        self._flush()
        self._send(Bye(reason))
        self._socket.disable_monitor()
        self._context.destroy(
            LINGER
        )  # The monitor's socket too, on which `term` would wait without end.
        return code

    def _connected(self) -> None:
        """Every new connection begins with `hello`; after a reconnect it makes the controller
        repeat what it has no answer to.
        """
        self._greeted = False
        self._send(
            Hello(
                name=self._name,
                start_id=self._start_id,
                protocol_min=PROTOCOL_VERSION,
                protocol_max=PROTOCOL_VERSION,
                schema_hash=schema_hash(),
                pid=os.getpid(),
                host=socket.gethostname(),
            )
        )

    def _read(self) -> None:
        frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        self._last_heard = time.monotonic()
        buffers = [frame.buffer for frame in frames]
        try:
            message, tensors = self._decoder.decode(buffers)
        except Exception as error:  # FrameError, and what the decoder does not foresee
            words = (
                str(error)
                if isinstance(error, FrameError)
                else f"{type(error).__name__}: {error!a}"
            )
            print(f"a message was refused: {words}", file=sys.stderr, flush=True)
            self._send(Error(readable_id(buffers), "bad_message", words, None))
            return
        self._handle(message, tensors)

    def _handle(self, message: Any, tensors: dict[str, Any]) -> None:
        match message:
            # Before `welcome` a request would overtake those that a broken connection lost: after
            # `welcome` all come, in their order, this one too.
            case Request() if self._greeted:
                self._accept(message, tensors)
            case Cancel():
                self._cancel(message.id)
            case Welcome():
                self._welcome(message)
            case Reject():
                self._rejected(message)
            case Drain():
                self._draining = True
                self._end_if_drained()
            case Shutdown():
                for job in self._jobs.values():
                    job.cancel()
                self.end(0, f"shutdown: {message.reason}")

    def _welcome(self, welcome: Welcome) -> None:
        self._heartbeat = welcome.heartbeat_ms / 1000
        self._controller_timeout = welcome.controller_timeout_ms / 1000
        self._decoder.max_message_bytes = welcome.max_message_bytes
        self._greeted = True
        if not self._welcomed:
            self._welcomed = True
            self._compute.start(welcome.max_message_bytes)

    def _rejected(self, reject: Reject) -> None:
        text = f"the controller refused ({reject.code}): {reject.message}"
        print(text, file=sys.stderr, flush=True)
        if not self._welcomed or reject.code != "bad_message":
            self.end(3, text)

    def _accept(self, request: Request, tensors: dict[str, Any]) -> None:
        if request.id in self._jobs:
            return  # Sent again while the first is pending.
        if request.id in self._answers:
            frames = self._answers.get(request.id)
            gone = Error(
                request.id,
                "internal",
                "this request was served before, and its answer is no longer kept",
                None,
            )
            self._send_frames(frames if frames is not None else encode(gone))
        elif self._draining:
            self._send(
                Error(
                    request.id, "bad_state", "the worker is ending and takes no more requests", None
                )
            )
        else:
            job = Job(request, tensors, self._say)
            self._jobs[request.id] = job
            self._compute.submit(job)

    def _cancel(self, request_id: str) -> None:
        job = self._jobs.get(request_id)
        if job is None:
            return
        job.cancel()
        if job.claim():  # It has not begun.
            del self._jobs[request_id]
            frames = encode(Error(request_id, "cancelled", "cancelled before it began", None))
            self._answers.add(request_id, frames)
            self._send_frames(frames)
            self._end_if_drained()

    def _flush(self, wait: float = 0.0) -> None:
        """Sends what the computing thread said; waits `wait` seconds for a first word."""
        while True:
            try:
                frames, answers = (
                    self._outbox.get(timeout=wait) if wait > 0 else self._outbox.get_nowait()
                )
            except queue.Empty:
                break
            wait = 0.0
            if answers is not None:
                self._answers.add(answers, frames)
                del self._jobs[answers]
            self._send_frames(frames)
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        if self._draining and not self._jobs and self._outbox.empty():
            self.end(0, "drained")

    def _beat(self, now: float, late: float) -> None:
        # When this process was held up (stopped, swapped out), so was the reading of what the
        # controller said.
        self._last_heard += max(0.0, late)
        if self._is_child or (self._welcomed and self._connection.vouches):
            self._last_heard = now
        silence = now - self._last_heard
        if silence > self._controller_timeout:
            print(
                f"no word from the controller for {silence:.0f} s: ending",
                file=sys.stderr,
                flush=True,
            )
            self.end(4, "no controller")
        elif self._welcomed:
            running = self._compute.running
            queued = max(0, len(self._jobs) - (running is not None))
            self._send(Heartbeat(self._sequence, running.running() if running else None, queued))
            self._sequence += 1

    def _send(self, message: AnyMessage) -> None:
        self._send_frames(encode(message))

    def _send_frames(self, frames: list[Buffer]) -> None:
        with contextlib.suppress(
            zmq.Again
        ):  # Not connected: after the reconnect the controller asks again.
            self._connection.send(frames, zmq.NOBLOCK)
