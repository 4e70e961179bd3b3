"""GenAC's first two stages in a TRL script: the critic learns, the actor stands still."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

from .processes import on_main


def imitate(trainer: Any, traces: str) -> dict[str, float]:
    """Stage 1: the critic imitates an oracle's judgements in a JSONL file. Returns the last metrics."""

    def work() -> dict[str, float]:
        with tqdm(desc="critic imitates", disable=trainer.args.disable_tqdm) as bar:

            def progress(data: dict[str, Any]) -> None:
                step, metrics = data["step"], data["metrics"]
                bar.total = data["steps"]
                bar.set_postfix(loss=f"{metrics['critic/loss']:.3f}", refresh=False)
                bar.update()
                if step % max(1, trainer.args.logging_steps) == 0 or step == data["steps"]:
                    trainer.log({**metrics, "critic/step": float(step)})

            result, _ = trainer.ask("imitate", {"traces": traces}, on_progress=progress)
        return dict(result["metrics"])

    return on_main(trainer.accelerator, work)


def learn_alone(trainer: Any, updates: int) -> dict[str, float]:
    """Stage 2: REINFORCE on the rewards of the actor's responses to the training set. Returns the last metrics."""
    trainer.model.train()
    last: dict[str, float] = {}
    batches = iter(trainer.get_train_dataloader())
    hidden = trainer.args.disable_tqdm or not trainer.accelerator.is_main_process
    for step in tqdm(range(updates), desc="critic learns", disable=hidden):
        batch = next(batches, None)
        if batch is None:
            batches = iter(trainer.get_train_dataloader())
            batch = next(batches)
        trainer._generate_and_score_completions(batch)
        metrics = trainer._metrics["train"]
        last |= {name: own[-1] for name, own in metrics.items() if name.startswith(("critic/", "value/"))}
        trainer.log({"critic/step": float(step + 1)})
    return last | on_main(trainer.accelerator, lambda: dict(trainer.ask("fence", {})[0]["metrics"]))
