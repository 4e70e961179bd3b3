"""How a model's files are read: options, tokenizers, adapters and their bases, quantization.

Each mistake is one sentence.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from conftest import LOADING, Client, llama, ragged, word_tokenizer
from genac_bridge import loading
from genac_bridge.models.adapters import base_digest, linear_modules
from genac_bridge.models.model import short_rope
from genac_bridge.wire.arguments import LoadingOptions
from genac_bridge.wire.context import OperationError

LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "target_modules": ["q_proj"]}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    torch.manual_seed(0)
    LlamaForCausalLM(llama(47)).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(base: Path) -> Path:
    """Over `base`, without tokenizer files, and not the identity."""
    torch.manual_seed(1)
    network = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    folder = base.parent / "adapter"
    network.save_pretrained(folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def load(client: Client, folder: Path, **changes: Any) -> dict[str, Any]:
    """`changes` of `loading` by name, others of `load_model`."""
    loading = {**LOADING, **{name: value for name, value in changes.items() if name in LOADING}}
    others = {name: value for name, value in changes.items() if name not in LOADING}
    return client.load(folder, **{"initialization": "pretrained", "loading": loading, **others})


def refusal(client: Client, folder: Path, **changes: Any) -> str:
    """The sentence in which it is refused."""
    with pytest.raises(OperationError) as caught:
        load(client, folder, **changes)
    assert caught.value.code == "bad_arguments", caught.value
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Adapters


def test_an_adapter_without_tokenizer_takes_its_base_s(
    client: Client, adapter: Path, base: Path
) -> None:
    load(client, adapter)
    batch = ragged(np.random.default_rng(0), [9])
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    ids = torch.from_numpy(batch["ids"].astype(np.int64))[None]
    with torch.no_grad():
        logprobs = network(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    np.testing.assert_allclose(client.score(batch)["logprobs"][1:], logprobs, atol=1e-5)
    assert len(client.operations.models["m"].tokenizer) == 47
    # Of its own it has other words.
    words = word_tokenizer()
    words.chat_template = "own"
    words.save_pretrained(adapter)
    load(client, adapter)
    assert client.operations.models["m"].tokenizer.chat_template == "own"


@pytest.mark.parametrize("named", [None, "", "/no/such/base", "./no-such-base", "~/no-such-base"])
def test_a_base_that_is_gone_is_told_by_the_name_of_the_file(
    client: Client, adapter: Path, named: Any
) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path=named)
    said = refusal(client, adapter)
    assert str(adapter / "adapter_config.json") in said
    assert "base_model_name_or_path" in said
    assert "write" in said


def test_a_base_on_the_hub_that_can_t_be_had(client: Client, adapter: Path) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path="nobody/nothing")
    said = refusal(client, adapter)
    assert "'nobody/nothing'" in said
    assert "adapter_config.json" in said


def test_a_base_that_moved_together_with_its_adapter_is_found(
    client: Client, adapter: Path
) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path="./base")
    load(client, adapter)
    client.run("save_model", model="m", path=str(adapter.parent / "deep" / "saved"), optimizer=True)
    load(client, adapter.parent / "deep" / "saved")


def test_a_resized_base_is_told_by_the_name_of_the_file(
    client: Client, adapter: Path, base: Path
) -> None:
    network = AutoModelForCausalLM.from_pretrained(base)
    network.resize_token_embeddings(51)
    resized = get_peft_model(
        network, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    )
    resized.save_pretrained(adapter)
    said = refusal(client, adapter)
    assert "adapter_config.json" in said
    assert "resized embedding" in said
    assert "size mismatch" in said


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("cut", "could not be put on its base"),
        ("no weights", "no weights \\(adapter_model.safetensors"),
        ("not json", "could not be read"),
        ("a list", "is not an adapter's config"),
        ("prompt", "peft_type PREFIX_TUNING, which adds to the prompt"),
        ("unknown", 'peft_type "NEW", which PEFT does not know'),
    ],
)
def test_broken_adapters(client: Client, adapter: Path, what: str, words: str) -> None:
    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    if what == "cut":
        weights.write_bytes(weights.read_bytes()[:20])
    elif what == "no weights":
        weights.unlink()
    elif what in ("not json", "a list"):
        config.write_text("{" if what == "not json" else "[]")
    else:
        edit(config, peft_type={"prompt": "PREFIX_TUNING", "unknown": "NEW"}[what])
    assert re.search(words, refusal(client, adapter))


def test_an_adapter_knows_its_base(client: Client, base: Path, tmp_path: Path) -> None:
    """Every change of a base weight is found when the adapter is loaded or restored."""
    load(client, base, lora=LORA)
    saved = tmp_path / "saved"
    client.run("save_model", model="m", path=str(saved), optimizer=True)
    load(client, saved)
    client.run("restore_model", model="m", path=str(saved))
    network = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        network.model.layers[1].mlp.down_proj.weight[3, 4] += 1e-6
    network.save_pretrained(base)
    assert "was trained over other weights than those of the base" in refusal(client, saved)
    load(client, base, lora=LORA)
    with pytest.raises(
        OperationError, match=r"restore_model: .* other weights .* adapter_config.json"
    ):
        client.run("restore_model", model="m", path=str(saved))


def test_what_an_optimizer_moves_is_no_base() -> None:
    layer = nn.Linear(4, 4)
    assert base_digest(layer) == "0000000000000000"
    frozen = base_digest(layer.requires_grad_(False))
    assert frozen == base_digest(layer)
    assert len(frozen) == 16


def test_lora_takes_all_linear_layers_by_name(client: Client, base: Path) -> None:
    load(client, base, lora={**LORA, "target_modules": "all-linear"})
    adapted = client.operations.models["m"].network.peft_config["default"].target_modules
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    load(client, base, lora={**LORA, "target_modules": None})
    assert client.operations.models["m"].network.peft_config["default"].target_modules == {
        "q_proj",
        "v_proj",
    }


def test_the_head_is_no_linear_layer_to_adapt() -> None:
    network = LlamaForCausalLM(llama(47, tie_word_embeddings=False))
    assert "lm_head" not in linear_modules(network)


# Tokenizers


def test_a_tokenizer_of_another_folder(client: Client, base: Path, tmp_path: Path) -> None:
    words = word_tokenizer()
    words.chat_template = "other"
    words.save_pretrained(tmp_path / "words")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (base / name).unlink(missing_ok=True)
    assert "holds none of tokenizer.json" in refusal(client, base)
    load(client, base, tokenizer=str(tmp_path / "words"))
    assert client.operations.models["m"].tokenizer.chat_template == "other"
    assert "has no usable tokenizer" in refusal(client, base, tokenizer=str(tmp_path / "nowhere"))


def test_a_tokenizer_larger_than_the_embedding_is_refused(client: Client, base: Path) -> None:
    words = AutoTokenizer.from_pretrained(base)
    words.add_tokens(["<new>"])
    words.save_pretrained(base)
    said = refusal(client, base)
    assert "token ids up to 47, but the model's embedding has 47 rows" in said
    assert "resize_token_embeddings" in said
    network = AutoModelForCausalLM.from_pretrained(base)
    network.resize_token_embeddings(64)
    network.save_pretrained(base)
    assert load(client, base)["vocabulary_size"] == 64


# Code, attention, sizes, quantization


def custom(base: Path) -> None:
    edit(
        base / "config.json",
        auto_map={"AutoConfig": "mine.MyConfig", "AutoModelForCausalLM": "mine.MyModel"},
        model_type="mine-model",
    )
    (base / "mine.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MyConfig(LlamaConfig):\n    model_type = 'mine-model'\n"
        "class MyModel(LlamaForCausalLM):\n    config_class = MyConfig\n"
    )


def test_code_beside_the_weights_runs_only_where_it_is_trusted(
    client: Client, base: Path, tmp_path: Path
) -> None:
    custom(base)
    assert "brings code of its own, which runs with your rights" in refusal(client, base)
    load(client, base, trust_remote_code=True)
    assert type(client.operations.models["m"].network).__name__ == "MyModel"
    client.run("save_model", model="m", path=str(tmp_path / "saved"), optimizer=True)
    load(client, tmp_path / "saved", trust_remote_code=True)
    client.run("restore_model", model="m", path=str(tmp_path / "saved"))


def test_attention_is_the_one_that_was_asked_for(client: Client, base: Path) -> None:
    load(client, base, attn_implementation="eager")
    batch = ragged(np.random.default_rng(0), [9, 4])
    eager = client.score(batch)["logprobs"]
    assert client.operations.models["m"].config._attn_implementation == "eager"
    client.load(base, loading={**LOADING, "attn_implementation": "eager"})
    assert client.operations.models["m"].config._attn_implementation == "eager"
    load(client, base)
    assert client.operations.models["m"].config._attn_implementation == "sdpa"
    np.testing.assert_allclose(client.score(batch)["logprobs"], eager, atol=1e-5)
    assert "flash" in refusal(client, base, attn_implementation="flash_attention_2").lower()
    assert "nothing" in refusal(client, base, attn_implementation="nothing")


def test_weights_of_other_sizes_are_named(client: Client, base: Path) -> None:
    edit(base / "config.json", intermediate_size=64)
    said = refusal(client, base)
    assert "has weights of other sizes than its config.json says" in said
    assert "mlp.down_proj.weight (in the file [32, 48])" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_8bit": True}, "bitsandbytes"),
        ({"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"}, "bitsandbytes"),
        ({"bits": 4}, "is not valid"),
        ({"quant_method": "magic"}, "is not valid"),
    ],
)
def test_quantization_that_can_t_be_had_is_told(
    client: Client, base: Path, options: Any, words: str
) -> None:
    """Without the package, or the options wrong. With it: docs/models.md."""
    said = refusal(client, base, quantization_config=options, lora=LORA)
    assert words in said


def test_a_folder_of_quantized_weights_says_what_it_needs(client: Client, base: Path) -> None:
    edit(
        base / "config.json",
        quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
    )
    assert "needs a package that is not installed here" in refusal(client, base)


def test_quantized_weights_are_trained_with_lora_only(
    client: Client, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "is_quantized", lambda network: True)
    assert "no optimizer can move them; train it with `lora`" in refusal(client, base)
    load(client, base, optimizer=None)
    assert load(client, base, lora=LORA)["trainable_parameters"] == 2 * 2 * (32 * 2)


@pytest.mark.parametrize("by", ["option", "folder", "neither"])
def test_quantized_weights_are_put_on_their_device_while_they_are_read(
    base: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    if by == "folder":
        edit(base / "config.json", quantization_config=quantized)
    options = {**LOADING, "quantization_config": quantized if by == "option" else None}
    seen: dict[str, Any] = {}

    class Auto:
        @staticmethod
        def from_pretrained(source: str, **given: Any) -> Any:
            seen.update(given)
            return "network", {"mismatched_keys": [], "missing_keys": []}

    monkeypatch.setattr(loading, "auto_class", lambda kind: Auto)
    how = msgspec.convert(options, LoadingOptions)
    loading.from_pretrained(str(base), "causal", how, torch.device("cuda", 1))
    expected = {} if by == "neither" else {"device_map": {"": torch.device("cuda", 1)}}
    assert {name: value for name, value in seen.items() if name == "device_map"} == expected


def test_drawn_weights_are_not_quantized(client: Client, base: Path) -> None:
    said = refusal(
        client, base, initialization="random", quantization_config={"load_in_4bit": True}
    )
    assert "drawn at random are not quantized" in said


def test_moved_folder_still_loads(client: Client, base: Path, tmp_path: Path) -> None:
    shutil.move(base, tmp_path / "moved")
    load(client, tmp_path / "moved")


@pytest.mark.parametrize("initialization", ["pretrained", "random"])
def test_a_kernel_that_the_weights_own_config_names_is_not_fetched(
    client: Client, base: Path, initialization: str
) -> None:
    edit(base / "config.json", _attn_implementation="someone/kernel")
    with pytest.raises(
        OperationError, match=r"names the attention kernel 'someone/kernel', which is code"
    ):
        client.load(str(base), initialization=initialization)
    client.load(str(base), loading={**LOADING, "attn_implementation": "eager"})


@pytest.mark.parametrize("kind", ["causal", "value"])
def test_long_rope_is_read_up_to_where_batches_would_change(
    client: Client, tmp_path: Path, kind: str
) -> None:
    """Transformers would rotate the short sequences of a batch by the factors of a long one."""
    word_tokenizer().save_pretrained(tmp_path)
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    rope |= {"original_max_position_embeddings": 16, "rope_theta": 10000.0, "factor": 4.0}
    llama(47, rope_parameters=rope, max_position_embeddings=64).save_pretrained(tmp_path)
    assert client.load(tmp_path, kind=kind)["context_length"] == 16
    client.score(ragged(np.random.default_rng(0), [16, 3]))
    with pytest.raises(OperationError, match="17 tokens, more than the context of 16"):
        client.score(ragged(np.random.default_rng(0), [17, 3]))


def test_long_rope_is_found_wherever_a_config_says_it() -> None:
    def limit(**config: Any) -> int | None:
        return short_rope(SimpleNamespace(**config))

    own, old = {"original_max_position_embeddings": 16}, {"type": "longrope"}
    rope = {"rope_type": "longrope", **own}
    assert limit(rope_parameters=rope) == 16
    assert limit(rope_parameters={"sliding": {"rope_type": "default"}, "full": rope}) == 16
    assert limit(rope_scaling=old, **own) == 16
    assert limit(rope_scaling=old) is None
    assert limit(rope_parameters={**rope, "rope_type": "yarn"}) is None
    assert limit(rope_parameters={"sliding": None, "full": {"rope_type": "default"}}) is None
    assert limit(rope_scaling=None) is limit() is None
