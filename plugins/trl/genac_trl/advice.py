"""What a user can do about errors, in the names of `GenACConfig`."""

from __future__ import annotations

from genac_bridge.host.advice import Advice

from .config import WITHOUT

ADVICE = Advice(
    memory=(
        "give it a GPU of its own (`critic_device`), fewer tokens (`critic_max_new_tokens`), "
        "`critic_dtype='bfloat16'`, a smaller `critic_model`, "
        "or LoRA (`critic: {lora: {rank: 16}}` in `controller_config`)"
    ),
    silence=(
        "Teach it first, by train_critic(...), name one that was taught in `critic_model`, "
        "or let it write more (`critic_max_new_tokens`)"
    ),
    token_file="controller_token_file",
    config_file="controller_config",
    group_size="num_generations",
    no_controller=f"critic={WITHOUT!r}, or not the main process",
    continuations="",  # the trainer says why it can't
)
