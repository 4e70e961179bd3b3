"""GenAC's first two stages with a host: the critic learns, the actor does not."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

from .critic_checkpoints import CriticCheckpoints, Place
from .host_critic import HostCritic, Scale
from .oracle import trace_source
from .processes import hidden, on_main


def train_critic(
    critic: HostCritic, traces: Any, steps: int, resume: bool, scale: Scale = "batch-std"
) -> dict[str, float]:
    """Stage 1 with `traces` (None: without it), stage 2 with `steps` (0: without it).

    `resume`: continues from the last checkpoint in `OUTPUT_DIR/genac-critic`, if there is one.
    `scale`: of the advantages that the host shows of stage 2.
    Returns the last metrics. Raises `ValueError`, `ControllerError`.
    """
    checkpoints = CriticCheckpoints(critic)
    place = checkpoints.restore() if resume else Place("critic-sft", 0, False)
    last: dict[str, float] = {}
    if traces is not None and place.stage == "critic-sft" and not place.complete:
        last |= imitate(critic, trace_source(critic, traces, place.iteration > 0), checkpoints)
    done = place.iteration if place.stage == "critic-rl" else 0
    if done < steps:
        last |= learn_alone(critic, steps, done, checkpoints, scale)
    return last


def imitate(critic: HostCritic, traces: str, checkpoints: CriticCheckpoints) -> dict[str, float]:
    """SFT (stage 1) of the critic on an oracle's traces. Returns the last metrics."""
    host = critic.host
    with tqdm(desc="critic SFT", disable=hidden(host)) as bar:

        def progress(data: dict[str, Any]) -> None:
            step, metrics = data["step"], data["metrics"]
            bar.total, bar.n = data["steps"], step
            bar.set_postfix(loss=f"{metrics['critic/loss']:.3f}")
            if step % max(1, host.log_every) == 0 or step == data["steps"]:
                host.log({**metrics, "critic/step": float(step)})

        def some() -> dict[str, Any]:
            asked = {"traces": traces, "at_most": checkpoints.every}
            result, _ = critic.ask("imitate", asked, on_progress=progress)
            return result

        while True:
            result = on_main(host, some)
            checkpoints.save(Place("critic-sft", result["step"], result["done"]))
            if result["done"]:
                return dict(result["metrics"])


def learn_alone(
    critic: HostCritic, steps: int, done: int, checkpoints: CriticCheckpoints, scale: Scale
) -> dict[str, float]:
    """Stage 2: REINFORCE on the rewards of the actor's responses to the training set.

    `done`: steps done before. Returns the last metrics.
    """
    host = critic.host
    last: dict[str, float] = {}
    critic.batches["critic-rl"] = done
    bar = tqdm(
        range(done + 1, steps + 1), "critic learns", steps, initial=done, disable=hidden(host)
    )
    for step, batch in zip(bar, host.sample_batches(done), strict=False):
        credit = critic.assign_credit(batch, "critic-rl", steps, scale)
        last |= {
            name: own
            for name, own in credit.metrics.items()
            if name.startswith(("actor/", "critic/", "gate/", "value/"))
        }
        host.log_credit(batch, credit)
        host.log({"critic/step": float(step)})
        if step == steps:
            last |= on_main(host, lambda: dict(critic.ask("fence", {})[0]["metrics"]))
        if step == steps or (checkpoints.every is not None and step % checkpoints.every == 0):
            checkpoints.save(Place("critic-rl", step, step == steps))
    return last
