"""`python -m genac_trl`: training from the command line, with the conventions of `trl grpo`.

    python -m genac_trl --model_name_or_path MODEL --dataset_name DATA --reward_funcs
    accuracy_reward --critic_model CRITIC --output_dir OUT

All fields of `GenACConfig` (with `GRPOConfig`'s) and TRL's `ScriptArguments`, `ModelConfig` and
`DatasetMixtureConfig` are options; `--config FILE.yaml` takes them from a file.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from datasets import load_dataset
from transformers.trainer_utils import get_last_checkpoint
from trl import (
    DatasetMixtureConfig,
    ModelConfig,
    ScriptArguments,
    TrlParser,
    get_dataset,
    get_peft_config,
    get_quantization_config,
)
from trl import rewards as trl_rewards

from . import ControllerError, GenACConfig, GenACTrainer


@dataclass
class GenACScriptArguments(ScriptArguments):
    """What the script needs besides the trainer's configuration."""

    reward_model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "A reward model: a folder in Hugging Face format, or a name on the Hub."},
    )
    reward_funcs: list[str] | None = field(
        default=None,
        metadata={
            "help": "Reward functions: names in trl.rewards ('accuracy_reward', "
            "'think_format_reward', ...), 'get_soft_overlong_punishment' (1280 tokens, the last "
            "256 punished), or import paths such as 'my_package.rewards.mine'."
        },
    )
    critic_traces: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "SFT of the critic before training: a JSONL file of an oracle's "
            "traces, 'oracle' (that of the task in `controller_config`), or a model behind an "
            "API: "
            '\'{"api": {"model": "...", "count": 2000}}\'.'
        },
    )
    critic_steps: int = field(
        default=0,
        metadata={
            "help": "Steps of critic pretraining, from the actor's responses, before training."
        },
    )
    critic_resume: bool = field(
        default=False,
        metadata={
            "help": "Go on from the last checkpoint of the critic's training before the actor's, "
            "in `output_dir/genac-critic`, if there is one; where `output_dir` has one of what "
            "comes after, go on from that. `resume_from_checkpoint` names another one."
        },
    )

    def __post_init__(self) -> None:
        if isinstance(self.critic_traces, str) and self.critic_traces.lstrip().startswith("{"):
            try:
                self.critic_traces = json.loads(self.critic_traces)
            except ValueError as error:
                raise ValueError(
                    f"critic_traces: {self.critic_traces!r} is not JSON: {error}"
                ) from error


def reward_function(name: str) -> Callable[..., Any]:
    """Returns a reward function by TRL's name or by import path. Raises `ValueError`."""
    if name == "get_soft_overlong_punishment":
        made: Callable[..., Any] = trl_rewards.get_soft_overlong_punishment(
            max_completion_len=1280, soft_punish_cache=256
        )
        return made
    if "." in name:
        module, _, function = name.rpartition(".")
        sys.path.insert(0, os.getcwd())
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), function)
            return found
        except (ImportError, AttributeError) as error:
            raise ValueError(f"the reward function {name!r} can't be imported: {error}") from error
    known = [other for other in dir(trl_rewards) if other.endswith("_reward")]
    if name not in known:
        raise ValueError(
            f"there is no reward function {name!r}: give one of "
            f"{', '.join([*known, 'get_soft_overlong_punishment'])}, or an import path such as "
            "'my_package.rewards.mine'"
        )
    own: Callable[..., Any] = getattr(trl_rewards, name)
    return own


def dataset_of(script: GenACScriptArguments, mixture: DatasetMixtureConfig) -> Any:
    if mixture.datasets:
        return get_dataset(mixture)
    if script.dataset_name is None:
        raise ValueError("name the data: --dataset_name, or `datasets` in the config file")
    return load_dataset(
        script.dataset_name, name=script.dataset_config, streaming=script.dataset_streaming
    )


def main(arguments: list[str] | None = None) -> None:
    parser = TrlParser(
        (GenACScriptArguments, GenACConfig, ModelConfig, DatasetMixtureConfig),
        prog="python -m genac_trl",
    )
    script, config, model, mixture = parser.parse_args_and_config(
        arguments, fail_with_unknown_args=True
    )
    if model.model_name_or_path is None:
        raise ValueError("name the actor: --model_name_or_path")
    rewards: list[Any] = [reward_function(name) for name in script.reward_funcs or []]
    if script.reward_model_name_or_path:
        rewards.insert(0, script.reward_model_name_or_path)
    config.model_init_kwargs = {
        "revision": model.model_revision,
        "trust_remote_code": config.trust_remote_code,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(config.model_init_kwargs or {}),
    }
    data = dataset_of(script, mixture)
    with GenACTrainer(
        model=model.model_name_or_path,
        reward_funcs=rewards,
        args=config,
        train_dataset=data[script.dataset_train_split],
        eval_dataset=data[script.dataset_test_split] if config.eval_strategy != "no" else None,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
    ) as trainer:
        resume = config.resume_from_checkpoint
        if script.critic_traces or script.critic_steps:
            if script.critic_resume:
                # One of train() has a critic that is past its first stages.
                resume = resume or get_last_checkpoint(config.output_dir)
            trainer.train_critic(
                script.critic_traces,
                script.critic_steps,
                resume_from_checkpoint=resume or script.critic_resume,
            )
        trainer.train(resume_from_checkpoint=resume)
        trainer.save_model(config.output_dir)
        trainer.save_critic(os.path.join(config.output_dir, "genac"))
        trainer.accelerator.print(
            f"The model is in {config.output_dir}, the critic in {config.output_dir}/genac/critic"
        )
        if config.push_to_hub:
            trainer.push_to_hub(dataset_name=script.dataset_name)


if __name__ == "__main__":
    try:
        main()
    except ControllerError as error:
        sys.exit(f"genac_trl: {error}")
