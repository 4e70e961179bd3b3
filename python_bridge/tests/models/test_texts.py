"""Texts and token ends: UTF-16 units, characters of several tokens, special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from conftest import Client, byte_tokenizer, llama, ragged, split, word_tokenizer
from genac_bridge.models.tokens import StopStrings, TextDecoder, utf16_length
from genac_bridge.wire.context import OperationError

BYTES = byte_tokenizer()
BYTE_DECODER = TextDecoder(BYTES, len(BYTES))


def ends_by_prefixes(tokenizer: Any, ids: list[int], text: str) -> list[int]:
    """The definition: what each prefix of the tokens is sure of.

    A character is complete with its last byte.
    """
    ends = []
    for k in range(1, len(ids) + 1):
        prefix = tokenizer.decode(
            ids[:k], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        while not text.startswith(prefix):
            prefix = prefix[:-1]
        ends.append(utf16_length(prefix))
    return ends


def test_utf16_length_counts_as_javascript_does() -> None:
    assert [utf16_length(text) for text in ("", "abc", "é", "e\u0301", "漢字", "🙂", "👩‍👩‍👧")] == [
        0,
        3,
        1,
        2,
        2,
        2,
        8,
    ]


def test_an_emoji_ends_with_its_last_byte() -> None:
    ids = BYTES("a🙂b")["input_ids"]
    # The alphabet of bytes has no merges for an emoji: a, four bytes, b.
    assert len(ids) == 6
    texts, ends = BYTE_DECODER.decode([np.array(ids)])
    assert texts == ["a🙂b"]
    assert ends[0].tolist() == [1, 1, 1, 1, 3, 4]


def test_special_tokens_add_nothing_wherever_they_stand() -> None:
    eos = BYTES.eos_token_id
    a, b = BYTES("a")["input_ids"], BYTES("b")["input_ids"]
    texts, ends = BYTE_DECODER.decode(
        [np.array([eos, *a, eos, *b, eos]), np.array([eos]), np.zeros(0, np.int64)]
    )
    assert texts == ["ab", "", ""]
    assert [part.tolist() for part in ends] == [[0, 1, 1, 2, 2], [0], []]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("athe cn🙂é漢\u0301👩\u200d\n"), min_size=1, max_size=20))
def test_ends_of_real_texts(text: str) -> None:
    ids = BYTES(text)["input_ids"]
    texts, ends = BYTE_DECODER.decode([np.array(ids)])
    assert texts == [text]
    assert ends[0].tolist() == ends_by_prefixes(BYTES, ids, text)
    assert ends[0][-1] == utf16_length(text)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, len(BYTES) - 1), min_size=1, max_size=20))
def test_ends_of_arbitrary_tokens_are_sane(ids: list[int]) -> None:
    """What an untrained model writes: broken bytes too.

    Ends never fall, and the last is the text's length.
    """
    texts, ends = BYTE_DECODER.decode([np.array(ids)])
    assert texts[0] == BYTES.decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    assert ends[0][-1] == utf16_length(texts[0])
    assert np.all(np.diff(ends[0]) >= 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 46), min_size=1, max_size=12))
def test_ends_of_words_joined_by_blanks(ids: list[int]) -> None:
    tokenizer = word_tokenizer()
    texts, ends = TextDecoder(tokenizer, 47).decode([np.array(ids)])
    assert ends[0].tolist() == ends_by_prefixes(tokenizer, ids, texts[0])


def test_blanks_that_vanish_at_the_start_of_a_text() -> None:
    """As sentencepiece tokenizers have it: a piece's blank shows only after another piece."""
    words = ["<unk>", "▁the", "▁cat", "s", "▁"]
    backend = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    decoder = TextDecoder(tokenizer, len(words))
    texts, ends = decoder.decode([np.array([1, 2, 3]), np.array([3, 1]), np.array([4, 3])])
    assert texts == ["the cats", "s the", "s"]
    assert [part.tolist() for part in ends] == [[3, 7, 8], [1, 5], [0, 1]]
    assert StopStrings(decoder, ["e c"]).may_end[[1, 2, 3]].tolist() == [False, True, False]
    assert StopStrings(decoder, [" "]).may_end[[1, 2, 3]].tolist() == [True, True, False]


BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_WORDS = ["<unk>", "<s>", "</s>", *BYTE_TOKENS, "▁", "▁▁", "▁the", "▁a", "the", ".", "s", "漢"]


