"""What a user can do about errors, in the names of the host's own options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """Parts of sentences that name options. The defaults name those of the controller's config."""

    memory: str = (
        "give it a GPU of its own (`workers: {critic: {devices: ...}}`), fewer tokens "
        "(`critic: {max_new_tokens: ...}`), `critic: {dtype: bfloat16}`, a smaller "
        "`critic: {model: ...}`, or LoRA (`critic: {lora: {rank: 16}}`)"
    )
    """For a critic without memory: what needs less."""
    silence: str = (
        "Teach it first, by stages 1 and 2, name one that was taught in `critic: {model: ...}`, "
        "or let it write more (`critic: {max_new_tokens: ...}`)"
    )
    """For a critic that writes no valid score."""
    token_file: str = "token_file"
    """The option that names the file of the controller's token."""
    config_file: str = "config_file"
    """The option that names the file of the controller's config."""
    group_size: str = "group_size"
    """The option that says how many responses a prompt has."""
    no_controller: str = "no critic was opened, or not the main process"
    """Why a critic may have no controller."""
    continuations: str = (
        ": a host that can (`can_continue`) says so in `open_request(continues=True)`"
    )
    """For a critic that needs an actor which continues responses, where none was offered."""
