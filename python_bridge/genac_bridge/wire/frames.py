"""Messages to frames and back:

`[header: msgpack] [tensor 0] [tensor 1] ...`, with the checks of `src/bridge/frames.ts`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from .context import Tensors
from .messages import AnyMessage, Ask, Partial, Request, Result, ReverseRequest, TensorHeader

if sys.byteorder != "little":
    raise RuntimeError(
        "the bridge sends little-endian arrays as they lie in memory; this machine is big-endian"
    )

#: Entries of a tensor, counting a size of 0 as 1: what is more fits into no memory, and NumPy
#: refuses it.
LARGEST_SHAPE = 2**40
#: Bytes of a frame over TCP; a longer tensor is several (the reason is in `src/bridge/frames.ts`).
FRAME_BYTES = 2**20

Buffer = bytes | bytearray | memoryview

_encoder = msgspec.msgpack.Encoder()
_DTYPES = {
    name: np.dtype(name) for name in ("float32", "float64", "int32", "int64", "uint8", "uint32")
}


class FrameError(Exception):
    """Frames that are not exactly one valid message, or something that can't be made into one."""


def encode(message: AnyMessage, tensors: Tensors | None = None) -> list[Buffer]:
    """Returns the frames of a message; sets its `tensors`.

    Contiguous arrays are not copied: they must not be written afterwards.
    """
    if not tensors:
        return [_pack(message)]
    if not isinstance(message, Ask | Request | ReverseRequest | Result | Partial):
        raise FrameError(f"{type(message).__name__} carries no tensors")
    headers: list[TensorHeader] = []
    frames: list[Buffer] = []
    for name, array in tensors.items():
        contiguous = np.ascontiguousarray(array)
        dtype = contiguous.dtype.name
        if dtype not in _DTYPES or not contiguous.dtype.isnative:
            raise FrameError(
                f"tensor {name} is {contiguous.dtype}, which can't travel ({', '.join(_DTYPES)} "
                "can)"
            )
        # (`ascontiguousarray` makes a scalar one-dimensional, hence the shape of the original.)
        headers.append(TensorHeader(name, dtype, list(np.shape(array))))  # type: ignore[arg-type]  # checked just above
        frames.append(contiguous.reshape(-1).data.cast("B") if contiguous.size else b"")
    message.tensors = headers
    return [_pack(message), *frames]


def in_pieces(frames: Sequence[Buffer]) -> list[Buffer]:
    """Returns the frames of a message as they travel over TCP: tensors in pieces."""
    header, *tensors = frames
    return [
        header,
        *(
            data[at : at + FRAME_BYTES]
            for data in tensors
            for at in range(0, len(data) or 1, FRAME_BYTES)
        ),
    ]


def _pack(message: AnyMessage) -> bytes:
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 can't hold
        return _encoder.encode(well_formed(msgspec.to_builtins(message)))
    except (TypeError, OverflowError, RecursionError) as error:
        raise FrameError(f"this can't travel as msgpack: {error}") from error


def well_formed(value: Any) -> Any:
    """Returns `value` with halves of surrogate pairs replaced by U+FFFD, in all texts and keys."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list | tuple):
        return [well_formed(item) for item in value]
    if isinstance(value, dict):
        return {well_formed(key): well_formed(item) for key, item in value.items()}
    return value


class Decoder:
    """Decodes messages of the union `kind`.

    `max_message_bytes` holds for all frames of one together.
    """

    def __init__(self, kind: Any, max_message_bytes: int = 2**30) -> None:
        self.max_message_bytes = max_message_bytes
        self._decoder = msgspec.msgpack.Decoder(kind)

    def decode(self, frames: Sequence[Buffer]) -> tuple[Any, Tensors]:
        """Returns the message and its tensors (views of the frames' memory, read-only).

        Raises FrameError.
        """
        size = sum(len(frame) for frame in frames)
        if size > self.max_message_bytes:
            raise FrameError(
                f"a message of {size} bytes exceeds the limit of {self.max_message_bytes}"
            )
        if not frames:
            raise FrameError("a message without a header")
        try:
            message = self._decoder.decode(frames[0])
        # ValidationError is a DecodeError; text that is not UTF-8 is an error of Python's own.
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise FrameError(f"not a valid message: {error}") from error
        return message, _tensors(getattr(message, "tensors", []), frames)


def _tensors(headers: list[TensorHeader], frames: Sequence[Buffer]) -> Tensors:
    wrong_number = FrameError(
        f"the header describes {len(headers)} tensors, but {len(frames) - 1} frames follow it"
    )
    tensors: Tensors = {}
    at = 1
    for header in headers:
        dtype = _DTYPES[header.dtype]
        if math.prod(max(size, 1) for size in header.shape) > LARGEST_SHAPE:
            raise FrameError(f"tensor {header.name} can't have the shape {header.shape}")
        expected = math.prod(header.shape) * dtype.itemsize
        pieces = frames[at : at + _piece_count(expected, frames, at)]
        at += len(pieces)
        if not pieces:
            raise wrong_number
        frame = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(frame) != expected:
            raise FrameError(
                f"tensor {header.name} is {header.dtype} {header.shape}, {expected} bytes, but its "
                f"frame has {len(frame)}"
            )
        if header.name in tensors:
            raise FrameError(f"two tensors are named {header.name}")
        array = np.frombuffer(frame, dtype).reshape(header.shape)
        tensors[header.name] = array if array.flags.aligned else array.copy()
    if at != len(frames):
        raise wrong_number
    return tensors


def _piece_count(expected: int, frames: Sequence[Buffer], at: int) -> int:
    """How many frames from `at` on are a tensor's: all but the last have `FRAME_BYTES`."""
    count = 1
    while (
        count * FRAME_BYTES < expected
        and at + count <= len(frames)
        and len(frames[at + count - 1]) == FRAME_BYTES
    ):
        count += 1
    return count


def readable_id(frames: Sequence[Buffer]) -> str | None:
    """Returns the request's id in an unreadable message, if that much can be read."""
    try:
        found = msgspec.msgpack.decode(frames[0])["id"]
    except Exception:
        return None
    return found if isinstance(found, str) and 1 <= len(found) <= 64 else None
