"""The socket of a worker or a host, and what is known of its connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from .frames import Buffer, in_pieces

# Over TCP, in milliseconds. Both sides drop a connection on which no whole frame arrives for
# `HEARTBEAT_TIMEOUT`, and ZeroMQ makes a new one. (The reply to a heartbeat may come later, behind
# a large message, but its frames or the controller's pulses come in time.) It is well below
# `silenceMs` of `src/bridge/link.ts`: a connection is mended before its worker is lost.
HEARTBEAT = 2_000
HEARTBEAT_TIMEOUT = 10_000


class Connection:
    """Makes a DEALER; `connect` comes later, when its options are complete."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, routing_id: str) -> None:
        self._endpoint = endpoint
        #: Connections so far.
        self.count = 0
        #: Seconds for which the last one that broke held.
        self.held = 0.0
        self._is_up = False
        self._up_since = 0.0
        self.dealer: zmq.Socket[Any] = context.socket(zmq.DEALER)
        self.dealer.setsockopt(zmq.SNDHWM, 0)
        self.dealer.setsockopt(zmq.RCVHWM, 0)
        self.dealer.setsockopt(zmq.ROUTING_ID, routing_id.encode())
        self.dealer.setsockopt(zmq.RECONNECT_IVL, 100)
        self.dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        # Without TCP the kernel tells when the other process has ended, and one that is stopped
        # (Ctrl-Z) keeps its connection.
        self._is_remote = endpoint.startswith("tcp://")
        if self._is_remote:
            self.dealer.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT)
            self.dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT)
            self.dealer.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT)
        # Before `connect`: a handshake that the monitor misses would never be followed by `hello`.
        self.monitor: zmq.Socket[Any] = self.dealer.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )

    def connect(self) -> None:
        self.dealer.connect(self._endpoint)

    def send(self, frames: Sequence[Buffer], flags: int = 0) -> None:
        self.dealer.send_multipart(
            in_pieces(frames) if self._is_remote else frames, flags, copy=False
        )

    def show_token(self, token: str) -> None:
        """The controller's endpoint asks for a token (`src/bridge/authentication.ts`)."""
        self.dealer.plain_username = b"genac"
        self.dealer.plain_password = token.encode()

    def read_event(self) -> bool:
        """Reads the monitor's next event. True: there is a new connection."""
        event = recv_monitor_message(self.monitor)["event"]
        if self._is_up:
            self.held = time.monotonic() - self._up_since
        self._is_up = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        self._up_since = time.monotonic()
        self.count += self._is_up
        return self._is_up

    @property
    def vouches(self) -> bool:
        """True while heartbeats show that the controller is there. Over a slow link a large message
        holds up its words for minutes: that is no silence.
        """
        return self._is_remote and self._is_up
