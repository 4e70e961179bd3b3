"""The wire's messages, as in `src/bridge/messages.ts`: same names, same order, no field ever
missing.

The golden vectors in `test/fixtures/wire` hold both sides to each other, and `hello` carries the
schema's hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PROTOCOL_VERSION = 2

Dtype = Literal["float32", "float64", "int32", "int64", "uint8", "uint32"]
ErrorCode = Literal[
    "bad_message",
    "bad_arguments",
    "bad_state",
    "cancelled",
    "deadline",
    "out_of_memory",
    "function_error",
    "internal",
]
Operation = Literal[
    "load_model",
    "tokenize",
    "sample",
    "score",
    "choices",
    "accumulate",
    "step",
    "publish",
    "save_model",
    "restore_model",
    "call",
]
HostOperation = Literal[
    "open",
    "set_actor",
    "assign_credit",
    "value",
    "fence",
    "open_oracle",
    "ask_oracle",
    "imitate",
    "save",
    "restore",
]
ReverseOperation = Literal["continue_responses"]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
#: Integers beyond this are no integers in JavaScript.
MAX_SAFE_INTEGER = 2**53 - 1
Count = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
Positive = Annotated[int, Meta(gt=0, le=MAX_SAFE_INTEGER)]
#: What timers can wait: 24 days.
Milliseconds = Annotated[int, Meta(gt=0, le=2**31 - 1)]


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    pass


class TensorHeader(_Plain):
    name: Annotated[str, Meta(min_length=1)]
    dtype: Dtype
    shape: Annotated[list[Count], Meta(max_length=8)]


TensorHeaders = Annotated[list[TensorHeader], Meta(max_length=64)]


class Running(_Plain):
    """What runs now."""

    id: Id
    operation: str
    elapsed_ms: Count
    progress: Annotated[float, Meta(ge=0, le=1)] | None


class Device(_Plain):
    name: str
    description: str
    memory_bytes: Count | None
    bfloat16: bool


class _Message(_Plain, tag_field="type"):
    pass


# Worker -> controller


class Hello(_Message, tag="hello"):
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    start_id: Id
    protocol_min: Count
    protocol_max: Count
    schema_hash: str
    pid: Count
    host: str


class Ready(_Message, tag="ready"):
    versions: dict[str, str]
    devices: list[Device]


class Heartbeat(_Message, tag="heartbeat"):
    sequence: Count
    running: Running | None
    queued: Count


class Partial(_Message, tag="partial"):
    id: Id
    sequence: Count
    data: dict[str, Any]
    tensors: TensorHeaders


class Result(_Message, tag="result"):
    id: Id
    result: dict[str, Any]
    seconds: Annotated[float, Meta(ge=0)]
    tensors: TensorHeaders


class Error(_Message, tag="error"):
    id: Id | None
    code: ErrorCode
    message: str
    traceback: str | None


class Bye(_Message, tag="bye"):
    reason: str


# Controller -> worker


class Welcome(_Message, tag="welcome"):
    protocol: Count
    heartbeat_ms: Milliseconds
    controller_timeout_ms: Milliseconds
    max_message_bytes: Positive


class Reject(_Message, tag="reject"):
    code: Literal["protocol", "schema", "duplicate_name", "unknown_name", "bad_message"]
    message: str


class Request(_Message, tag="request"):
    id: Id
    operation: Operation
    arguments: dict[str, Any]
    deadline_ms: Milliseconds | None
    tensors: TensorHeaders


class Cancel(_Message, tag="cancel"):
    id: Id


class Pulse(_Message, tag="pulse"):
    sequence: Count


class Drain(_Message, tag="drain"):
    pass


class Shutdown(_Message, tag="shutdown"):
    reason: str


# Host -> controller (and `hello`, `bye`)


class Ask(_Message, tag="ask"):
    id: Id
    operation: HostOperation
    arguments: dict[str, Any]
    tensors: TensorHeaders


# Controller -> host, while it serves an ask of the host; answered by `result` or `error`


class ReverseRequest(_Message, tag="reverse_request"):
    id: Id
    operation: ReverseOperation
    arguments: dict[str, Any]
    tensors: TensorHeaders


FromWorker = Hello | Ready | Heartbeat | Partial | Result | Error | Bye
FromController = Welcome | Reject | Request | Cancel | Pulse | Drain | Shutdown
ToHost = Welcome | Reject | Partial | Result | Error | Pulse | ReverseRequest
AnyMessage = FromWorker | FromController | Ask | ReverseRequest


def schema_hash() -> str:
    """Returns the first 16 hex digits of the SHA-256 of `schema.json`, which both sides have byte
    for byte.
    """
    return hashlib.sha256(Path(__file__).with_name("schema.json").read_bytes()).hexdigest()[:16]
