"""`sample` with a prefix: a completion whose first tokens are given."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import Client, completions, prompts, split
from genac_bridge.wire.context import OperationError

LENGTHS = [3, 9, 1, 6, 14]


@pytest.mark.parametrize("kind", ["folder", "byte_folder"])
def test_a_begun_completion_goes_on_as_it_would_have(
    client: Client, kind: str, request: pytest.FixtureRequest
) -> None:
    client.load(request.getfixturevalue(kind))
    tensors = prompts(np.random.default_rng(5), LENGTHS)
    whole, out = client.sample(tensors, max_new_tokens=20, temperature=0.0, stop_strings=[])
    ids, ends = completions(out), completions(out, "text_ends")
    before = [len(row) // 2 for row in ids]
    first = split(tensors["prompt_ids"], tensors["prompt_cu_seqlens"])
    begun = [
        np.concatenate([p, np.array(row[:k], np.int32)])
        for p, row, k in zip(first, ids, before, strict=True)
    ]
    asked = {
        "prompt_ids": np.concatenate(begun).astype(np.int32),
        "prompt_cu_seqlens": np.cumsum([0, *map(len, begun)]).astype(np.int32),
        "prefix_lengths": np.array(before, np.int32),
        "seeds": tensors["seeds"],
    }
    rest, new = client.sample(asked, max_new_tokens=20, temperature=0.0, stop_strings=[])
    assert rest["texts"] == whole["texts"]
    assert rest["finish_reasons"] == whole["finish_reasons"]
    assert completions(new) == [row[k:] for row, k in zip(ids, before, strict=True)]
    assert completions(new, "text_ends") == [row[k:] for row, k in zip(ends, before, strict=True)]


@pytest.mark.parametrize("kind", ["folder", "byte_folder"])
def test_a_stop_string_may_begin_in_the_prefix(
    client: Client, kind: str, request: pytest.FixtureRequest
) -> None:
    client.load(request.getfixturevalue(kind))
    tensors = prompts(np.random.default_rng(5), [3])
    free, out = client.sample(tensors, max_new_tokens=20, temperature=0.0, stop_strings=[])
    (ids,), (ends,) = completions(out), completions(out, "text_ends")
    (text,) = free["texts"]
    # Two characters on both sides of a token's end, which are nowhere before.
    cut, stop = next(
        (k, two)
        for k in range(1, len(ids))
        if len(two := text[ends[k - 1] - 1 : ends[k - 1] + 1]) == 2
        and text.find(two) == ends[k - 1] - 1
    )
    own = {"max_new_tokens": 20, "temperature": 0.0, "stop_strings": [stop]}
    whole, _ = client.sample(tensors, **own)
    begun = np.concatenate([tensors["prompt_ids"], ids[:cut]]).astype(np.int32)
    asked = {
        **{"prompt_ids": begun, "prompt_cu_seqlens": np.array([0, len(begun)], np.int32)},
        **{"prefix_lengths": np.array([cut], np.int32), "seeds": tensors["seeds"]},
    }
    rest, new = client.sample(asked, **own)
    assert whole["finish_reasons"] == rest["finish_reasons"] == ["stop_string"]
    assert rest["texts"] == whole["texts"]
    assert completions(new) == [ids[cut : cut + 1]]
    # One that is whole in the prefix ends nothing.
    before = text[: ends[cut - 1]]
    going, _ = client.sample(asked, max_new_tokens=20, temperature=0.0, stop_strings=[before])
    assert going["texts"] == free["texts"]


def test_a_prefix_must_leave_a_prompt_and_room(client: Client, folder: str) -> None:
    client.load(folder)
    tensors = prompts(np.random.default_rng(6), [4, 4])
    for lengths in ([4, 0], [-1, 0], [3, 3]):
        with pytest.raises(OperationError, match=r"prefix_lengths\[0\] is .*must be less than"):
            client.sample(
                {**tensors, "prefix_lengths": np.array(lengths, np.int32)}, max_new_tokens=3
            )
