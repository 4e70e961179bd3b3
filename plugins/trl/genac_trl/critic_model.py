"""Which model the critic starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .config import critic_option


def early_source(args: Any, model: Any) -> tuple[bool, str | None]:
    """Is it known before TRL has loaded the actor what the critic starts from, and if so what `critic_source` gives?"""
    chosen = critic_option(args, "critic_model")
    if chosen is not None:
        return True, str(chosen)
    if critic_option(args, "critic") != "generative" or (
        critic_option(args, "controller_config") is not None and _names_model(args)
    ):
        return True, None
    return (True, model) if isinstance(model, str) else (False, None)


def critic_source(trainer: Any, model: Any) -> str | None:
    """Folder or Hub name of the critic's model; None: the controller's config names it, or the critic has none.

    Without `critic_model` it is the actor's own checkpoint: the name that the trainer was given, else the model's weights as they are, written to
    `OUTPUT_DIR/critic-start`; for a PEFT adapter its base model.
    """
    known, source = early_source(trainer.args, model)
    if known:
        return source
    plain = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(plain, "peft_config"):
        return str(next(iter(plain.peft_config.values())).base_model_name_or_path)
    folder = Path(trainer.args.output_dir, "critic-start").resolve()
    plain.save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)
    return str(folder)


def _names_model(args: Any) -> bool:
    import yaml

    try:
        config = yaml.safe_load(Path(args.controller_config).expanduser().read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return True  # the controller says what is wrong with it
    critic = config.get("critic") if isinstance(config, dict) else None
    return isinstance(critic, dict) and "model" in critic
