from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genac_bridge.wire.frames import (
    FRAME_BYTES,
    Decoder,
    FrameError,
    encode,
    in_pieces,
    readable_id,
)
from genac_bridge.wire.messages import AnyMessage, Bye, FromWorker, Result

DTYPES = ["float32", "float64", "int32", "int64", "uint8", "uint32"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)


def result(value: Any = None) -> Result:
    return Result("a", {"value": value}, 0.5, [])


def refusal(frames: list[bytes], limit: int = 2**20) -> str:
    with pytest.raises(FrameError) as caught:
        Decoder(FromWorker, limit).decode(frames)
    return str(caught.value)


def header(**changes: Any) -> bytes:
    return msgspec.msgpack.encode(
        {"type": "result", "id": "a", "result": {}, "seconds": 0.5, "tensors": [], **changes}
    )


@pytest.mark.parametrize("half", ["\ud83d", "a\udc00b", "\ud83d" * 3])
def test_halves_of_surrogate_pairs_become_the_replacement_character(half: str) -> None:
    message, _ = Decoder(FromWorker).decode(encode(result({half: [half, "\U0001f600"]})))
    whole = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in half)
    assert message.result == {"value": {whole: [whole, "\U0001f600"]}}


def test_text_that_is_not_utf_8_is_refused() -> None:
    frame = header(id="abc").replace(b"abc", b"a\xed\xa0")
    assert "not a valid message" in refusal([frame])


@pytest.mark.parametrize("shape", [[2**63, 0], [2**62, 0], [2**53 - 1, 0], [2**31] * 7 + [0]])
def test_a_shape_beyond_all_memory_is_refused_though_it_is_empty(shape: list[int]) -> None:
    head = header(tensors=[{"name": "x", "dtype": "int32", "shape": shape}])
    assert "shape" in refusal([head, b""])


@pytest.mark.parametrize("key", ["heartbeat_ms", "controller_timeout_ms", "max_message_bytes"])
def test_times_and_sizes_that_nothing_can_hold_are_refused(key: str) -> None:
    welcome = {
        "protocol": 2,
        "heartbeat_ms": 1,
        "controller_timeout_ms": 1,
        "max_message_bytes": 1,
        key: 2**62,
    }
    with pytest.raises(FrameError, match=key):
        Decoder(AnyMessage).decode([msgspec.msgpack.encode({"type": "welcome", **welcome})])


@settings(deadline=None, max_examples=150)
@given(
    JSON,
    st.dictionaries(st.text("xyz", min_size=1, max_size=3), ARRAYS, max_size=4),
    st.integers(0, 7),
)
def test_round_trip_at_any_alignment(
    value: Any, tensors: dict[str, np.ndarray], offset: int
) -> None:
    frames = [
        memoryview(b"\0" * offset + bytes(frame))[offset:]
        for frame in encode(result(value), tensors)
    ]
    message, arrived = Decoder(FromWorker).decode(frames)
    assert message.result == {"value": value}
    assert list(arrived) == list(tensors)
    for name, array in arrived.items():
        assert array.dtype == tensors[name].dtype
        assert array.shape == tensors[name].shape
        assert array.tobytes() == np.ascontiguousarray(tensors[name]).tobytes()
        assert array.flags.aligned


def test_memory_is_shared_not_copied() -> None:
    array = np.arange(6, dtype=np.float32)
    frames = encode(result(), {"x": array})
    _, tensors = Decoder(FromWorker).decode(frames)
    assert np.shares_memory(tensors["x"], array)


def test_a_tensor_longer_than_a_frame_is_several() -> None:
    sizes = [2 * FRAME_BYTES, 0, 1, 2 * FRAME_BYTES + 8, FRAME_BYTES]
    given = {f"t{size}": np.resize(np.arange(251, dtype=np.uint8), size) for size in sizes}
    at_once = encode(result(), given)
    assert len(at_once) == 6
    frames = in_pieces(at_once)
    whole = FRAME_BYTES
    assert [len(frame) for frame in frames[1:]] == [whole, whole, 0, 1, whole, whole, 8, whole]
    for sent in (at_once, frames):
        _, tensors = Decoder(FromWorker).decode(sent)
        for name, array in given.items():
            assert np.array_equal(tensors[name], array)
    assert refusal(frames[:-1], 2**30).endswith("7 frames follow it")
    assert "its frame has" in refusal([*frames[:6], bytes(whole - 1), *frames[7:]], 2**30)


def test_rows_that_do_not_lie_in_order_are_sent_in_order() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    _, tensors = Decoder(FromWorker).decode(encode(result(), {"x": array}))
    assert tensors["x"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    "array", [np.zeros(2, np.float16), np.zeros(2, ">f4"), np.array(["a"]), np.array([None])]
)
def test_what_cannot_travel_is_refused(array: np.ndarray) -> None:
    with pytest.raises(FrameError, match=r"tensor x is .*, which can't travel"):
        encode(result(), {"x": array})


def test_values_that_are_not_plain_are_refused() -> None:
    with pytest.raises(FrameError, match="can't travel as msgpack"):
        encode(result(object()))
    with pytest.raises(FrameError, match="Bye carries no tensors"):
        encode(Bye(""), {"x": np.zeros(1)})


def test_wrong_frames() -> None:
    head, data = encode(result(), {"x": np.zeros((2, 3), np.int32)})
    assert refusal([head, data[:20]]) == "tensor x is int32 [2, 3], 24 bytes, but its frame has 20"
    assert refusal([head]) == "the header describes 1 tensors, but 0 frames follow it"
    assert refusal([head, data, data]) == "the header describes 1 tensors, but 2 frames follow it"
    one = {"name": "x", "dtype": "uint8", "shape": [1]}
    assert refusal([header(tensors=[one, one]), b"1", b"2"]) == "two tensors are named x"
    size = len(head) + len(data)
    assert (
        refusal([head, data], size - 1)
        == f"a message of {size} bytes exceeds the limit of {size - 1}"
    )
    Decoder(FromWorker, size).decode([head, data])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xc1",
        header()[:-1],
        header() + b"\0",
        header(more=1),
        header(seconds=None),
        header(seconds=-1),
        header(type="hi"),
        header(id=""),
        header(tensors=[{"name": "x", "dtype": "uint8", "shape": [-1]}]),
        header(tensors=[{"name": "x", "dtype": "float16", "shape": [1]}]),
        msgspec.msgpack.encode({"type": "bye"}),
        msgspec.msgpack.encode([1]),
        b"\x91" * 100_000,
    ],
    ids=lambda head: head[:12].hex(),
)
def test_wrong_headers(head: bytes) -> None:
    assert refusal([head]).startswith("not a valid message: ")


@given(st.lists(st.binary(max_size=30), max_size=3))
def test_any_bytes_are_refused_in_words(frames: list[bytes]) -> None:
    refusal(frames)


def test_the_request_of_a_broken_message() -> None:
    assert readable_id([header(id="q7", broken=1)]) == "q7"
    assert readable_id([b"\xc1"]) is None
    assert readable_id([header(id="")]) is None
