"""How a completion ends: stop tokens, stop strings, a cancel; and how it is streamed."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import Client, completions, prompts
from genac_bridge.wire.context import NullContext, OperationError

LENGTHS = [3, 9, 1, 6, 14]


def test_stop_tokens_end_a_completion_and_belong_to_it(client: Client, folder: str) -> None:
    client.load(folder)
    tensors = prompts(np.random.default_rng(5), [4] * 40)
    result, out = client.sample(tensors, max_new_tokens=12, stop_token_ids=[20, 21])
    reasons = set()
    for ids, reason in zip(completions(out), result["finish_reasons"], strict=True):
        assert not {1, 20, 21} & set(ids[:-1])
        assert (reason == "stop_token") == (ids[-1] in {1, 20, 21})
        assert reason == "stop_token" or len(ids) == 12
        reasons.add(ids[-1] if reason == "stop_token" else "length")
    assert {20, 21, "length"} <= reasons


def test_stop_strings_end_a_completion_at_the_token_that_completes_them(
    client: Client, folder: str
) -> None:
    client.load(folder)
    tensors = prompts(np.random.default_rng(6), [4] * 60)
    # Words are joined by a blank: this one spans two tokens, the second in part only (w1 of w13).
    strings = ["w7", "5 w1"]
    result, out = client.sample(tensors, max_new_tokens=30, stop_strings=strings)
    tokenizer = client.operations.models["m"].tokenizer
    seen = set()
    for ids, text, reason in zip(
        completions(out), result["texts"], result["finish_reasons"], strict=True
    ):
        assert text == tokenizer.decode(ids, skip_special_tokens=True)
        before = tokenizer.decode(ids[:-1], skip_special_tokens=True)
        assert not any(string in before for string in strings)
        assert (reason == "stop_string") == any(string in text for string in strings)
        seen |= {string for string in strings if string in text}
    assert seen == set(strings)


def test_stop_strings_across_byte_level_tokens(client: Client, byte_folder: str) -> None:
    client.load(byte_folder)
    random = np.random.default_rng(7)
    vocabulary = client.operations.models["m"].vocabulary
    tensors = prompts(random, [4] * 8, vocabulary=vocabulary)
    result, _ = client.sample(tensors, max_new_tokens=40)
    # Two characters in the middle of a text, which may well be of different tokens, and a character
    # of several bytes.
    text = next(text for text in result["texts"] if len(text) > 20)
    string = text[10:13]
    stopped, out = client.sample(tensors, max_new_tokens=40, stop_strings=[string])
    where = result["texts"].index(text)
    assert stopped["finish_reasons"][where] == "stop_string"
    ids = completions(out)[where]
    tokenizer = client.operations.models["m"].tokenizer
    assert string in stopped["texts"][where]
    assert string not in tokenizer.decode(ids[:-1], skip_special_tokens=True)


def test_stream_sends_every_sequence_once(client: Client, folder: str) -> None:
    client.load(folder)
    tensors = prompts(np.random.default_rng(8), LENGTHS, 4)
    context = NullContext()
    result, out = client.sample(
        tensors, context, completions_per_prompt=4, max_new_tokens=30, stream=True, batch_size=8
    )
    expected = completions(out)
    seen: list[int] = []
    for data, parts in context.partials:
        assert set(data) == {"indices", "texts", "finish_reasons"}
        for index, ids, ends, text, reason in zip(
            data["indices"],
            completions(parts),
            completions(parts, "text_ends"),
            data["texts"],
            data["finish_reasons"],
            strict=True,
        ):
            seen.append(index)
            assert ids == expected[index]
            assert ends == completions(out, "text_ends")[index]
            assert (text, reason) == (result["texts"][index], result["finish_reasons"][index])
    assert sorted(seen) == list(range(20))
    assert len(context.partials) > 3, "sequences come as they finish, not all at the end"


class CancelLater(NullContext):
    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after
        self.checks = 0
        self.fractions: list[float] = []

    def check(self) -> None:
        self.checks += 1
        if self.checks == self.after:
            raise OperationError("cancelled", "cancelled by the controller")

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


def test_a_cancel_ends_decoding_within_one_step(client: Client, folder: str) -> None:
    client.load(folder)
    network = client.operations.models["m"].network
    passes = []
    handle = network.register_forward_hook(lambda *_: passes.append(1))
    context = CancelLater(6)
    with pytest.raises(OperationError, match="cancelled") as caught:
        client.sample(prompts(np.random.default_rng(9), LENGTHS), context, max_new_tokens=100)
    handle.remove()
    assert caught.value.code == "cancelled"
    assert len(passes) == 6, "one pass for the prompts, one for each of five tokens"
    assert context.fractions == sorted(context.fractions)
    assert 0 < context.fractions[-1] < 1
