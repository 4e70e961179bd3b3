"""The golden vectors that TypeScript wrote: read, compared, and written to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from genac_bridge.wire import messages
from genac_bridge.wire.frames import Decoder, encode

ROOT = Path(__file__).parents[3]
VECTORS = json.loads((ROOT / "test/fixtures/wire/vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    frames = [bytes.fromhex(frame) for frame in vector["frames"]]
    message, tensors = Decoder(messages.AnyMessage).decode(frames)
    plain = msgspec.to_builtins(message)
    if "tensors" in plain:
        assert [header["name"] for header in plain.pop("tensors")] == [
            tensor["name"] for tensor in vector["tensors"]
        ]
    assert plain == vector["message"]
    assert list(plain) == list(vector["message"])  # the order of the fields, too
    for expected in vector["tensors"]:
        array = tensors[expected["name"]]
        assert list(array.shape) == expected["shape"]
        assert array.ravel().tolist() == [
            array.dtype.type(float(v) if "." in v else int(v)) for v in expected["values"]
        ]
    assert [bytes(frame).hex() for frame in encode(message, tensors)] == vector["frames"]


def schema() -> dict[str, Any]:
    return json.loads((ROOT / "src/bridge/schema.json").read_text())


def test_both_sides_hold_the_same_schema() -> None:
    package = Path(messages.__file__).with_name("schema.json")
    assert package.read_bytes() == (ROOT / "src/bridge/schema.json").read_bytes()
    assert schema()["protocol"] == messages.PROTOCOL_VERSION


@pytest.mark.parametrize(
    "one", schema()["message"]["oneOf"], ids=lambda one: one["properties"]["type"]["const"]
)
def test_fields_are_the_schemas(one: dict[str, Any]) -> None:
    """Same fields, all of them required, none allowed beside them."""
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(messages.AnyMessage)}
    kind = kinds[one["properties"]["type"]["const"]]
    assert {"type", *kind.__struct_fields__} == set(one["properties"]) == set(one["required"])
    assert kind.__struct_defaults__ == ()
    assert kind.__struct_config__.forbid_unknown_fields


def test_words_are_the_schemas() -> None:
    by_type = {
        one["properties"]["type"]["const"]: one["properties"]
        for one in schema()["message"]["oneOf"]
    }
    assert list(get_args(messages.ErrorCode)) == by_type["error"]["code"]["enum"]
    assert list(get_args(messages.Operation)) == by_type["request"]["operation"]["enum"]
    assert list(get_args(messages.HostOperation)) == by_type["ask"]["operation"]["enum"]
    reverse = by_type["reverse_request"]["operation"]
    assert list(get_args(messages.ReverseOperation)) == reverse["enum"]
    dtypes = by_type["result"]["tensors"]["items"]["properties"]["dtype"]["enum"]
    assert list(get_args(messages.Dtype)) == dtypes


def test_an_integer_does_for_a_float() -> None:
    """JavaScript writes 1.0 as 1."""
    header = msgspec.msgpack.encode(
        {"type": "result", "id": "a", "result": {}, "seconds": 1, "tensors": []}
    )
    message, _ = Decoder(messages.FromWorker).decode([header])
    assert message.seconds == 1.0
    assert isinstance(message.seconds, float)


def test_numpy_is_not_needed_to_hold_big_integers() -> None:
    header = msgspec.msgpack.encode(
        {
            "type": "request",
            "id": "a",
            "operation": "call",
            "arguments": {"seed": 2**53 - 1},
            "deadline_ms": None,
            "tensors": [],
        }
    )
    message, tensors = Decoder(messages.FromController).decode([header])
    assert message.arguments["seed"] == 2**53 - 1
    assert tensors == {}
    assert np.int64(message.arguments["seed"]) == 9007199254740991
