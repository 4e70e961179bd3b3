"""The bare end of `bench/bridge.ts`: a DEALER that answers each message at once, with nothing of
the bridge in between.

`[b"echo", ...]` comes back as it is; `[b"take", ...]` is answered by `[b"took"]`.
"""

from __future__ import annotations

import sys

import zmq


def main(endpoint: str) -> None:
    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.setsockopt(zmq.ROUTING_ID, b"bare")
    dealer.connect(endpoint)
    dealer.send(b"hello")
    while True:
        frames = dealer.recv_multipart(copy=False)
        if frames[0].bytes == b"end":
            return
        dealer.send_multipart(frames if frames[0].bytes == b"echo" else [b"took"], copy=False)


main(sys.argv[1])
