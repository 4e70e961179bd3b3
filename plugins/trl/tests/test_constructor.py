"""What the trainer can be made of: models, arguments, reward functions; and what is refused."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import trl
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForSequenceClassification,
)
from trl import GRPOConfig, GRPOTrainer

import genac_trl.trainer
from conftest import Make, critic_asked, first_batch, letters
from genac_trl import ControllerError, GenACConfig, GenACTrainer
from genac_trl.config import controller_options
from genac_trl.refusals import refuse_what_has_no_meaning
from genac_trl.trl_internals import SUPPORTED


class Recorder:
    """In the controller's place: keeps what it is asked."""

    asked: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(
        self, logs: Any, endpoint: str | None = None, timeout: float | None = None
    ) -> None:
        self.logs = logs
        Recorder.asked = []

    def ask(self, operation: str, arguments: dict[str, Any], *_: Any, **__: Any) -> Any:
        Recorder.asked.append((operation, arguments))
        return {"critic": "none", "needs": "states", "learns": False, "pids": []}, {}

    def close(self) -> None:
        pass


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Any:
    """No controller is started; gives what it would have been opened with."""
    monkeypatch.setattr(genac_trl.trainer, "Controller", Recorder)

    def told() -> dict[str, Any]:
        asked = dict(Recorder.asked)
        assert list(asked) == ["open", "set_actor"]
        return {**asked["open"], "actor": asked["set_actor"]}

    return told


# Models


def test_model_by_path_is_the_critic_too(make: Make, tiny: str, opened: Any) -> None:
    trainer = make()
    assert critic_asked(opened()) == {"use": "generative", "model": tiny}
    parameters = sum(p.numel() for p in trainer.model.parameters())
    assert opened()["actor"] == {"name": Path(tiny).name, "parameters": parameters}


def test_model_object_is_written_for_the_critic_as_it_is(
    make: Make, tiny: str, opened: Any
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    trainer = make({"model": model})
    assert trainer.model is model
    folder = critic_asked(opened())["model"]
    assert folder == str(Path(trainer.args.output_dir, "critic-start").resolve())
    written = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(written.lm_head.weight, model.lm_head.weight)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(trainer.processing_class)


@pytest.mark.parametrize("by", ["peft_config", "PeftModel"])
def test_adapter_s_critic_is_the_base_model(make: Make, tiny: str, opened: Any, by: str) -> None:
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    given = (
        {"peft_config": lora}
        if by == "peft_config"
        else {"model": get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), lora)}
    )
    trainer = make(given)
    assert isinstance(trainer.model, PeftModel)
    assert critic_asked(opened())["model"] == tiny


def test_critic_model_goes_before_the_actor_s(make: Make, opened: Any) -> None:
    make(critic_model="/some/run", actor_name="Ada")
    assert opened()["options"]["critic"]["model"] == "/some/run"
    assert opened()["actor"]["name"] == "Ada"


def test_model_init_kwargs(make: Make, opened: Any) -> None:
    trainer = make(model_init_kwargs={"dtype": "bfloat16"})
    assert {p.dtype for p in trainer.model.parameters()} == {torch.bfloat16}


# Arguments


def test_constructor_is_grpo_s_to_the_keyword() -> None:
    ours, theirs = (
        inspect.signature(cls.__init__).parameters.values() for cls in (GenACTrainer, GRPOTrainer)
    )
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in theirs
    ]


