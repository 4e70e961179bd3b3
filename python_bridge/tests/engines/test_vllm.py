"""The engine `vllm` by vLLM itself: what is drawn, what ends it, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vllm_models import close_all, gap, loading, make_folder, needs_vllm, sampled

from conftest import Client, completions, prompts
from genac_bridge.wire.context import NullContext, OperationError

pytestmark = needs_vllm

LENGTHS = [3, 9, 1, 6]
TENSORS = prompts(np.random.default_rng(5), LENGTHS, 2)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One engine for all: none of these tests changes the weights."""
    client = Client()
    folder = make_folder(tmp_path_factory.mktemp("vllm"))
    loaded = client.load(folder, loading=loading(), optimizer=None)
    assert (loaded["reproducible"], loaded["version"]) == (False, 0)
    yield client
    close_all(client)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_logprobs_are_those_of_the_network(client: Client, temperature: float) -> None:
    _, out = client.sample(
        dict(TENSORS), completions_per_prompt=2, max_new_tokens=20, temperature=temperature
    )
    assert len(out["logprobs"]) > 100
    assert gap(client, out, 2, temperature) < 1e-4


def test_temperature_0_takes_the_likeliest_with_its_logprob_at_1(client: Client) -> None:
    tensors = prompts(np.random.default_rng(6), [4, 7])
    _, out = client.sample(dict(tensors), temperature=0.0, max_new_tokens=8)
    assert gap(client, out, 1, 1.0) < 1e-4
    other = {**tensors, "seeds": tensors["seeds"] + np.uint32(1)}
    assert sampled(client, other, temperature=0.0, max_new_tokens=8)[0] == completions(out)


def test_a_seed_gives_the_same_again_and_another_something_else(client: Client) -> None:
    options = {"completions_per_prompt": 2, "max_new_tokens": 20}
    first, again = (sampled(client, TENSORS, **options)[0] for _ in range(2))
    assert first == again
    other = {**TENSORS, "seeds": TENSORS["seeds"] + np.uint32(1)}
    assert sampled(client, other, **options)[0] != first
    # Both words of a seed count, and so does the highest bit but one of 64.
    high = TENSORS["seeds"] + np.array([0, 1], np.uint32)
    assert sampled(client, {**TENSORS, "seeds": high}, **options)[0] != first


def test_many_long_prompts_at_once_keep_their_seeds(client: Client) -> None:
    # More than the 4,096 tokens that vLLM reads at once.
    tensors = prompts(np.random.default_rng(9), [150] * 60)
    options = {"max_new_tokens": 6}
    first, logprobs = sampled(client, tensors, **options)
    assert sampled(client, tensors, **options) == (first, pytest.approx(logprobs, abs=1e-4))
    last = {
        "prompt_ids": tensors["prompt_ids"][-150:],
        "prompt_cu_seqlens": np.array([0, 150], np.int32),
        "seeds": tensors["seeds"][-1:],
    }
    assert sampled(client, last, **options)[0] == first[-1:]


def test_a_batch_size_changes_nothing_but_how_many_are_in_flight(client: Client) -> None:
    options = {"completions_per_prompt": 2, "max_new_tokens": 12}
    assert (
        sampled(client, TENSORS, **options, batch_size=3)[0]
        == sampled(client, TENSORS, **options)[0]
    )


def test_each_prompt_has_its_own_limit(client: Client) -> None:
    tensors = {**prompts(np.random.default_rng(7), [6, 8, 9])}
    tensors["prefix_lengths"] = np.array([0, 3, 7], np.int32)
    options = {"max_new_tokens": 9, "temperature": 1.7}
    ids, _ = sampled(client, tensors, **options)
    ended = [completion[-1] == 1 for completion in ids]
    limits = [9, 6, 2]
    assert all(
        len(completion) == limit or (over and len(completion) < limit)
        for completion, limit, over in zip(ids, limits, ended, strict=True)
    )
    assert [len(c) for c in ids] == limits, "another seed of the test, where none ends early"


def test_stop_tokens_end_a_completion_and_belong_to_it(client: Client) -> None:
    free, _ = sampled(client, TENSORS, completions_per_prompt=2, max_new_tokens=20)
    stop = free[0][3]
    result, out = client.sample(
        dict(TENSORS), completions_per_prompt=2, max_new_tokens=20, stop_token_ids=[stop]
    )
    for before, now, reason in zip(free, completions(out), result["finish_reasons"], strict=True):
        at = before.index(stop) + 1 if stop in before else len(before)
        assert now == before[:at]
        assert reason == ("stop_token" if now[-1] in (stop, 1) else "length")
    assert "stop_token" in result["finish_reasons"]


