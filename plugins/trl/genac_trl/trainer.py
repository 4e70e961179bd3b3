"""`GenACTrainer`:

TRL's `GRPOTrainer` with per-token credit from GenAC's critic (arXiv 2604.10701).
"""

from __future__ import annotations

import os
import textwrap
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint
from trl import GRPOTrainer

from genac_bridge.host.critic_stages import train_critic
from genac_bridge.host.host_critic import HostCritic, Scale
from genac_bridge.host.opening import Opening
from genac_bridge.host.processes import on_main
from genac_bridge.host.reverse_requests import Tensors
from genac_bridge.models.tokens import TextDecoder

from .advice import ADVICE
from .completions import padded, rows_of
from .config import WITHOUT, GenACConfig, checked_range, critic_option, has_critic
from .continuations import why_none
from .controller import Controller, ControllerError
from .critic_model import critic_start, early_start, loading_options
from .host import TRLBatch, TRLHost
from .opening import begin, open_request
from .refusals import refuse_data_without_prompts, refuse_what_has_no_meaning
from .rewards import RewardRange
from .sequence_ratio import broadcast, sequence_ratios
from .torn_checkpoints import CHECKPOINT_FOLDER, report_torn, whole_or_set_aside
from .trl_internals import check_output, check_version, log_unvalued


