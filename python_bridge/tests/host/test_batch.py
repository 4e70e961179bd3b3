"""A batch as it goes to the controller, and its advantages as they come back; by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genac_bridge.host.batch import Row, from_wire, plain_prompt, to_wire


def row(prompt: str, *ids: int, **rest: Any) -> Row:
    ends = np.arange(1, len(ids) + 1, dtype=np.int32)
    given = {"mask": None, "logprobs": None, "finished": True, **rest}
    return Row(prompt, np.array(ids, np.int32), "x" * len(ids), ends, **given)


def test_rows_without_a_reward_stay_and_get_zeros() -> None:
    rows = [row("a", 1, 2), row("a", 3), row("b", 4, 5, 6, finished=False), row("b")]
    arguments, tensors, sent = to_wire(rows, np.array([1.0, np.nan, 0.5, 0.0]), group_size=2)
    assert sent.tolist() == [0, 2, 3]
    assert arguments == {
        "prompts": ["a", "b"],
        "texts": ["xx", "xxx", ""],
        "finished": [True, False, True],
    }
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "completion_ids": [1, 2, 4, 5, 6],
        "cu_seqlens": [0, 2, 5, 5],
        "text_ends": [1, 2, 1, 2, 3],
        "problems": [0, 1, 1],
        "rewards": [1, 0.5, 0],
    }
    back = from_wire(np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32), rows, sent)
    assert [own.round(1).tolist() for own in back] == [
        pytest.approx([0.1, 0.2]),
        [0],
        pytest.approx([0.3, 0.4, 0.5]),
        [],
    ]


def test_a_group_is_one_problem_for_each_of_its_prompts() -> None:
    rows = [row("a", 1), row("b", 1), row("a", 1), row("a", 1)]
    arguments, tensors, _ = to_wire(rows, np.zeros(4), group_size=2)
    assert arguments["prompts"] == ["a", "b", "a"]
    assert tensors["problems"].tolist() == [0, 1, 2, 2]


def test_masks_go_where_any_row_has_one_and_log_probabilities_where_all_have() -> None:
    masked = row(
        "a", 1, 2, mask=np.array([1, 0], np.uint8), logprobs=np.array([-1, -2], np.float32)
    )
    _, tensors, _ = to_wire([masked, row("a", 3)], np.zeros(2), group_size=2)
    assert tensors["actor_mask"].tolist() == [1, 0, 1]
    assert "logprobs" not in tensors
    _, tensors, _ = to_wire([masked], np.zeros(1), group_size=1)
    assert tensors["logprobs"].tolist() == [-1, -2]


def test_the_exact_ids_of_each_prompt_go_along_where_all_have_them() -> None:
    def known(prompt: str, *ids: int) -> Row:
        return row(prompt, 1, prompt_ids=np.array(ids, np.int32))

    rows = [known("a", 5, 6), known("b", 7), known("a", 5, 6), known("a", 5, 6), known("c", 8)]
    rewards = np.array([0, np.nan, 0, 0, 0])
    arguments, tensors, _ = to_wire(rows, rewards, group_size=2)
    assert arguments["prompts"] == ["a", "a", "c"]
    assert tensors["prompt_ids"].tolist() == [5, 6, 5, 6, 8]
    assert tensors["prompt_cu_seqlens"].tolist() == [0, 2, 4, 5]
    assert {tensors[name].dtype for name in ("prompt_ids", "prompt_cu_seqlens")} == {
        np.dtype(np.int32)
    }
    rows[4] = row("c", 1)
    assert "prompt_ids" not in to_wire(rows, rewards, group_size=2)[1]
    assert "prompt_ids" not in to_wire([], np.zeros(0), group_size=1)[1]


def test_prompts_are_text_to_the_critic() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    calls = [{"name": "add"}]
    assert plain_prompt("Hello") == "Hello"
    assert plain_prompt(
        [{"role": "user", "content": parts}, {"role": "assistant", "tool_calls": calls}]
    ) == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": '[{"name": "add"}]'},
    ]
    with pytest.raises(ValueError, match="a prompt has content of type image"):
        plain_prompt([{"role": "user", "content": [{"type": "image"}]}])