def test_no_arguments(
    tiny: str, data: Dataset, opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # GRPOConfig's defaults want a GPU.
    monkeypatch.setattr(genac_trl.trainer, "GenACConfig", partial(GenACConfig, use_cpu=True))
    trainer = GenACTrainer(tiny, letters, train_dataset=data)
    assert isinstance(trainer.args, GenACConfig)
    assert trainer.args.output_dir == f"{Path(tiny).name}-GenAC"
    assert opened()["options"]["critic"]["use"] == "generative"


def test_plain_grpo_config_has_the_defaults(make: Make, opened: Any) -> None:
    trainer = make(config=GRPOConfig)
    asked = opened()
    plain = asked["options"]
    assert type(trainer.args) is GRPOConfig
    make()
    assert plain == opened()["options"]
    assert {**plain, "critic": critic_asked(asked)} == {
        "seed": 42,
        "critic": {"use": "generative", "model": trainer.model.config._name_or_path},
        "credit": {},
        "icc": {},
        "joint": {},
        "critic_rl": {},
    }


def test_every_critic_field_reaches_the_controller() -> None:
    args = GenACConfig(
        output_dir="unused",
        use_cpu=True,
        critic_device="1",
        critic_dtype="float32",
        critic_completions_per_state=2,
        critic_max_new_tokens=64,
        critic_temperature=0.5,
        critic_learning_rate=1e-5,
        critic_update=False,
        critic_seed=7,
        icc=False,
        actor_success_rate=0.5,
        segmentation="line",
        gamma=0.9,
        lam=0.5,
    )
    assert controller_options(args, "m") == {
        "seed": 7,
        "critic": {
            "use": "generative",
            "model": "m",
            "dtype": "float32",
            "completions_per_state": 2,
            "max_new_tokens": 64,
            "temperature": 0.5,
            "icc": False,
        },
        "credit": {"gamma": 0.9, "segmentation": {"by": "line"}, "lambda": 0.5},
        "icc": {"success_rate": 0.5},
        "joint": {"critic": "frozen"},
        "critic_rl": {"learning_rate": 1e-5},
        "workers": {"critic": {"devices": "1"}},
    }


def test_every_field_has_its_help() -> None:
    plain = {f.name for f in fields(GRPOConfig)}
    own = [f for f in fields(GenACConfig) if f.name not in plain]
    assert len(own) > 15
    for field in own:
        assert len(field.metadata.get("help", "")) > 20, field.name


@pytest.mark.parametrize(
    "options",
    [{"critic_on_failure": "ignore"}, {"reward_range": [1.0, 1.0]}, {"reward_range": [0.0]}],
)
def test_config_says_which_field_is_wrong(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        GenACConfig(output_dir="unused", use_cpu=True, **options)


def test_fields_without_effect_are_told(make: Make, own_critic: str) -> None:
    """`critic="group-mean"` is a comparison by one field; a critic of one's own says itself what it
    does not know.
    """
    with pytest.warns(
        UserWarning, match="critic='group-mean' is GRPO itself: critic_model, lam has no effect"
    ):
        GenACConfig(
            output_dir="unused", use_cpu=True, critic="group-mean", critic_model="m", lam=0.5
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        GenACConfig(output_dir="unused", use_cpu=True, critic="group-mean")
        GenACConfig(output_dir="unused", use_cpu=True, critic_model="m", lam=0.5)
    with pytest.raises(ControllerError, match=r"critic\.temperature: no such option"):
        make(critic=own_critic, critic_temperature=0.5)


def test_data_without_prompts_is_refused_at_once(make: Make) -> None:
    wrong = Dataset.from_dict({"question": ["one"], "answer": ["two"]})
    with pytest.raises(
        ValueError, match=r"train_dataset has no column 'prompt' \(it has question, answer\)"
    ):
        make({"train_dataset": wrong})
    with pytest.raises(ValueError, match="eval_dataset has no column 'prompt'"):
        make({"eval_dataset": {"mine": wrong}})


# Reward functions


def one(completions: list[Any], **_: Any) -> list[float]:
    return [1.0] * len(completions)


def test_reward_functions_alone_or_in_a_list(make: Make, opened: Any) -> None:
    assert make().reward_func_names == ["letters"]
    trainer = make({"reward_funcs": [letters, one]}, reward_weights=[0.25, 0.75])
    assert trainer.reward_func_names == ["letters", "one"]
    assert trainer.reward_weights.tolist() == [0.25, 0.75]


def test_no_reward_source_is_trl_s_error(make: Make, opened: Any) -> None:
    with pytest.raises(ValueError, match="No reward source provided"):
        make({"reward_funcs": None})


@pytest.fixture(scope="module")
def reward_model(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("judge")
    config = AutoConfig.from_pretrained(tiny, num_labels=1)
    torch.manual_seed(1)
    model = LlamaForSequenceClassification(config)
    with torch.no_grad():
        model.score.weight.mul_(20)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("by", ["path", "object"])
def test_reward_model(make: Make, own_critic: str, reward_model: str, by: str) -> None:
    """Its logits, mapped from `reward_range`, are the critic's rewards."""
    judge = LlamaForSequenceClassification.from_pretrained(reward_model)
    words = AutoTokenizer.from_pretrained(reward_model)
    given = (
        {"reward_funcs": reward_model}
        if by == "path"
        else {
            "reward_funcs": judge,
            "reward_processing_classes": AutoTokenizer.from_pretrained(reward_model),
        }
    )
    trainer = make(
        given, critic=own_critic, reward_range=[-8.0, 8.0], log_completions=True, bf16=False
    )
    assert trainer.reward_func_names == [Path(reward_model).name]
    first_batch(trainer)
    rewards = []
    for completion in trainer.valuations:
        ids = words(
            completion["prompt"] + completion["response"],
            return_tensors="pt",
            add_special_tokens=False,
        ).input_ids
        with torch.no_grad():
            rewards.append(judge(input_ids=ids).logits.item())
        assert completion["reward"] == pytest.approx((rewards[-1] + 8) / 16, abs=1e-5)
    assert len({round(reward, 4) for reward in rewards}) > 1
    assert trainer._metrics["train"]["reward"] == [pytest.approx(sum(rewards) / 4, abs=1e-4)]


@pytest.mark.parametrize("critic", ["generative", "group-mean"])
def test_one_response_to_a_prompt(critic: str) -> None:
    """A critic needs no group; GRPO's baseline does."""
    options = {"output_dir": "unused", "use_cpu": True, "critic": critic, "num_generations": 1}
    if critic == "group-mean":
        with pytest.raises(ValueError, match="at least 2 generations"):
            GenACConfig(**options)
    else:
        config = GenACConfig(**options, per_device_train_batch_size=3)
        assert (config.num_generations, type(config.num_generations)) == (1, int)


# Refusals

REFUSED = [
    (
        {"use_liger_kernel": True},
        "use_liger_kernel=True: in this version of TRL, the Liger kernel's GRPO loss takes one "
        "advantage for each completion",
    ),
    (
        {"multi_objective_aggregation": "normalize_then_sum"},
        "multi_objective_aggregation='normalize_then_sum'",
    ),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
@pytest.mark.parametrize("config", [GRPOConfig, GenACConfig])
def test_options_without_a_meaning_are_refused(
    make: Make,
    config: Any,
    options: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Before TRL 1.14 it is there.
    monkeypatch.setattr(GRPOTrainer, "compute_liger_loss", print, raising=False)
    with pytest.raises(ValueError, match=f"{words}.*, or critic='group-mean'$"):
        make(config=config, **options)


def test_layers_of_the_liger_kernel_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(GRPOTrainer, "compute_liger_loss", raising=False)
    refuse_what_has_no_meaning(
        GenACConfig(output_dir="unused", use_cpu=True, use_liger_kernel=True)
    )


@pytest.mark.parametrize("options", [options for options, _ in REFUSED])
def test_group_mean_refuses_nothing(options: dict[str, Any]) -> None:
    refuse_what_has_no_meaning(
        GenACConfig(output_dir="unused", use_cpu=True, critic="group-mean", **options)
    )


@pytest.mark.parametrize("version", ["1.9.2", "1.15.0", "1.17.0", "2.0.0", "1.17.0.dev0"])
def test_another_trl_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(trl, "__version__", version)
    with pytest.raises(ImportError) as caught:
        make(critic="group-mean")
    assert f"tested with TRL {SUPPORTED}, and this is TRL {version}" in str(caught.value)
    assert f"pip install 'trl{SUPPORTED}'" in str(caught.value)
