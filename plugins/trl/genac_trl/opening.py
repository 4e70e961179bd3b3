"""Opens the critic that a `GenACConfig` describes, where that can be while TRL loads the actor."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from genac_bridge.host import opening
from genac_bridge.host.opening import Opening

from .config import controller_options, critic_option, has_critic
from .controller import Controller
from .critic_model import CriticStart


def begin(
    args: Any, start: CriticStart | None, controller: type[Controller], continues: bool
) -> AbstractContextManager[Opening | None]:
    """In the main process, where there is a critic: starts all that can start before TRL has loaded
    the actor.

    `start`: what the critic starts from; None: that is not known yet.
    `continues`: can the trainer continue responses?

    What was started ends where the block, in which TRL makes its trainer, raises.
    """
    if not has_critic(args) or args.process_index != 0:
        return nullcontext()
    endpoint, timeout = (
        critic_option(args, f"controller_{name}") for name in ("endpoint", "timeout")
    )
    logs = Path(args.output_dir, "genac-logs")
    request = None if start is None else open_request(args, start, continues)
    token_file = critic_option(args, "controller_token_file")
    shown = {} if token_file is None else {"token_file": token_file}
    return Opening(lambda: controller(logs, endpoint, timeout, **shown), request)


def open_request(args: Any, start: CriticStart, continues: bool) -> dict[str, Any]:
    """Returns the arguments of `open`; who the actor is, `set_actor` says once it is loaded."""
    default = start.is_default and start.model is not None
    named = (None, {}) if default else (start.model, start.options)
    return opening.open_request(
        controller_options(args, *named),
        logs=Path(args.output_dir, "genac-logs"),
        config_file=critic_option(args, "controller_config"),
        max_new_tokens=args.max_completion_length,
        trust_code=critic_option(args, "critic_trust_code"),
        continues=continues,
        critic_default={"model": start.model, **start.options} if default else None,
    )
