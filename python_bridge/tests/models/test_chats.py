"""Chat templates and special tokens: options of a template, prefills, tokenizers that end every
text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from conftest import LOADING, Client, byte_tokenizer, llama, split, word_tokenizer
from genac_bridge.wire.context import OperationError

QWEN = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}</{{ m['role'] }}>{% endfor "
    "%}{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and "
    "enable_thinking is false %}<think></think>{% endif %}{% endif %}"
)
ASK = {"role": "user", "content": "2 + 2?"}


def begun(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def folder_with(path: Path, tokenizer: Any) -> Path:
    tokenizer.save_pretrained(path)
    llama(len(tokenizer), eos_token_id=0).save_pretrained(path)
    return path


@pytest.fixture
def chatty(tmp_path: Path) -> Path:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = QWEN
    return folder_with(tmp_path / "chatty", tokenizer)


def ids(client: Client, prompt: Any) -> list[int]:
    """Of one prompt; `tokenize` and `sample` say the same."""
    _, out = client.run(
        "tokenize", model="m", prompts=[prompt], completions=["x"], append_eos=False
    )
    first = out["ids"][: out["prompt_lengths"][0]].tolist()
    if first:
        _, sampled = client.sample(
            {"seeds": np.zeros((1, 2), np.uint32)}, prompts=[prompt], max_new_tokens=1
        )
        assert split(sampled["prompt_ids"], sampled["prompt_cu_seqlens"])[0].tolist() == first
    return list(first)


def text(client: Client, prompt: Any) -> str:
    decoded: str = client.operations.models["m"].tokenizer.decode(ids(client, prompt))
    return decoded


def options(**given: Any) -> dict[str, Any]:
    return {**LOADING, "chat_template_kwargs": given}


# Options of a template


def test_a_template_gets_its_options(client: Client, chatty: Path) -> None:
    client.load(chatty)
    assert text(client, [ASK]) == "<user>2 + 2?</user><assistant>"
    client.load(chatty, loading=options(enable_thinking=False))
    assert text(client, [ASK]) == "<user>2 + 2?</user><assistant><think></think>"
    client.load(chatty, loading=options(enable_thinking=True))
    assert text(client, [ASK]) == "<user>2 + 2?</user><assistant>"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"enable_thinkin": False},
            "has enable_thinkin, which the chat template of .* does not read",
        ),
        ({"tokenize": True}, "has tokenize, which is not a template's to read"),
        (
            {"add_generation_prompt": False},
            "has add_generation_prompt, which is not a template's to read",
        ),
    ],
)
def test_options_that_no_template_reads_are_refused(
    client: Client, chatty: Path, given: Any, words: str
) -> None:
    with pytest.raises(OperationError, match=words):
        client.load(chatty, loading=options(**given))


def test_options_without_a_template_have_no_effect(client: Client, byte_folder: str) -> None:
    with pytest.raises(
        OperationError, match=r"has no effect, for the tokenizer of .* has no chat template"
    ):
        client.load(byte_folder, loading=options(enable_thinking=False))


# Prefills


@pytest.mark.parametrize("words", ["Sure:", "Sure: ", "  <think>\n", "</assistant>", "2 + 2?"])
def test_a_last_message_of_the_assistant_is_gone_on_with(
    client: Client, chatty: Path, words: str
) -> None:
    """As in Transformers: the turn is not closed, and no other is opened."""
    client.load(chatty)
    tokenizer = client.operations.models["m"].tokenizer
    expected = tokenizer.apply_chat_template(
        [ASK, begun(words)], tokenize=False, continue_final_message=True
    )
    assert text(client, [ASK, begun(words)]) == expected
    assert expected.startswith("<user>2 + 2?</user><assistant>")
    assert expected.rstrip().endswith(words.strip())


def test_an_empty_turn_is_one_that_the_model_begins(
    client: Client, chatty: Path, byte_folder: str
) -> None:
    client.load(chatty, loading=options(enable_thinking=False))
    assert ids(client, [ASK, begun("")]) == ids(client, [ASK])
    client.load(byte_folder)
    assert ids(client, [ASK, begun("")]) == ids(client, [ASK])


def test_a_turn_of_the_assistant_in_the_middle_is_closed(client: Client, chatty: Path) -> None:
    client.load(chatty)
    chat = [ASK, begun("4"), {"role": "user", "content": "sure?"}]
    assert (
        text(client, chat)
        == "<user>2 + 2?</user><assistant>4</assistant><user>sure?</user><assistant>"
    )


def test_a_plain_chat_is_gone_on_with_too(client: Client, byte_folder: str) -> None:
    client.load(byte_folder)
    assert text(client, [ASK, begun("Sure:")]) == "user: 2 + 2?\n\nassistant: Sure:"
    assert text(client, [begun("Sure:")]) == "assistant: Sure:"


def test_a_template_that_refuses_says_so_in_one_sentence(client: Client, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no\nsystem here') }}{{ messages[0]['content'] }}"
    client.load(folder_with(tmp_path, tokenizer))
    with pytest.raises(
        OperationError, match=r"^tokenize: prompts\[0\]: the chat template refused it: no$"
    ):
        client.run("tokenize", model="m", prompts=[[ASK]], completions=None, append_eos=False)


# Tokenizers that end every text


def ending(template: str) -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<bos>", "sep_token": "<sep>"})
    names = ("<bos>", "<eos>", "<sep>")
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=template,
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in names],
    )
    return tokenizer


@pytest.mark.parametrize(
    ("template", "prompt", "wanted"),
    [
        ("<bos> $A <eos>", "the cat", "<bos>the cat"),
        ("$A <eos>", "the cat", "the cat"),
        ("<bos> $A <sep> <eos>", "the cat", "<bos>the cat"),
        ("<bos> $A", "the cat", "<bos>the cat"),
        ("<bos> $A <eos>", "the cat<eos>", "<bos>the cat<eos>"),
        ("<bos> $A", "the cat<eos>", "<bos>the cat<eos>"),
        ("<bos> $A <eos>", "<eos>", "<bos><eos>"),
        ("<bos> $A <eos>", "", "<bos>"),
        ("<eos> $A", "the cat", "<eos>the cat"),  # GPT-2's begins and ends with the same token
        ("<eos> $A", "", "<eos>"),
        ("<eos> $A <eos>", "", "<eos>"),
    ],
)
def test_an_end_that_the_tokenizer_adds_ends_no_prompt(
    client: Client, tmp_path: Path, template: str, prompt: str, wanted: str
) -> None:
    client.load(folder_with(tmp_path, ending(template)))
    assert text(client, prompt) == wanted


def test_an_end_is_taken_off_plain_chats_and_stays_in_templates(
    client: Client, tmp_path: Path
) -> None:
    client.load(folder_with(tmp_path / "plain", ending("<bos> $A <eos>")))
    assert text(client, [ASK]) == "<bos>user: 2 + 2?\n\nassistant:"
    tokenizer = ending("<bos> $A <eos>")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    )
    client.load(folder_with(tmp_path / "chat", tokenizer))
    assert text(client, [ASK]) == "<bos>2 + 2?<eos>"


def test_words_without_an_a_have_no_end_added_either(client: Client, tmp_path: Path) -> None:
    """The word tokenizer knows no "a": what it adds is found with words of its own."""
    tokenizer = word_tokenizer()
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    client.load(folder_with(tmp_path, tokenizer))
    assert ids(client, "w1 w2") == tokenizer.convert_tokens_to_ids(["w1", "w2"])
