"""`GenACTrainer`: TRL's `GRPOTrainer` with per-token credit from GenAC's critic (arXiv 2604.10701)."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint
from trl import GRPOTrainer

from genac_bridge.models.tokens import TextDecoder

from .batch import Row, from_wire, padded, plain_prompt, to_wire
from .completions import rows_of
from .config import GenACConfig, checked_range, critic_option
from .controller import Controller, ControllerError, Tensors
from .critic_model import critic_start, early_start, loading_options
from .critic_stages import train_critic
from .opening import Opening, begin, open_request
from .processes import on_main
from .refusals import refuse_data_without_prompts, refuse_what_has_no_meaning
from .rewards import RewardRange
from .sequence_ratio import broadcast, sequence_ratios
from .torn_checkpoints import CHECKPOINT_FOLDER, tell_of_torn, whole_or_set_aside
from .trl_internals import check_output, check_version, log_advantages
from .valuations import log_valuations, silence, valuations_of


class GenACTrainer(GRPOTrainer):
    """Trainer for Generative Actor-Critic (GenAC): GRPO's policy update with an advantage for each token.

    The constructor is [`~trl.GRPOTrainer`]'s, to the keyword; `args` is a [`GenACConfig`], or a [`~trl.GRPOConfig`] (the critic's fields then have their defaults).
    A critic, a language model in a process of its own, reads the prompt and the response up to each of a few cuts, reasons, and scores the chance of success. Between
    two cuts, all tokens share one advantage (generalized advantage estimation over segments). The critic learns from the rewards while the policy is updated.

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
        self._controller: Controller | None = None
        #: What the next batches are for: `joint`, or `critic-rl` while the critic is trained alone.
        self._purpose = "joint"
        #: Batches of each purpose so far.
        self._batches = {"joint": 0, "critic-rl": 0, "evaluation": 0}
        self._updates_of_critic: int | None = None
        #: Could the last batch not be valued?
        self._failed = False
        #: What was said already, and is said once.
        self._said: set[str] = set()
        #: From combined rewards to [0, 1].
        self.reward_range = RewardRange(
            checked_range(critic_option(args, "reward_range")), lambda text: self._say_once("range", text)
        )
        self._seen: dict[str, Any] = {}
        #: What the controller said of the critic: name, kind, process ids of its workers. Main process only.
        self.critic_info: dict[str, Any] = {}
        self._decoder: TextDecoder | None = None
        #: The last batch as the critic valued it: for each completion of all processes a list of its segments. Main process only; filled where somebody asked (`tell_valuations`).
        self.valuations: list[dict[str, Any]] = []
        #: Should `valuations` be filled?
        self.tell_valuations = bool(args.log_completions)
        with begin(args, early_start(args, model, loading), Controller) as opening:
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
        if critic_option(args, "critic") != "group-mean":
            on_main(self.accelerator, lambda: self._finish_opening(opening, model, loading))
            tell_of_torn(self)

    # The controller

    def _finish_opening(self, opening: Opening | None, model: Any, loading: dict[str, Any]) -> None:
        assert opening is not None  # the main process began it
        args = self.args
        self._controller, self.critic_info = opening.finish(
            lambda: open_request(args, critic_start(self, model, loading))
        )
        unwrapped = self.accelerator.unwrap_model(self.model)
        name = critic_option(args, "actor_name") or unwrapped.config._name_or_path.rstrip("/").split("/")[-1] or "actor"
        self.ask("set_actor", {"name": name, "parameters": int(unwrapped.num_parameters())})
        if self.scale_rewards == "group" and self.critic_info["needs"] == "states":
            print(
                "GenAC: with a critic, advantages are divided by their root mean square over the batch; "
                "scale_rewards='group' holds where the group's own mean is the baseline",
                flush=True,
            )

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said and self.accelerator.is_main_process:
            self._said.add(what)
            print(text, flush=True)

    def ask(
        self, operation: str, arguments: dict[str, Any], tensors: Tensors | None = None, **rest: Any
    ) -> tuple[dict[str, Any], Tensors]:
        """An operation of the controller (`src/bridge/host-operations.ts`). Main process only. Raises `ControllerError`."""
        if self._controller is None:
            raise ControllerError("this trainer has no controller: critic='group-mean', or not the main process")
        return self._controller.ask(operation, arguments, tensors, **rest)

    def close(self) -> None:
        """Ends the controller and its workers. An update of the critic that is on its way is dropped; `save_critic` waits for it. May be called twice."""
        if self._controller is not None:
            self._controller.close()

    def __enter__(self) -> GenACTrainer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Credit

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        """TRL's rewards as they are; what they were given is kept for the critic."""
        per_function: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._seen = {"prompts": prompts, "ids": completion_ids_list, "rewards": per_function}
        return per_function

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if critic_option(self.args, "critic") == "group-mean":
            return self._sampled_by_trl(inputs)[0]
        output, rows, rewards = self._sampled(inputs)
        purpose = self._purpose if self.model.training else "evaluation"
        iteration = self._batches[purpose]
        self._batches[purpose] += 1
        advantages, metrics = on_main(self.accelerator, lambda: self._assign_credit(rows, rewards, purpose, iteration))
        metrics |= self.reward_range.metrics()
        mode = "train" if self.model.training else "eval"
        for name, value in metrics.items():
            self._metrics[mode][name].append(value)
        if metrics.get("critic/fell_back_to_group_mean") == 1:
            # GRPO's own, to the last digit.
            output["advantages"] = broadcast(output["advantages"], output)
        elif advantages is not None:
            own = len(output["completion_ids"])
            first = self.accelerator.process_index * own
            output["advantages"] = padded(advantages[first : first + own], output["completion_ids"])
            log_advantages(self, [float(each.mean()) if len(each) else 0.0 for each in advantages])
        return output

    def _sampled_by_trl(self, inputs: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """TRL's output, and what its reward functions were given."""
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        seen, self._seen = self._seen, {}
        return output, seen

    def _sampled(self, inputs: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Row], np.ndarray]:
        """TRL's output; the completions of all processes; their rewards, float64 [N] in [0, 1], NaN where no reward function applied. Raises `ValueError`."""
        output, seen = self._sampled_by_trl(inputs)
        check_output(output)
        rewards = self.reward_range.to_unit(
            seen["rewards"], self.reward_weights, self.reward_func_names, learn=self.model.training
        )
        return output, gather_object(rows_of(self, output, seen)), rewards

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        """TRL's, with the sequence's ratio and each token's own advantage where `importance_sampling_level` says so."""
        if self.importance_sampling_level != "sequence" or inputs["advantages"].dim() == 1:
            return super()._compute_loss(model, inputs)
        with sequence_ratios(self, inputs):
            return super()._compute_loss(model, inputs)

    def value(
        self, prompts: list[Any], responses: list[str], greedy: bool = True
    ) -> tuple[np.ndarray, list[str], list[bool]]:
        """The critic's value of each partial response, float64 [N] in [0, 1], its words, and whether it wrote a valid
        score (else the value is a fallback). By its likeliest completion, or with `greedy` False as in training.
        Main process only. Raises `ControllerError`.
        """
        result, tensors = self.ask(
            "value",
            {"prompts": [plain_prompt(prompt) for prompt in prompts], "responses": responses, "greedy": greedy},
        )
        return tensors["values"], result["rationales"], [parsed == "ok" for parsed in result["parsed"]]

    def _decoded(self, ids: list[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
        """Texts of token ids, and int32 [T] for each: UTF-16 units of its text that are complete after each token."""
        if self._decoder is None:
            model = self.accelerator.unwrap_model(self.model)
            self._decoder = TextDecoder(
                self._tokenizer, max(len(self._tokenizer), model.config.get_text_config().vocab_size)
            )
        return self._decoder.decode(ids)

    def _assign_credit(
        self, rows: list[Row], rewards: np.ndarray, purpose: str, iteration: int
    ) -> tuple[list[np.ndarray] | None, dict[str, float]]:
        """Main process: advantages of all rows (None: TRL's own stand) and metrics. Raises `ControllerError`."""
        began = time.perf_counter()
        try:
            group = self.num_generations if purpose != "evaluation" else self.num_generations_eval
            arguments, tensors, sent = to_wire(rows, rewards, group)
            scale = {"group": "group-std", "batch": "batch-std", "none": "none"}[str(self.scale_rewards)]
            result, answer = self.ask(
                "assign_credit",
                {
                    **arguments,
                    "purpose": purpose,
                    "iteration": iteration,
                    "iterations": self._iterations(purpose),
                    "scale": scale,
                    "tell": len(sent) if self.tell_valuations else 0,
                },
                tensors,
            )
        except ControllerError as error:
            if critic_option(self.args, "critic_on_failure") == "error":
                raise
            self._failed = True
            self._say_once(
                "failed",
                "GenAC: the critic failed, and training goes on with GRPO's own advantages until it answers again "
                f"(critic/failed): {error}",
            )
            return None, {"critic/failed": 1.0}
        self._failed = False
        metrics = {name: float(value) for name, value in result["metrics"].items()}
        told = silence(metrics, self.num_generations)
        if told is not None:
            self._say_once("silence", told)
        metrics["critic/seconds_host_waited"] = time.perf_counter() - began
        if critic_option(self.args, "critic_on_failure") != "error":
            metrics["critic/failed"] = 0.0
        if self.tell_valuations:
            self.valuations = valuations_of(rows, sent, rewards, result["valuations"])
            for one in self.valuations:
                one |= {"purpose": purpose, "step": self.state.global_step}
            log_valuations(self, self.valuations)
        return from_wire(answer["advantages"], rows, sent), metrics

    def _iterations(self, purpose: str) -> int | None:
        """How many batches there will be, for the critic's learning rate."""
        if purpose == "critic-rl":
            return self._updates_of_critic
        steps = self.state.max_steps
        if purpose != "joint" or steps <= 0:
            return None
        per_batch = self.args.steps_per_generation * self.num_iterations
        return max(1, -(-steps * self.args.gradient_accumulation_steps // per_batch))

    # The critic alone

    def train_critic(
        self,
        traces: str | os.PathLike[str] | dict[str, Any] | None = None,
        updates: int = 0,
        resume_from_checkpoint: bool | str | None = None,
    ) -> dict[str, float]:
        """GenAC's first two stages, with the actor as it is. Each ends with a checkpoint in `OUTPUT_DIR/genac-critic`, and with `save_strategy="steps"` has some between.

        Args:
            traces: what the critic imitates, as `critic_sft` of `controller_config` says. A JSONL file of an oracle's judgements; `{"api": {"model": ..., ...}}`, a model
                behind an API that is asked about responses of the actor to the training set (its options: docs/oracles.md; answers and traces are kept in
                `OUTPUT_DIR/genac-oracle`); or `"oracle"`, that of the task in `controller_config`. `None`: this stage is left out.
            updates: then so many batches of the actor's responses to the training set, from whose rewards the critic learns. 0: this stage is left out.
            resume_from_checkpoint: `True`: goes on from the last checkpoint of these stages, if there is one; where `OUTPUT_DIR` has one of `train()`, or where its path is
                given, nothing is done, for `train(resume_from_checkpoint=...)` restores a critic that is past them.

        Returns:
            The last metrics.

        Raises:
            ValueError: there is nothing to train, or `traces` is none of these.
            ControllerError: what the controller says is wrong.
        """
        if critic_option(self.args, "critic") == "group-mean":
            raise ValueError("critic='group-mean' has nothing to train")
        if traces is None and updates < 1:
            raise ValueError(
                "train_critic has nothing to do: give `traces` for stage 1, `updates` for stage 2, or both"
            )
        if isinstance(resume_from_checkpoint, str) or (
            resume_from_checkpoint and get_last_checkpoint(self.args.output_dir)
        ):
            self.accelerator.print("GenAC: the critic's first stages are behind the checkpoint that train() resumes")
            return {}
        return train_critic(self, traces, updates, bool(resume_from_checkpoint))

    @contextmanager
    def _critic_alone(self, updates: int, done: int) -> Iterator[None]:
        """Batches are for the critic: the next one is number `done` of `updates`."""
        self._updates_of_critic = updates
        self._batches["critic-rl"] = done
        self._purpose = "critic-rl"
        try:
            yield
        finally:
            self._purpose = "joint"

    # Checkpoints

    def save_critic(self, folder: str | os.PathLike[str], optimizer: bool = False) -> None:
        """Writes the critic to `folder/critic` (it loads with `from_pretrained`) and the controller's state beside it; `folder` is made, or replaced."""

        def work() -> None:
            if self._controller is None:
                return
            path = os.path.abspath(folder)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            place = {"stage": "joint", "iteration": self._batches["joint"], "complete": False}
            kept = {"optimizer": optimizer, "reward_range": self.reward_range.seen}
            try:
                self.ask("save", {"folder": path, **kept, **place})
            except ControllerError as error:
                if not self._failed:
                    raise
                self._say_once("unsaved", f"GenAC: the critic is not in {path}, for it failed before: {error}")

        on_main(self.accelerator, work)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Before TRL's own files: where its last one is, this one is whole.
        folder = Path(self._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        with whole_or_set_aside(self, folder):
            self.save_critic(folder / CHECKPOINT_FOLDER, optimizer=not self.args.save_only_model)
            super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or critic_option(self.args, "critic") == "group-mean":
            return
        folder = os.path.abspath(os.path.join(checkpoint, CHECKPOINT_FOLDER))
        if not os.path.isdir(folder):
            raise ControllerError(
                f"the checkpoint {checkpoint} has no folder {CHECKPOINT_FOLDER}: it was not written by GenACTrainer with a critic, or was cut off; resume from another one"
            )
        told = on_main(self.accelerator, lambda: self.ask("restore", {"folder": folder})[0])
        self._batches["joint"] = told["iteration"]
        self.reward_range.restore(told["reward_range"])
