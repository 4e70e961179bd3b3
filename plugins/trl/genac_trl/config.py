"""`GenACConfig`: `GRPOConfig` and the critic's fields."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from trl import GRPOConfig

#: `critic`, where there is none: TRL's own advantages, whose baseline is the group mean. No
#: controller is started.
WITHOUT = "group-mean"
#: Critics without a model: the actor's checkpoint is not prepared for them.
WITHOUT_MODEL = ("monte-carlo",)


class RewardBound(float):
    """An entry of `reward_range`: a number, or the word `auto` in its place (what a command line
    and YAML give).
    """

    def __new__(cls, given: Any) -> Any:
        return given if given == "auto" else float(given)


class _NoGroup(int):
    """1 response to each prompt.

    GRPOConfig refuses less than 2 for its baseline's sake; a critic needs no group.
    """

    def __lt__(self, other: int) -> bool:
        return False


@dataclass
class GenACConfig(GRPOConfig):
    """Configuration of [`GenACTrainer`]: all of [`~trl.GRPOConfig`], and the fields below.

    What is not among them (LoRA of the critic, its optimizer, learning-rate schedules, gates, stage
    1, ...) is in the YAML file that `controller_config` names, as
    `docs/trl.md` shows. A field given here goes before the file; `None` leaves it to the file.
    """

    # What `GRPOConfig` lists are fields that a command line gives as JSON.
    _VALID_DICT_FIELDS: ClassVar = [*GRPOConfig._VALID_DICT_FIELDS, "segmentation"]

    critic: str = field(
        default="generative",
        metadata={
            "help": "What values the states: 'generative' (a language model that reasons in words "
            "and ends with a score 0..10), 'value-head' (PPO: a language model with a linear head "
            "that gives a number), 'monte-carlo' (VinePPO: the mean reward of continuations by "
            "the actor), 'group-mean' (exactly GRPO: TRL's own advantages, no controller is "
            "started), or a path to a critic of your own (a JavaScript or TypeScript file that "
            "begins with './' or '/')."
        },
    )
    critic_model: str | None = field(
        default=None,
        metadata={
            "help": "Model of the critic, if it has one: a run or checkpoint of `genac train`, a "
            "checkpoint of this trainer (its `genac` folder), a folder in Hugging Face format, or "
            "a name on the Hub. None: the actor's own checkpoint."
        },
    )
    critic_trust_code: bool = field(
        default=False,
        metadata={
            "help": "Allows code that the config of another user's run names, if "
            "`critic_model` is such a run: its task, and code in its model's folder."
        },
    )
    critic_device: str | None = field(
        default=None,
        metadata={
            "help": "GPUs that the critic's process sees (its CUDA_VISIBLE_DEVICES), such as '1' "
            "or '0,1'. None: all that this process sees."
        },
    )
    critic_dtype: str | None = field(
        default=None,
        metadata={
            "help": "'auto' (bfloat16 where the device has it natively, else float32), 'float32' "
            "or 'bfloat16'. Default: 'auto'."
        },
    )
    critic_completions_per_state: int | None = field(
        default=None,
        metadata={
            "help": "Completions of the critic for each state, whose scores are averaged. Default: "
            "1."
        },
    )
    critic_max_new_tokens: int | None = field(
        default=None,
        metadata={"help": "Tokens that the critic may write for one state. Default: 1024."},
    )
    critic_temperature: float | None = field(
        default=None, metadata={"help": "Temperature of the critic's completions. Default: 1."}
    )
    critic_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the critic's updates (REINFORCE on 1 - (r - v)^2). Default: "
            "1e-6."
        },
    )
    critic_update: bool = field(
        default=True,
        metadata={
            "help": "Does the critic learn from the rewards while the actor is trained? False: it "
            "stays as it is."
        },
    )
    critic_seed: int | None = field(
        default=None, metadata={"help": "Seed of the critic's draws. None: `seed`."}
    )
    critic_on_failure: str = field(
        default="error",
        metadata={
            "help": "When a batch can't be valued: 'error' ends the step with what the controller "
            "said; 'group-mean' takes GRPO's own advantages for that batch, says so once, counts "
            "it in `critic/failed`, and asks again with the next one."
        },
    )
    icc: bool | None = field(
        default=None,
        metadata={
            "help": "In-Context Conditioning: tell the critic the actor's name, size and recent "
            "success. Default: true."
        },
    )
    actor_name: str | None = field(
        default=None,
        metadata={"help": "What In-Context Conditioning calls the actor. None: the model's name."},
    )
    actor_success_rate: float | None = field(
        default=None,
        metadata={
            "help": "Share of its responses for which the actor is rewarded, before the first "
            "batch, for In-Context Conditioning. None: not known until then."
        },
    )
    segmentation: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Where responses are cut into units of credit: 'sentence', 'line', 'tokens', "
            "'low-probability', or with options "
            '\'{"by": "tokens", "tokens": 64, "max_segments": 16}\'. Default: \'sentence\', or as '
            "the run says that trained the critic."
        },
    )
    gamma: float | None = field(
        default=None,
        metadata={"help": "Discount from one segment to the next, in [0, 1]. Default: 1."},
    )
    lam: float | None = field(
        default=None,
        metadata={
            "help": "Lambda of the generalized advantage estimate over segments, in [0, 1]. "
            "Default: 1."
        },
    )
    num_generations: int | None = field(
        default=8,
        metadata={
            "help": "Responses to each prompt. 1 will do with a critic: its values need no group. "
            "(The gate's and `critic_on_failure`'s group mean do.)"
        },
    )
    reward_range: list[RewardBound] | None = field(
        default=None,
        metadata={
            "help": "Least and largest combined reward (the weighted sum of all reward functions), "
            "mapped to [0, 1] for the critic; a combination outside it is an error. Default: "
            "'auto', which is [0, 1] as long as rewards stay in it, and from then on the range of "
            "all rewards seen so far."
        },
    )
    controller_config: str | None = field(
        default=None,
        metadata={"help": "YAML file of the controller's config, for all that has no field here."},
    )
    controller_endpoint: str | None = field(
        default=None,
        metadata={
            "help": "Where a controller that was started by hand (`genac serve --listen "
            "tcp://127.0.0.1:5555`) listens. None: one is started with the trainer and ends with "
            "it."
        },
    )
    controller_token_file: str | None = field(
        default=None,
        metadata={
            "help": "File with the token that a controller started by hand asks for; it says where "
            "that is. None: what the environment says (GENAC_TOKEN, GENAC_TOKEN_FILE)."
        },
    )
    controller_timeout: float | None = field(
        default=14_400.0,
        metadata={
            "help": "Seconds after which an unanswered request to the controller is an error. "
            "Default: 4 hours. None: never while it is alive."
        },
    )

    def __post_init__(self) -> None:
        alone = self.num_generations == 1 and has_critic(self)
        if alone:
            self.num_generations = _NoGroup(1)
        super().__post_init__()
        if alone:
            self.num_generations = 1
        if self.critic_on_failure not in ("error", WITHOUT):
            raise ValueError(
                f"critic_on_failure is {self.critic_on_failure!r}; it can be 'error' or {WITHOUT!r}"
            )
        self.reward_range = checked_range(self.reward_range)
        if isinstance(self.segmentation, str):
            self.segmentation = {"by": self.segmentation}
        idle = self._without_effect()
        if idle:
            warnings.warn(
                f"critic={WITHOUT!r} is GRPO itself: {', '.join(idle)} has no effect", stacklevel=3
            )

    def _without_effect(self) -> list[str]:
        """Returns the names of the critic's fields that were given where there is no critic: a
        comparison changes one field, and leaves the others.
        """
        if has_critic(self):
            return []
        own = [
            f
            for f in fields(GenACConfig)
            if f.name not in {g.name for g in fields(GRPOConfig)} | {"critic"}
        ]
        return [
            f.name
            for f in own
            if getattr(self, f.name) not in (critic_option(GRPOConfig, f.name), "auto")
        ]


def checked_range(given: Any) -> Any:
    """Returns `"auto"`, or a list of two numbers. Raises `ValueError`."""
    if (
        given is None
        or given == "auto"
        or (isinstance(given, list | tuple) and list(given) == ["auto"])
    ):
        return "auto"
    numbers = isinstance(given, list | tuple) and all(isinstance(n, int | float) for n in given)
    if not numbers or len(given) != 2 or not given[0] < given[1]:
        raise ValueError(
            f"reward_range is {given!r}; it must be 'auto', or two numbers, the least and the "
            "largest reward"
        )
    return [float(n) for n in given]


def has_critic(args: GRPOConfig) -> bool:
    """Returns whether a critic is opened."""
    return bool(critic_option(args, "critic") != WITHOUT)


def critic_option(args: GRPOConfig, name: str) -> Any:
    """Returns a critic's field of any GRPOConfig; a plain one has the defaults."""
    if hasattr(args, name):
        return getattr(args, name)
    own = next(f for f in fields(GenACConfig) if f.name == name)
    return own.default_factory() if callable(own.default_factory) else own.default


