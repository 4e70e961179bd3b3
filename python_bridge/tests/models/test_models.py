"""`load_model`, names, the `ready` report and `call`; and that every mistake gets one clear
sentence.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from conftest import Client, llama, prompts, ragged, word_tokenizer
from genac_bridge.operations import Operations
from genac_bridge.wire.context import OperationError


def test_ready_reports_versions_and_devices() -> None:
    ready = Operations().ready()
    assert ready["versions"]["torch"] == torch.__version__
    assert all(isinstance(version, str) for version in ready["versions"].values())
    for device in ready["devices"]:
        assert set(device) == {"name", "description", "memory_bytes", "bfloat16"}
    assert ready["devices"][-1]["name"] == "cpu"


def test_load_reports_the_model(client: Client, folder: str) -> None:
    assert client.load(folder) == {
        "parameters": 47 * 32 + 2 * (2 * 32 * 32 + 2 * 32 * 8 + 3 * 32 * 48 + 2 * 32) + 32,
        "trainable_parameters": 16000,
        "device": "cpu",
        "dtype": "float32",
        "vocabulary_size": 47,
        "eos_token_id": 1,
        "context_length": 256,
        "has_chat_template": True,
        "sampling": "together",
        "reproducible": True,
        "slow_because": None,
        "step": 0,
        "version": 0,
    }
    assert client.load(folder, optimizer=None)["trainable_parameters"] == 0
    value = client.load(folder, kind="value")
    assert (value["parameters"], value["sampling"]) == (16000 + 33, None)


def test_random_weights_have_the_asked_scale_and_follow_the_seed(
    client: Client, tmp_path: Path
) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    llama(400, hidden_size=64, intermediate_size=256, tie_word_embeddings=False).save_pretrained(
        tmp_path
    )
    client.load(tmp_path, seed=5)
    weights = client.weights()
    for name, weight in weights.items():
        if weight.ndim == 1:
            assert torch.equal(weight, torch.ones_like(weight)), name
        else:
            # fan_in is the last dimension of every Linear; an embedding's is its width.
            assert float(weight.std()) == pytest.approx(weight.shape[1] ** -0.5, rel=0.1), name
            assert abs(float(weight.mean())) < 0.02, name
    client.load(tmp_path, seed=5)
    assert all(torch.equal(weights[name], weight) for name, weight in client.weights().items())
    client.load(tmp_path, seed=6)
    assert not any(
        torch.equal(weights[name], weight)
        for name, weight in client.weights().items()
        if weight.ndim > 1
    )


def test_pretrained_weights_are_the_folders(client: Client, tmp_path: Path) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    network = LlamaForCausalLM(llama(47)).to(torch.bfloat16)
    network.save_pretrained(tmp_path)
    client.load(tmp_path, initialization="pretrained")
    for name, weight in client.weights().items():
        assert weight.dtype == torch.float32, "master weights are float32 whatever the folder holds"
        assert torch.equal(weight, network.get_parameter(name).float())


def test_models_live_side_by_side_and_a_taken_name_starts_afresh(
    client: Client, folder: str
) -> None:
    client.load(folder, "a", seed=1)
    client.load(folder, "b", seed=2, optimizer=None)
    before = client.weights("b")
    batch = ragged(np.random.default_rng(0), [5])
    mask = np.array([0, 1, 1, 1, 1], np.float32)
    client.accumulate(
        {**batch, "mask": mask, "ce.weights": mask}, [{"kind": "ce", "coefficient": 1.0}], model="a"
    )
    client.step(model="a")
    assert all(torch.equal(before[name], weight) for name, weight in client.weights("b").items())
    assert client.load(folder, "a", seed=1)["step"] == 0
    with pytest.raises(OperationError, match="0 accumulations"):
        client.step(model="a")


def broken_folder(path: Path, what: str) -> Path:
    folder = path / what
    folder.mkdir()
    if what == "no-weights":
        llama(47).save_pretrained(folder)
    elif what == "no-tokenizer":
        LlamaForCausalLM(llama(47)).save_pretrained(folder)
    elif what == "fewer-layers":
        LlamaForCausalLM(llama(47)).save_pretrained(folder)
        llama(47, num_hidden_layers=3).save_pretrained(folder)
    elif what == "not-json":
        (folder / "config.json").write_text("{")
        (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("empty", "is not a model folder: it has no config.json"),
        ("no-weights", "has a config.json but no weights; pass initialization 'random'"),
        ("no-tokenizer", "has no usable tokenizer"),
        ("fewer-layers", r"lacks the weights \['model.layers.2"),
        ("not-json", "could not be loaded as a causal model"),
    ],
)
def test_folders_that_are_no_models(
    client: Client, folder: str, tmp_path: Path, what: str, words: str
) -> None:
    client.load(folder)
    with pytest.raises(OperationError, match=words) as caught:
        client.load(broken_folder(tmp_path, what), initialization="pretrained")
    assert caught.value.code == "bad_arguments"
    assert client.operations.models["m"].vocabulary == 47, "the model that held the name must stay"


def test_other_things_that_load_refuses(client: Client, folder: str) -> None:
    for changes, words in (
        ({"source": "/no/such/folder"}, "there is no folder '/no/such/folder'"),
        ({"device": "cuda:9"}, "device 'cuda:9' can't be used here"),
        ({"device": "toaster"}, "device 'toaster' can't be used here"),
        ({"dtype": "float16"}, r"Invalid enum value 'float16' - at `\$.dtype`"),
        ({"kind": "reward"}, r"at `\$.kind`"),
        ({"seed": -1}, r"at `\$.seed`"),
        (
            {"lora": {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": ["nothing"]}},
            "LoRA could not be added",
        ),
        (
            {"optimizer": {"betas": [0.9, 0.9], "eps": math.nan, "weight_decay": 0.0}},
            "load_model.optimizer.eps is nan; numbers must be finite",
        ),
        ({"surprise": 1}, "unknown field `surprise`"),
        (
            {"optimizer": {"betas": [0.9, 1.0], "eps": 1e-8, "weight_decay": 0.0}},
            r"\$.optimizer.betas",
        ),
    ):
        with pytest.raises(OperationError, match=words) as caught:
            client.load(**{"source": folder, **changes})  # type: ignore[arg-type]  # some are wrong on purpose
        assert caught.value.code == "bad_arguments"


def test_a_missing_key_is_refused_even_where_null_is_allowed(client: Client, folder: str) -> None:
    client.load(folder)
    with pytest.raises(OperationError, match="step: Object missing required field `max_grad_norm`"):
        client.run("step", model="m", expected_step=0, expected_accumulations=1, learning_rate=0.1)
    with pytest.raises(OperationError, match="there is no operation 'dance'"):
        client.run("dance")


CE = [{"kind": "ce", "coefficient": 1.0}]


def good_batch() -> dict[str, np.ndarray]:
    batch = ragged(np.random.default_rng(0), [3, 4])
    mask = np.array([0, 1, 1, 0, 1, 1, 1], np.float32)
    return {**batch, "mask": mask, "ce.weights": mask}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"mask": np.array([1, 1, 1, 0, 1, 1, 1], np.float32)},
            "'mask' is 1 at the first token of a sequence",
        ),
        (
            {"mask": np.array([0, 0.5, 1, 0, 1, 1, 1], np.float32)},
            "'mask' must hold zeros and ones only",
        ),
        ({"mask": np.zeros(6, np.float32)}, r"'mask' has shape \[6\], expected \[7\]"),
        ({"mask": np.zeros(7, np.int32)}, "'mask' is int32, expected float32"),
        (
            {"ce.weights": np.array([0, 1, np.nan, 0, 1, 1, 1], np.float32)},
            r"'ce.weights'\[2\] is nan where the mask is 1",
        ),
        ({"ce.weights": None}, "tensor 'ce.weights' is missing"),
        ({"pg.advantages": np.zeros(7, np.float32)}, r"unexpected tensors \['pg.advantages'\]"),
        (
            {"cu_seqlens": np.array([0, 5, 4, 7], np.int32)},
            "'cu_seqlens' must start with 0, never fall",
        ),
        ({"cu_seqlens": np.array([0, 3], np.int32)}, r"end with the length of 'ids' \(7\)"),
        ({"cu_seqlens": np.zeros(0, np.int32)}, "'cu_seqlens' must start with 0"),
        (
            {"ids": np.array([3, 3, 47, 3, 3, 3, 3], np.int32)},
            r"'ids'\[2\] = 47 is outside the model's vocabulary \(0..46\)",
        ),
        ({"ids": np.array([3, -1, 4, 3, 3, 3, 3], np.int32)}, r"'ids'\[1\] = -1"),
    ],
)
def test_tensors_that_accumulate_refuses(
    client: Client, folder: str, changes: dict[str, Any], words: str
) -> None:
    client.load(folder)
    client.accumulate(good_batch(), CE)
    tensors = {
        name: array for name, array in {**good_batch(), **changes}.items() if array is not None
    }
    with pytest.raises(OperationError, match=words) as caught:
        client.accumulate(tensors, CE)
    assert caught.value.code == "bad_arguments"
    # Nothing was begun, so nothing is lost.
    assert client.operations.models["m"].accumulations == 1


def test_streams_that_accumulate_refuses(client: Client, folder: str) -> None:
    client.load(folder)
    client.load(folder, "v", kind="value")
    client.load(folder, "frozen", optimizer=None)
    value = [{"kind": "value", "coefficient": 1.0, "clip": None}]
    for model, streams, words, code in (
        ("m", value, "the stream 'value' needs a value model", "bad_arguments"),
        ("v", CE, "it takes the stream 'value' only", "bad_arguments"),
        ("m", [*CE, *CE], "a kind of stream is given twice", "bad_arguments"),
        ("m", [], r"at `\$.streams`", "bad_arguments"),
        ("m", [{"kind": "dpo", "coefficient": 1.0}], "Invalid value 'dpo'", "bad_arguments"),
        ("frozen", CE, "is frozen; load it with an optimizer", "bad_state"),
        ("nobody", CE, "no model 'nobody' is loaded; loaded are", "bad_state"),
    ):
        with pytest.raises(OperationError, match=words) as caught:
            client.accumulate(good_batch(), streams, model=model)
        assert caught.value.code == code
    with pytest.raises(OperationError, match="is frozen"):
        client.step(model="frozen")
    with pytest.raises(OperationError, match="pass entropy false"):
        client.score(ragged(np.random.default_rng(0), [3]), model="v", entropy=True)


def test_requests_that_sample_refuses(client: Client, folder: str, byte_folder: str) -> None:
    client.load(folder)
    client.load(folder, "v", kind="value")
    client.load(byte_folder, "b")
    tensors = prompts(np.random.default_rng(0), [3, 4])
    seeds = {"seeds": tensors["seeds"]}
    for given, changes, words in (
        (tensors, {"model": "v"}, "is a value model, which writes no text"),
        (
            tensors,
            {"max_new_tokens": 253},
            "prompt 1 has 4 tokens and max_new_tokens is 253: together more than the model's "
            "context of 256",
        ),
        (tensors, {"completions_per_prompt": 2}, r"'seeds' has shape \[2, 2\], expected \[4, 2\]"),
        (tensors, {"stop_token_ids": [47]}, "stop_token_ids holds 47, outside the vocabulary"),
        (
            tensors,
            {"prompts": ["w1", "w2"]},
            r"unexpected tensors \['prompt_cu_seqlens', 'prompt_ids'\]",
        ),
        (seeds, {}, "tensor 'prompt_ids' is missing"),
        (seeds, {"prompts": ["", "w1"]}, "prompt 0 has no tokens"),
        (tensors, {"top_p": 0.0}, r"at `\$.top_p`"),
        (tensors, {"temperature": -0.1}, r"at `\$.temperature`"),
        (tensors, {"stop_strings": [""]}, r"at `\$.stop_strings"),
    ):
        with pytest.raises(OperationError, match=words) as caught:
            client.sample(given, **changes)  # type: ignore[arg-type]  # mypy reads the dicts as one type
        assert caught.value.code == "bad_arguments", words
    with pytest.raises(OperationError, match="2 prompts but 1 completions"):
        client.run(
            "tokenize",
            model="m",
            prompts=["w1", "w2"],
            completions=["w3"],
            append_eos=False,
            literal=False,
        )


FUNCTIONS = """
import asyncio, math
import numpy as np

