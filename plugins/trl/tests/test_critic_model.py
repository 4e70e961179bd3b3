"""A critic that starts from the actor's checkpoint is loaded as the actor is, or what it can't have
is refused.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaConfig

import genac_trl.trainer
from conftest import Make, critic_asked, first_batch
from genac_trl import GenACConfig
from genac_trl.critic_model import loading_options


class Opened:
    """Stands for the controller; keeps what it is opened with."""

    said: dict[str, Any]

    def __init__(self, logs: Any, *_: Any) -> None:
        self.logs, self.pid = logs, 0

    def ask(
        self, operation: str, arguments: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[dict[str, Any], Any]:
        if operation == "open":
            json.dumps(arguments)
            Opened.said = critic_asked(arguments)
        return {"critic": "generative", "needs": "states", "learns": True, "pids": []}, {}

    def close(self) -> None:
        pass


@pytest.fixture
def critic(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(genac_trl.trainer, "Controller", Opened)
    return lambda: Opened.said


def test_loading_options_of_the_actor_are_the_critic_s(make: Make, critic: Any, tiny: str) -> None:
    options = {
        "dtype": "bfloat16",
        "attn_implementation": "eager",
        "revision": "main",
        "device_map": None,
    }
    make(model_init_kwargs=options, bf16=False)
    assert critic() == {
        **{"use": "generative", "model": tiny},
        **{"dtype": "bfloat16", "attn_implementation": "eager", "revision": "main"},
    }
    make(model_init_kwargs=options, critic_dtype="float32", bf16=False)
    assert critic()["dtype"] == "float32", "the critic's own goes before"
    make(model_init_kwargs=options, critic_model="/some/run", bf16=False)
    assert critic() == {"use": "generative", "model": "/some/run"}, (
        "a critic of its own is not the actor's files"
    )


def test_the_file_of_the_controller_goes_before(make: Make, critic: Any, tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text("critic: {use: generative, attn_implementation: sdpa}\n")
    make(
        model_init_kwargs={"attn_implementation": "eager", "revision": "main"},
        controller_config=str(path),
    )
    assert "attn_implementation" not in critic()
    assert critic()["revision"] == "main"


def given(**options: Any) -> GenACConfig:
    return GenACConfig("out", use_cpu=True, report_to="none", **options)


def test_code_of_the_model_s_own(tiny: str) -> None:
    assert loading_options(given(model_init_kwargs={"trust_remote_code": True}), tiny, None) == {
        "trust_remote_code": True
    }
    if "trust_remote_code" in GenACConfig.__dataclass_fields__:
        assert loading_options(given(trust_remote_code=True), tiny, None) == {
            "trust_remote_code": True
        }


def test_quantization_by_either_way(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BitsAndBytesConfig, "post_init", lambda self: None)  # asks for the package
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)
    options = loading_options(given(), tiny, config)
    assert options == loading_options(
        given(model_init_kwargs={"quantization_config": config.to_dict()}), tiny, None
    )
    said = options["quantization_config"]
    assert (said["load_in_4bit"], said["bnb_4bit_compute_dtype"], said["quant_method"]) == (
        *(True, "bfloat16", "bitsandbytes"),
    )
    json.dumps(said)


def test_what_a_critic_can_t_have_is_refused(make: Make, tiny: str) -> None:
    with pytest.raises(
        ValueError, match=r"model_init_kwargs has subfolder, variant, which .* `critic_model`"
    ):
        make(model_init_kwargs={"variant": "fp16", "subfolder": "a", "device_map": None})
    with pytest.raises(ValueError, match=r"dtype 'float16', in which the critic.* `critic_dtype`"):
        make(model_init_kwargs={"dtype": "float16"})
    # Not where it is not concerned.
    assert (
        loading_options(given(model_init_kwargs={"variant": "fp16"}, critic_model="x"), tiny, None)
        == {}
    )
    assert (
        loading_options(
            given(model_init_kwargs={"variant": "fp16"}, critic="group-mean"), tiny, None
        )
        == {}
    )


def test_tokenizer_that_was_given_where_the_folder_has_none(
    make: Make, critic: Any, tiny: str, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny, bare)
    for path in [*bare.glob("tokenizer*"), *bare.glob("chat_template*")]:
        path.unlink()
    make({"model": str(bare), "processing_class": AutoTokenizer.from_pretrained(tiny)})
    assert critic()["model"] == str(bare)
    words = AutoTokenizer.from_pretrained(critic()["tokenizer"])
    assert words.get_vocab() == AutoTokenizer.from_pretrained(tiny).get_vocab()
    make()
    assert "tokenizer" not in critic()


def base_in_memory(tiny: str) -> Any:
    torch.manual_seed(5)
    config = LlamaConfig.from_pretrained(tiny)
    config._name_or_path = ""
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("saved", [None, ["lm_head"]])
def test_base_of_an_adapter_that_is_in_memory_only(
    make: Make, critic: Any, tiny: str, saved: Any
) -> None:
    base = base_in_memory(tiny)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=["q_proj"],
        init_lora_weights=False,
        modules_to_save=saved,
    )
    make(
        {
            "model": get_peft_model(base, lora),
            "processing_class": AutoTokenizer.from_pretrained(tiny),
        }
    )
    written = AutoModelForCausalLM.from_pretrained(critic()["model"]).state_dict()
    assert set(written) == set(before)
    assert all(torch.equal(written[name], tensor) for name, tensor in before.items())


def test_a_critic_of_custom_code_and_a_given_tokenizer_works(
    make: Make, tiny: str, tmp_path: Path
) -> None:
    """Not against a stand-in: the critic's worker loads it, and a batch is valued."""
    folder = tmp_path / "own"
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine-model", "architectures": ["MyModel"]}
    config["auto_map"] = {"AutoConfig": "mine.MyConfig", "AutoModelForCausalLM": "mine.MyModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MyConfig(LlamaConfig):\n    model_type = 'mine-model'\n"
        "class MyModel(LlamaForCausalLM):\n    config_class = MyConfig\n"
    )
    words = AutoTokenizer.from_pretrained(tiny)
    for path in [*folder.glob("tokenizer*"), *folder.glob("chat_template*")]:
        path.unlink()
    options = {
        "model_init_kwargs": {"trust_remote_code": True},
        "critic_max_new_tokens": 2,
        "max_steps": 1,
    }
    trainer = make({"model": str(folder), "processing_class": words}, **options)
    assert first_batch(trainer)["advantages"].shape[0] == 4