def llama_2(unigram: bool) -> PreTrainedTokenizerFast:
    """As of Llama 2: what is in no word is written in bytes, a newline too; bytes that follow each
    other are decoded together.
    """
    model = (
        models.Unigram([(word, -1.0) for word in LLAMA_WORDS], unk_id=0, byte_fallback=True)
        if unigram
        else models.BPE(
            {word: n for n, word in enumerate(LLAMA_WORDS)},
            [],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    backend = Tokenizer(model)
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    backend.decoder = decoders.Sequence(steps)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def metaspace() -> PreTrainedTokenizerFast:
    words = ["<unk>", "</s>", "▁the", "▁cat", "s", "▁", "▁▁"]
    backend = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")


TOKENIZERS = {
    "bytes": BYTES,
    "Llama 2": llama_2(False),
    "Llama 2, unigram": llama_2(True),
    "Metaspace": metaspace(),
}
DECODERS = {name: TextDecoder(tokenizer, len(tokenizer)) for name, tokenizer in TOKENIZERS.items()}


def llama_ids(*words: str) -> list[int]:
    return [LLAMA_WORDS.index(word) for word in words]


def test_a_newline_in_bytes_is_complete_when_no_byte_can_spoil_it() -> None:
    begun = llama_ids("▁the", ".", "<0x0A>")
    spoiled, whole, alone = (
        begun + llama_ids(*rest) for rest in (("<0xF0>", "▁a"), ("▁a",), ("</s>", "▁a"))
    )
    texts, ends = DECODERS["Llama 2"].decode(
        [np.array(ids) for ids in (spoiled, whole, alone, begun)]
    )
    assert texts == ["the.\ufffd\ufffd a", "the.\n a", "the.\n a", "the.\n"]
    assert [part.tolist() for part in ends] == [
        [3, 4, 4, 4, 8],
        [3, 4, 4, 7],
        [3, 4, 4, 4, 7],
        [3, 4, 5],
    ]


def test_a_blank_after_a_special_token_at_the_start() -> None:
    sequences = [[1, 5], [1, 5, 2], [5, 1, 2], [1, 1, 4], [1, 2, 1, 5, 1]]
    texts, ends = DECODERS["Metaspace"].decode([np.array(ids) for ids in sequences])
    assert texts == [
        TOKENIZERS["Metaspace"].decode(ids, skip_special_tokens=True) for ids in sequences
    ]
    assert [int(part[-1]) for part in ends] == [len(text) for text in texts]
    assert ends[0].tolist() == [0, 0]


@pytest.mark.parametrize("name", list(TOKENIZERS))
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_what_is_complete_does_not_depend_on_later_tokens(name: str, data: st.DataObject) -> None:
    """A state's text is a function of the tokens before it.

    Ends never fall, and the last is the text's length.
    """
    size = len(TOKENIZERS[name])
    odd = [
        i
        for i, text in enumerate(DECODERS[name].lone)
        if "\ufffd" in text or text in ("", "\n", " ")
    ] or [0]
    token = st.one_of(
        st.integers(0, size - 1), st.sampled_from(odd), st.integers(max(0, size - 9), size - 1)
    )
    begun, one, other = (
        data.draw(st.lists(token, min_size=least, max_size=6)) for least in (1, 1, 1)
    )
    sequences = [np.array(begun + rest) for rest in (one, other)]
    texts, ends = DECODERS[name].decode(sequences)
    units = [text.encode("utf-16-le", "surrogatepass") for text in texts]
    for k in range(len(begun)):
        assert units[0][: 2 * ends[0][k]] == units[1][: 2 * ends[1][k]]
    for text, part in zip(texts, ends, strict=True):
        assert np.all(np.diff(part) >= 0)
        assert part[-1] == utf16_length(text)


@pytest.mark.parametrize("name", ["bytes", "Llama 2"])
def test_long_runs_of_broken_bytes_take_linear_time(name: str) -> None:
    decoder = TextDecoder(TOKENIZERS[name], len(TOKENIZERS[name]))
    part = next(i for i, text in enumerate(decoder.lone) if "\ufffd" in text)
    decoded = 0
    texts = decoder.texts

    def counted(sequences: Any) -> list[str]:
        nonlocal decoded
        decoded += sum(len(ids) for ids in sequences)
        return texts(sequences)

    decoder.texts = counted  # type: ignore[method-assign]
    for ids in ([part] * 4000, [decoder.anchor or 0, *[part] * 4000, decoder.anchor or 0]):
        decoded = 0
        (text,), (ends,) = decoder.decode([np.array(ids)])
        assert ends[-1] == utf16_length(text)
        assert decoded < 100 * len(ids)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=20, max_size=80), st.integers(1, 60))
def test_long_runs_of_broken_bytes_are_causal(values: list[int], at: int) -> None:
    single = sorted(token for text, token in BYTES.get_vocab().items() if len(text) == 1)
    broken = [token for token in single if "\ufffd" in BYTE_DECODER.lone[token]]
    ids = [broken[value % len(broken)] for value in values]
    at = min(at, len(ids) - 1)
    other = [*ids[:at], single[0], single[0]]
    texts, ends = BYTE_DECODER.decode([np.array(ids), np.array(other)])
    assert texts == [BYTES.decode(ids), BYTES.decode(other)]
    units = [text.encode("utf-16-le", "surrogatepass") for text in texts]
    for k in range(at):
        assert units[0][: 2 * ends[0][k]] == units[1][: 2 * ends[1][k]]