def controller_options(
    args: GRPOConfig, critic_model: str | None, critic_loading: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the fields that were given, in the shape of the controller's config.

    `critic_loading`: how the files of the critic's model are read.
    """

    def given(**names: str) -> dict[str, Any]:
        values = {key: critic_option(args, name) for key, name in names.items()}
        return {key: value for key, value in values.items() if value is not None}

    critic: dict[str, Any] = {"use": critic_option(args, "critic"), **(critic_loading or {})}
    if critic_model is not None:
        critic["model"] = critic_model
    # A critic of one's own says which of these it knows.
    critic |= given(
        dtype="critic_dtype",
        completions_per_state="critic_completions_per_state",
        max_new_tokens="critic_max_new_tokens",
        temperature="critic_temperature",
        icc="icc",
    )
    seed = critic_option(args, "critic_seed")
    device = critic_option(args, "critic_device")
    rate = given(learning_rate="critic_learning_rate")
    return {
        "seed": args.seed if seed is None else seed,
        "critic": critic,
        "credit": given(gamma="gamma", segmentation="segmentation") | given(**{"lambda": "lam"}),
        "icc": given(success_rate="actor_success_rate"),
        "joint": rate if critic_option(args, "critic_update") else {"critic": "frozen"},
        "critic_rl": rate,
        **({} if device is None else {"workers": {"critic": {"devices": device}}}),
    }
