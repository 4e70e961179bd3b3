"""GenAC's first two stages in a TRL script: the critic learns, the actor stands still."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

from .critic_checkpoints import CriticCheckpoints, Place
from .oracle import trace_source
from .processes import hidden, on_main
from .responses import batches


def train_critic(trainer: Any, traces: Any, updates: int, resume: bool) -> dict[str, float]:
    """Stage 1 with `traces` (None: without it), stage 2 with `updates` (0: without it). Returns the last metrics."""
    checkpoints = CriticCheckpoints(trainer)
    place = checkpoints.restore() if resume else Place("critic-sft", 0, False)
    last: dict[str, float] = {}
    if traces is not None and place.stage == "critic-sft" and not place.complete:
        last |= imitate(trainer, trace_source(trainer, traces, resume), checkpoints)
    done = place.iteration if place.stage == "critic-rl" else 0
    if done < updates:
        last |= learn_alone(trainer, updates, done, checkpoints)
    return last


def imitate(trainer: Any, traces: str, checkpoints: CriticCheckpoints) -> dict[str, float]:
    """Stage 1: the critic imitates an oracle's judgements. Returns the last metrics."""
    with tqdm(desc="critic imitates", disable=hidden(trainer)) as bar:

        def progress(data: dict[str, Any]) -> None:
            step, metrics = data["step"], data["metrics"]
            bar.total, bar.n = data["steps"], step
            bar.set_postfix(loss=f"{metrics['critic/loss']:.3f}")
            if step % max(1, trainer.args.logging_steps) == 0 or step == data["steps"]:
                trainer.log({**metrics, "critic/step": float(step)})

        def some() -> dict[str, Any]:
            result, _ = trainer.ask("imitate", {"traces": traces, "at_most": checkpoints.every}, on_progress=progress)
            return result

        while True:
            result = on_main(trainer.accelerator, some)
            checkpoints.save(Place("critic-sft", result["step"], result["done"]))
            if result["done"]:
                return dict(result["metrics"])


def learn_alone(trainer: Any, updates: int, done: int, checkpoints: CriticCheckpoints) -> dict[str, float]:
    """Stage 2: REINFORCE on the rewards of the actor's responses to the training set. `done`: updates that are behind it. Returns the last metrics."""
    last: dict[str, float] = {}
    steps = range(done + 1, updates + 1)
    with trainer._critic_alone(updates, done):
        bar = tqdm(steps, "critic learns", updates, initial=done, disable=hidden(trainer))
        for step, batch in zip(bar, batches(trainer, done), strict=False):
            trainer._generate_and_score_completions(batch)
            metrics = trainer._metrics["train"]
            last |= {name: own[-1] for name, own in metrics.items() if name.startswith(("critic/", "value/"))}
            trainer.log({"critic/step": float(step)})
            if step == updates:
                last |= on_main(trainer.accelerator, lambda: dict(trainer.ask("fence", {})[0]["metrics"]))
            if step == updates or (checkpoints.every is not None and step % checkpoints.every == 0):
                checkpoints.save(Place("critic-rl", step, step == updates))
    return last