def test_a_tokenizer_that_rewrites_what_stands_before_takes_the_exact_way() -> None:
    words = ["<unk>", "do", "n't", "not", "x", "##y"]
    backend = Tokenizer(
        models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    ids = [4, 5, 1, 2, 4]
    texts, ends = TextDecoder(tokenizer, len(words)).decode([np.array(ids)])
    assert texts == ["xy don't x"]
    assert ends[0].tolist() == [1, 2, 5, 8, 10]


def test_ids_beyond_the_tokenizer_add_no_text() -> None:
    """Vocabularies are often padded to a round size; a random model samples the padding too."""
    decoder = TextDecoder(BYTES, len(BYTES) + 5)
    a = BYTES("a")["input_ids"]
    texts, ends = decoder.decode([np.array([*a, len(BYTES) + 2, *a])])
    assert texts == ["aa"]
    assert ends[0].tolist() == [1, 1, 2]


def test_tokenize_appends_completions_apart_from_prompts(client: Client, byte_folder: str) -> None:
    client.load(byte_folder)
    tokenizer = client.operations.models["m"].tokenizer
    result, out = client.run(
        "tokenize",
        model="m",
        prompts=["the c", ""],
        completions=["at", "the"],
        append_eos=True,
        literal=False,
    )
    first = [
        tokenizer("the c")["input_ids"],
        tokenizer("at")["input_ids"],
        tokenizer("the")["input_ids"],
    ]
    eos = [tokenizer.eos_token_id]
    assert [ids.tolist() for ids in split(out["ids"], out["cu_seqlens"])] == [
        first[0] + first[1] + eos,
        first[2] + eos,
    ]
    assert out["prompt_lengths"].tolist() == [len(first[0]), 0]
    assert result["tokens"] == len(out["ids"])
    alone = client.run(
        "tokenize", model="m", prompts=["the c"], completions=None, append_eos=False, literal=False
    )[1]
    assert alone["ids"].tolist() == first[0]
    assert alone["prompt_lengths"].tolist() == [len(first[0])]


@pytest.mark.parametrize("name", ["ids", "cu_seqlens", "prompt_lengths"])
def test_tokenize_answers_in_int32(client: Client, folder: str, name: str) -> None:
    client.load(folder)
    assert (
        client.run(
            "tokenize", model="m", prompts=[], completions=None, append_eos=False, literal=False
        )[1][name].dtype
        == np.int32
    )


def test_a_chat_without_a_template_is_plain_text(client: Client, byte_folder: str) -> None:
    client.load(byte_folder)
    chat = [{"role": "system", "content": "Add."}, {"role": "user", "content": "2 + 2?"}]
    plain = "system: Add.\n\nuser: 2 + 2?\n\nassistant:"
    _, out = client.run(
        "tokenize",
        model="m",
        prompts=[chat, plain],
        completions=None,
        append_eos=False,
        literal=False,
    )
    first, second = split(out["ids"], out["cu_seqlens"])
    assert first.tolist() == second.tolist()
    assert byte_tokenizer().decode(first) == plain


def test_a_template_goes_before_the_plain_default(client: Client, folder: str) -> None:
    client.load(folder)
    chat = [{"role": "user", "content": "1"}]
    _, out = client.run(
        "tokenize",
        model="m",
        prompts=[chat, "user 1 assistant"],
        completions=None,
        append_eos=False,
        literal=False,
    )
    first, second = split(out["ids"], out["cu_seqlens"])
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize(
    "template", [None, "{% for m in messages %}{{ m['content'] }}{% endfor %}"]
)
def test_no_prompt_is_cut_whatever_the_tokenizer_says(
    client: Client, tmp_path: Path, template: str | None
) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    tokenizer.model_max_length = 4
    tokenizer.backend_tokenizer.enable_truncation(max_length=4)
    tokenizer.save_pretrained(tmp_path)
    assert '"max_length": 4' in (tmp_path / "tokenizer.json").read_text()
    llama(len(tokenizer), eos_token_id=0).save_pretrained(tmp_path)
    client.load(tmp_path)
    text = "zq" * 50
    chat = [{"role": "user", "content": text}]
    _, out = client.run(
        "tokenize",
        model="m",
        prompts=[text, chat],
        completions=["xy" * 20] * 2,
        append_eos=False,
        literal=False,
    )
    assert out["prompt_lengths"].min() >= 100
    assert np.diff(out["cu_seqlens"]).min() >= 140
    seeds = np.zeros((1, 2), np.uint32)
    words = r"prompt 0 has \d+ tokens and max_new_tokens is 200: together more than the model's "
    words += r"context of 256 \('m'\)\. Nothing is cut"
    with pytest.raises(OperationError, match=words):
        client.sample({"seeds": seeds}, prompts=[text], max_new_tokens=200)


def test_sequences_beyond_the_context_are_refused(client: Client, folder: str) -> None:
    client.load(folder)
    batch = ragged(np.random.default_rng(0), [3, 257])
    words = "sequence 1 has 257 tokens, more than the context of 256 of model 'm'"
    with pytest.raises(OperationError, match=f"score: {words}"):
        client.score(batch)
    inputs = {**batch, "mask": np.zeros(260, np.float32), "ce.weights": np.ones(260, np.float32)}
    with pytest.raises(OperationError, match=f"accumulate: {words}"):
        client.accumulate(inputs, [{"kind": "ce", "coefficient": 1.0}])