def add(a, b): return {"sum": a + b, "items": (a, b)}
async def later(x):
    await asyncio.sleep(0)
    return x + 1
def fail(x): raise ValueError(f"no {x}")
def nan(): return {"scores": [1.0, math.nan]}
def array(): return {"scores": [np.float32(1.0)]}
def keys(): return {1: "a"}
def large(): return 2**60
number = 3
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user_functions.py").write_text(FUNCTIONS)
    (tmp_path / "user_broken.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)


def call(client: Client, function: str, **keywords: Any) -> Any:
    return client.run("call", function=function, keywords=keywords)[0]["value"]


@pytest.mark.usefixtures("functions")
def test_call_functions_and_coroutines(client: Client) -> None:
    assert call(client, "user_functions:add", a=1, b=2) == {"sum": 3, "items": [1, 2]}
    assert call(client, "user_functions:later", x=2) == 3
    assert call(client, "json:dumps", obj=[1, None]) == json.dumps([1, None])
    assert call(client, "math:pi.is_integer") is math.pi.is_integer()


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(
    ("function", "words", "code"),
    [
        ("user_functions", "is not of the form 'package.module:function'", "bad_arguments"),
        ("user_nothing:f", "there is no module 'user_nothing'", "bad_arguments"),
        ("user_broken:f", "importing user_broken failed", "function_error"),
        ("user_functions:g", "user_functions has no 'g'", "bad_arguments"),
        ("user_functions:number", "is a int, not a function", "bad_arguments"),
        ("user_functions:fail", r"user_functions:fail raised TypeError", "function_error"),
        ("user_functions:nan", r"answer\['scores'\]\[1\] is nan", "function_error"),
        (
            "user_functions:array",
            r"answer\['scores'\]\[0\] is a numpy.float32, not plain JSON",
            "function_error",
        ),
        (
            "user_functions:keys",
            "has the key 1 of type int; keys must be strings",
            "function_error",
        ),
        ("user_functions:large", "too large to survive as a JSON number", "function_error"),
    ],
)
def test_calls_that_fail(client: Client, function: str, words: str, code: str) -> None:
    with pytest.raises(OperationError, match=words) as caught:
        call(client, function)
    assert caught.value.code == code


@pytest.mark.usefixtures("functions")
def test_what_a_function_raises_comes_with_its_traceback(client: Client) -> None:
    with pytest.raises(
        OperationError, match=r"raised ValueError: no luck\n(.|\n)*user_functions.py.*in fail"
    ):
        call(client, "user_functions:fail", x="luck")
