"""A TCP connection that carries so many bytes a second, or nothing any more."""

from __future__ import annotations

import socket
import threading
import time

PIECE = 4096


class SlowLink:
    """Leads connections to `port` of this machine, from a port of its own."""

    def __init__(self, port: int, bytes_per_second: float) -> None:
        self._target = port
        self._rate = bytes_per_second
        self._sockets: list[socket.socket] = []
        #: Sockets whose bytes go nowhere.
        self._holes: set[socket.socket] = set()
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._start(self._accept)

    def black_hole(self) -> None:
        """All connections of now go silent, without an end; new ones work."""
        self._holes.update(self._sockets)

    def close(self) -> None:
        for one in [self._server, *self._sockets]:
            one.close()

    @staticmethod
    def _start(run: object, *arguments: object) -> None:
        threading.Thread(target=run, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            target = socket.create_connection(("127.0.0.1", self._target))
            for one in (client, target):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(one)
            self._start(self._carry, client, target)
            self._start(self._carry, target, client)

    def _carry(self, source: socket.socket, to: socket.socket) -> None:
        try:
            while piece := source.recv(PIECE):
                if source not in self._holes:
                    to.sendall(piece)
                    time.sleep(len(piece) / self._rate)
        except OSError:
            pass
        if source not in self._holes:
            for one in (source, to):
                one.close()
