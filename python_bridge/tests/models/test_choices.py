"""`choices`: the chain rule over short answers, against `score` of each of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Client
from genac_bridge.models import choices
from genac_bridge.models.model import LoadedModel
from genac_bridge.wire.context import OperationError

SEQUENCES = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]


def packed(*sequences: list[int]) -> dict[str, np.ndarray]:
    return {
        "ids": np.concatenate(sequences).astype(np.int32),
        "cu_seqlens": np.cumsum([0, *map(len, sequences)]).astype(np.int32),
    }


def ask(client: Client, answers: list[list[int]], **changes: Any) -> np.ndarray:
    arguments = {"model": "m", "temperature": 1.0, "micro_batch_tokens": None, **changes}
    tensors: dict[str, np.ndarray] = client.run(
        "choices", packed(*SEQUENCES), choices=answers, **arguments
    )[1]
    return tensors["logprobs"]


def scored(client: Client, before: list[int], answer: list[int], temperature: float) -> float:
    tensors = client.score(packed(before + answer), temperature=temperature)
    return float(tensors["logprobs"][len(before) :].sum())


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("micro_batch_tokens", [None, 4])
def test_answers_have_the_log_probability_of_their_tokens(
    client: Client, folder: str, temperature: float, micro_batch_tokens: int | None
) -> None:
    client.load(folder)
    answers = [[20], [21, 22], [21, 23, 24]]
    found = ask(client, answers, temperature=temperature, micro_batch_tokens=micro_batch_tokens)
    for row, before in enumerate(SEQUENCES):
        for column, answer in enumerate(answers):
            expected = scored(client, before, answer, temperature)
            assert found[row, column] == pytest.approx(expected, abs=1e-5)


def test_an_answer_that_begins_another_ends_where_the_other_goes_on(
    client: Client, folder: str
) -> None:
    client.load(folder)
    found = ask(client, [[20], [20, 21], [20, 22]])
    for row, before in enumerate(SEQUENCES):
        first, *longer = (
            scored(client, before, answer, 1.0) for answer in ([20], [20, 21], [20, 22])
        )
        assert found[row, 1:] == pytest.approx(longer, abs=1e-5)
        alone = np.exp(first) - np.exp(longer).sum()
        assert np.exp(found[row, 0]) == pytest.approx(alone, rel=1e-4)


def test_all_tokens_of_the_vocabulary_sum_to_one(client: Client, folder: str) -> None:
    client.load(folder)
    every = [[token] for token in range(47)] + [[3, token] for token in range(10)]
    assert np.exp(ask(client, every)).sum(1) == pytest.approx(np.ones(3), abs=1e-5)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([[5], []], r"choices\[1\] has no tokens"),
        ([[5], [5]], "two of them are the same tokens"),
        ([[47]], r"choices\[0\] has the token 47, outside the vocabulary \(0..46\)"),
        ([], "choices"),
    ],
)
def test_answers_that_are_none_are_refused(
    client: Client, folder: str, answers: list[list[int]], words: str
) -> None:
    client.load(folder)
    with pytest.raises(OperationError, match=words):
        ask(client, answers)


@pytest.mark.parametrize("context", [None, 37])
def test_what_else_is_asked_changes_no_digit(
    client: Client, folder: str, tmp_path: Path, context: int | None
) -> None:
    if context is not None:
        folder = narrowed(folder, tmp_path, context)
    client.load(folder)
    rng = np.random.default_rng(0)
    # Beside the answer of two tokens, the longest fills the context.
    sequences = [list(rng.integers(1, 47, size)) for size in rng.integers(1, 36, 60)]
    sequences.append(list(rng.integers(1, 47, 35)))
    answers = [[20], [21, 22], [21, 23]]
    arguments = {"model": "m", "temperature": 0.7, "micro_batch_tokens": None}

    def asked(some: list[list[int]]) -> np.ndarray:
        found: np.ndarray = client.run("choices", packed(*some), choices=answers, **arguments)[1][
            "logprobs"
        ]
        return found

    whole = asked(sequences)
    for size in [1, 1, 2, 7, 8, 9, 40]:
        rows = rng.permutation(len(sequences))[:size]
        np.testing.assert_array_equal(asked([sequences[row] for row in rows]), whole[rows])


def test_a_long_text_is_read_once_and_by_itself(
    client: Client, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(narrowed(folder, tmp_path, 1024))
    rng = np.random.default_rng(3)
    sequences = [list(rng.integers(1, 47, size)) for size in (505, 506, 511, 512, 513, 514, 1000)]
    arguments = {"model": "m", "temperature": 1.0, "micro_batch_tokens": None}
    seen: list[int] = []
    whole = LoadedModel.hidden_states

    def hidden_states(self: LoadedModel, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(ids.numel())
        return whole(self, ids, *rest)

    monkeypatch.setattr(LoadedModel, "hidden_states", hidden_states)

    def asked(some: list[list[int]]) -> np.ndarray:
        found: np.ndarray = client.run("choices", packed(*some), choices=[[20], [21]], **arguments)[
            1
        ]["logprobs"]
        return found

    together = asked(sequences)
    assert sorted(seen) == [528, 528, 1008, 8 * 512]
    for number, sequence in enumerate(sequences):
        np.testing.assert_array_equal(asked([sequence])[0], together[number])


def narrowed(folder: str, path: Path, context: int) -> str:
    """The same model with a context of so many tokens."""
    shutil.copytree(folder, path, dirs_exist_ok=True)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
    return str(path)


def test_a_value_model_has_no_answers(client: Client, folder: str) -> None:
    client.load(folder, kind="value")
    with pytest.raises(OperationError, match="writes no text"):
        ask(client, [[5]])


def test_logits_of_few_sequences_are_held_at_once(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder)
    at_once = {"micro_batch_tokens": 512}
    whole = ask(client, [[20], [21, 22]], **at_once)
    rows = []

    def seen(head: Any, hidden: Any) -> Any:
        rows.append(len(hidden))
        return head(hidden)

    monkeypatch.setattr(choices, "logits_of", seen)
    monkeypatch.setattr(choices, "head_rows", lambda _: 2)
    np.testing.assert_allclose(ask(client, [[20], [21, 22]], **at_once), whole, atol=1e-6)
    assert rows == [2, 1, 2, 1]