def test_a_stop_string_ends_with_the_token_that_completes_it(client: Client) -> None:
    result, out = client.sample(dict(TENSORS), completions_per_prompt=2, max_new_tokens=20)
    free, text = completions(out), result["texts"][1]
    words = text.split()
    string = f"{words[4]} {words[5]}"
    stopped, cut = client.sample(
        dict(TENSORS), completions_per_prompt=2, max_new_tokens=20, stop_strings=[string]
    )
    assert stopped["finish_reasons"][1] == "stop_string"
    assert stopped["texts"][1].endswith(string)
    assert completions(cut)[1] == free[1][:6]
    for before, now, one in zip(free, completions(cut), stopped["texts"], strict=True):
        assert now == before[: len(now)]
        assert string in one or now == before


class Impatient(NullContext):
    """Is cancelled at its n-th check."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left, self.fractions = checks, [0.0]

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OperationError("cancelled", "enough")

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


def test_a_cancelled_request_leaves_nothing_in_vllm(client: Client) -> None:
    options: dict[str, Any] = {"completions_per_prompt": 2, "max_new_tokens": 40}
    whole = sampled(client, TENSORS, **options)
    with pytest.raises(OperationError) as caught:
        client.sample(dict(TENSORS), Impatient(6), **options)
    assert caught.value.code == "cancelled"
    engine: Any = client.operations.models["m"].engine
    assert not engine._backend._llm.has_unfinished_requests()
    assert engine._backend._llm.reset_prefix_cache()
    assert sampled(client, TENSORS, **options)[0] == whole[0]


def test_what_is_finished_is_reported_at_once(client: Client) -> None:
    tensors = prompts(np.random.default_rng(7), [6, 8, 9])
    tensors["prefix_lengths"] = np.array([0, 3, 7], np.int32)
    context = Impatient(10**6)
    _, out = client.sample(tensors, context, max_new_tokens=9, temperature=1.7, stream=True)
    assert [data["indices"] for data, _ in context.partials] == [[2], [1], [0]]
    assert np.array_equal(context.partials[0][1]["logprobs"], out["logprobs"][-2:])
    assert context.fractions == sorted(context.fractions)
    assert context.fractions[-1] == 1.0


def test_a_long_prompt_is_computed_once_for_all_its_completions(client: Client) -> None:
    tensors = prompts(np.random.default_rng(8), [200], 4)
    result, out = client.sample(dict(tensors), completions_per_prompt=4, max_new_tokens=5)
    # Blocks of 128 tokens; the first completion computes it.
    assert result["cached_tokens"] == 3 * 128
    assert gap(client, out, 4, 1.0) < 1e-4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0.005}, r"takes temperatures from 0.01 to 2, and 0 \(it is 0.005\)"),
        ({"temperature": 2.5}, "takes temperatures from 0.01 to 2"),
        ({"max_new_tokens": 300}, "together more than the model's context of 256"),
    ],
)
def test_a_request_that_vllm_would_change_is_refused(
    client: Client, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(OperationError, match=said):
        client.sample(dict(TENSORS), completions_per_prompt=2, **changes)
    assert len(sampled(client, TENSORS, completions_per_prompt=2)[0]) == 8


def test_vllm_s_room_for_a_sequence_is_the_limit(tmp_path: Path) -> None:
    client = Client()
    client.load(make_folder(tmp_path), loading=loading(max_model_len=64), optimizer=None)
    tensors = prompts(np.random.default_rng(0), [50])
    assert len(sampled(client, tensors, max_new_tokens=14, temperature=0.0)[0][0]) <= 14
    with pytest.raises(OperationError, match=r"50 tokens and may have 15 new ones, and vLLM has"):
        client.sample(tensors, max_new_tokens=15)
    close_all(client)


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ({"enforce_eagr": True}, {}, "vLLM has no option 'enforce_eagr'; do you mean 'enforce_ea"),
        ({"max_model_len": 10**6}, {}, "vLLM can't serve .*max_model_len"),
        ({"transfer": "ipc"}, {}, "transfer ipc needs vLLM's workers in processes of their own"),
        ({}, {"head_dim": 8}, "is dead: it failed: RuntimeError: .*head_dim=8"),
    ],
)
def test_what_vllm_can_t_serve_is_told_at_load(
    tmp_path: Path, options: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    client = Client()
    folder = make_folder(tmp_path, **changes)
    with pytest.raises(OperationError, match=said):
        client.load(folder, loading=loading(**options))
    assert client.operations.models == {}