class GenACTrainer(GRPOTrainer):
    """Trainer for Generative Actor-Critic (GenAC): GRPO's policy update with an advantage for each
    token.

    The constructor is [`~trl.GRPOTrainer`]'s, to the keyword; `args` is a [`GenACConfig`], or a
    [`~trl.GRPOConfig`] (the critic's fields then have their defaults). A critic, a language model
    in a process of its own, reads the prompt and the response up to each of a few cuts, reasons,
    and scores the chance of success. Between two cuts, all tokens share one advantage (generalized
    advantage estimation over segments). The critic learns from the rewards while the policy is
    updated.

    After use, `close()` ends the controller; so does the end of the process, however it comes.

    Raises:
        ImportError: this version of TRL was not tested.
        ValueError: an option that has no meaning with per-token credit.
        ControllerError: Node or the critic can't be started; a config that is not valid.
    """

    _tag_names: ClassVar = ["trl", "genac"]
    _name = "GenAC"
    _paper: ClassVar = {
        "title": "Generative Actor-Critic",
        "id": "2604.10701",
        "citation": textwrap.dedent("""\
            @misc{genac2026,
                title         = {{Generative Actor-Critic}},
                year          = 2026,
                eprint        = {2604.10701},
                archivePrefix = {arXiv},
            }"""),
    }

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        reward_processing_classes: Any = None,
        callbacks: Any = None,
        optimizers: tuple[Any, Any] = (None, None),
        quantization_config: Any = None,
        peft_config: Any = None,
        tools: Any = None,
        rollout_func: Any = None,
        environment_factory: Any = None,
    ) -> None:
        check_version()
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = GenACConfig(f"{name.rstrip('/').split('/')[-1]}-GenAC")
        refuse_what_has_no_meaning(args)
        if environment_factory is None:  # an environment may give the prompt itself
            refuse_data_without_prompts(train_dataset=train_dataset, eval_dataset=eval_dataset)
        loading = loading_options(args, model, quantization_config)
        #: A sentence that says why responses can't be continued; None: they can.
        self.no_continuations = why_none(tools, rollout_func, environment_factory)
        #: From combined rewards to [0, 1].
        self.reward_range = RewardRange(
            checked_range(critic_option(args, "reward_range")),
            lambda text: self._critic.say_once("range", text),
        )
        self._critic = HostCritic(
            TRLHost(self),
            on_failure=critic_option(args, "critic_on_failure"),
            tells_valuations=bool(args.log_completions),
            advice=ADVICE,
        )
        self._seen: dict[str, Any] = {}
        self._decoder: TextDecoder | None = None
        continues = self.no_continuations is None
        with begin(args, early_start(args, model, loading), Controller, continues) as opening:
            super().__init__(
                model=model,
                reward_funcs=reward_funcs,
                args=args,
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=processing_class,
                reward_processing_classes=reward_processing_classes,
                callbacks=callbacks,
                optimizers=optimizers,
                quantization_config=quantization_config,
                peft_config=peft_config,
                tools=tools,
                rollout_func=rollout_func,
                environment_factory=environment_factory,
            )
        if has_critic(args):
            try:
                on_main(self._critic.host, lambda: self._finish_opening(opening, model, loading))
            except ControllerError as error:
                if continues or "continue responses" not in str(error):
                    raise
                raise ControllerError(f"{error}: {self.no_continuations}") from error
            report_torn(self)

    # The controller

    def _finish_opening(self, opening: Opening | None, model: Any, loading: dict[str, Any]) -> None:
        assert opening is not None  # the main process began it
        args = self.args
        self._critic.controller, self._critic.info = opening.finish(
            lambda: open_request(
                args, critic_start(self, model, loading), self._critic.host.can_continue
            )
        )
        unwrapped = self.accelerator.unwrap_model(self.model)
        name = (
            critic_option(args, "actor_name")
            or unwrapped.config._name_or_path.rstrip("/").split("/")[-1]
            or "actor"
        )
        self.ask("set_actor", {"name": name, "parameters": int(unwrapped.num_parameters())})
        if self.scale_rewards == "group" and self.critic_info["needs"] == "states":
            print(
                "GenAC: with a critic, advantages are divided by their root mean square over the "
                "batch; scale_rewards='group' holds where the group's own mean is the baseline",
                flush=True,
            )

    @property
    def critic_info(self) -> dict[str, Any]:
        """The critic's name and kind, and the process ids of its workers.

        Main process only.
        """
        return self._critic.info

    @property
    def valuations(self) -> list[dict[str, Any]]:
        """The last batch as the critic valued it: for each completion of all processes a list of
        its segments.

        Main process only; filled where somebody asked (`tell_valuations`).
        """
        return self._critic.valuations

    @property
    def tell_valuations(self) -> bool:
        """Should `valuations` be filled?"""
        return self._critic.tells_valuations

    @tell_valuations.setter
    def tell_valuations(self, wanted: bool) -> None:
        self._critic.tells_valuations = wanted

    def ask(
        self, operation: str, arguments: dict[str, Any], tensors: Tensors | None = None, **rest: Any
    ) -> tuple[dict[str, Any], Tensors]:
        """An operation of the controller (`src/bridge/host-operations.ts`).

        Main process only. Raises `ControllerError`.
        """
        return self._critic.ask(operation, arguments, tensors, **rest)

    def close(self) -> None:
        """Ends the controller and its workers.

        It drops a pending update of the critic; `save_critic` waits for it. May be
        called twice.
        """
        self._critic.close()

    def __enter__(self) -> GenACTrainer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Credit

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        """TRL's rewards as they are; what they were given is kept for the critic."""
        per_function: torch.Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        self._seen = {"prompts": prompts, "ids": completion_ids_list, "rewards": per_function}
        return per_function

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not has_critic(self.args):
            return self._sampled_by_trl(inputs)[0]
        batch = self._sampled(inputs)
        training = self.model.training
        credit = self._critic.assign_credit(
            batch,
            "joint" if training else "evaluation",
            self._joint_batches() if training else None,
            self._scale(),
        )
        self._critic.host.log_credit(batch, credit)
        output = batch.output
        if credit.is_group_mean:
            # GRPO's own, to the last digit.
            output["advantages"] = broadcast(output["advantages"], output)
        elif credit.advantages is not None:
            own = len(output["completion_ids"])
            first = self.accelerator.process_index * own
            output["advantages"] = padded(
                credit.advantages[first : first + own], output["completion_ids"]
            )
        return output

    def _scale(self) -> Scale:
        """Returns what advantages are divided by, by the controller's names."""
        scales: dict[str, Scale] = {"group": "group-std", "batch": "batch-std", "none": "none"}
        return scales[str(self.scale_rewards)]

    def _joint_batches(self) -> int | None:
        """Returns how many batches there will be, for the critic's learning rate."""
        steps = self.state.max_steps
        if steps <= 0:
            return None
        per_batch = self.args.steps_per_generation * self.num_iterations
        return max(1, -(-steps * self.args.gradient_accumulation_steps // per_batch))

    def _sampled_by_trl(
        self, inputs: list[dict[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """TRL's output, and what its reward functions were given."""
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        seen, self._seen = self._seen, {}
        return output, seen

    def _sampled(self, inputs: list[dict[str, Any]]) -> TRLBatch:
        """Returns a batch from TRL; its rewards are NaN where no reward function applied.

        Raises `ValueError`.
        """
        output, seen = self._sampled_by_trl(inputs)
        check_output(output)
        rewards = self.reward_range.to_unit(
            seen["rewards"], self.reward_weights, self.reward_func_names, learn=self.model.training
        )
        group = self.num_generations if self.model.training else self.num_generations_eval
        rows = gather_object(rows_of(self, output, seen))
        if self.tell_valuations:
            log_unvalued(self, len(rows))
        return TRLBatch(rows, rewards, group, self.reward_range.width, output, inputs)

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        """Returns TRL's loss, with the sequence's ratio and each token's own advantage where
        `importance_sampling_level` says so.
        """
        if self.importance_sampling_level != "sequence" or inputs["advantages"].dim() == 1:
            return super()._compute_loss(model, inputs)
        with sequence_ratios(self, inputs):
            return super()._compute_loss(model, inputs)

    def value(
        self, prompts: list[Any], responses: list[str], greedy: bool = True
    ) -> tuple[np.ndarray, list[str], list[bool]]:
        """The critic's value of each partial response, float64 [N] in [0, 1], its words, and
        whether it wrote a valid
        score (else the value is a fallback). By its likeliest completion, or with `greedy` False as
        in training. Main process only. Raises `ControllerError`.
        """
        return self._critic.value(prompts, responses, greedy)

    def _decoded(self, ids: list[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
        """Returns the texts of token ids, and for each int32 [T]: the UTF-16 units of its text that
        are complete after each token.
        """
        if self._decoder is None:
            model = self.accelerator.unwrap_model(self.model)
            self._decoder = TextDecoder(
                self._tokenizer,
                max(len(self._tokenizer), model.config.get_text_config().vocab_size),
            )
        return self._decoder.decode(ids)

    # The critic alone

    def train_critic(
        self,
        traces: str | os.PathLike[str] | dict[str, Any] | None = None,
        steps: int = 0,
        resume_from_checkpoint: bool | str | None = None,
        updates: int | None = None,
    ) -> dict[str, float]:
        """GenAC's first two stages, with the actor as it is. Each ends with a checkpoint in
        `OUTPUT_DIR/genac-critic`, and with `save_strategy="steps"` has some between.

        Args:
            traces: what the critic imitates, as `critic_sft` of `controller_config` says. A JSONL
                file of an oracle's traces; `{"api": {"model": ..., ...}}`, a model behind an
                API that is asked about responses of the actor to the training set (its options:
                docs/oracles.md; answers and traces are kept in `OUTPUT_DIR/genac-oracle`); or
                `"oracle"`, that of the task in `controller_config`. `None`: this stage is left out.
            steps: then so many batches of the actor's responses to the training set, from whose
                rewards the critic learns. 0: this stage is left out.
            resume_from_checkpoint: `True`: resumes from the last checkpoint of these stages, if
                there is one; where `OUTPUT_DIR` has one of `train()`, or where its path is given,
                nothing is done, for `train(resume_from_checkpoint=...)` restores a critic that is
                past them.
            updates: the old name of `steps`.

        Returns:
            The last metrics.

        Raises:
            ValueError: there is nothing to train, or `traces` is none of these.
            ControllerError: what the controller says is wrong.
        """
        if not has_critic(self.args):
            raise ValueError(f"critic={WITHOUT!r} has nothing to train")
        if updates is not None:
            warnings.warn("train_critic: `updates` is now `steps`", FutureWarning, stacklevel=2)
            steps = updates
        if traces is None and steps < 1:
            raise ValueError(
                "train_critic has nothing to do: give `traces` for stage 1, `steps` for stage 2, "
                "or both"
            )
        if isinstance(resume_from_checkpoint, str) or (
            resume_from_checkpoint and get_last_checkpoint(self.args.output_dir)
        ):
            self.accelerator.print(
                "GenAC: the critic's first stages are behind the checkpoint that train() resumes"
            )
            return {}
        return train_critic(
            self._critic, traces, steps, bool(resume_from_checkpoint), self._scale()
        )

    # Checkpoints

    def save_critic(
        self, folder: str | os.PathLike[str], optimizer: bool = False, required: bool = True
    ) -> None:
        """As `HostCritic.save`: the critic in `folder/critic`, the controller's state beside it."""
        self._critic.save(folder, optimizer, required)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Before TRL's own files: where its last one is, this one is whole.
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder = Path(self._get_output_dir(trial=trial), name)
        with whole_or_set_aside(self, folder):
            self.save_critic(folder / CHECKPOINT_FOLDER, not self.args.save_only_model, False)
            super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or not has_critic(self.args):
            return
        folder = os.path.abspath(os.path.join(checkpoint, CHECKPOINT_FOLDER))
        if not os.path.isdir(folder):
            raise ControllerError(
                f"the checkpoint {checkpoint} has no folder {CHECKPOINT_FOLDER}: it was not "
                "written by GenACTrainer with a critic, or was cut off; resume from another one"
            )
        self._critic.restore(folder)
