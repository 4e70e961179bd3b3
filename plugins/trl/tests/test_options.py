"""GRPO's options for batches, prompts, generation, evaluation and logs, with a critic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from datasets import Dataset, IterableDataset
from trl import GRPOConfig

from conftest import Make, first_batch, letter_values, logged, moved, weights
from genac_bridge.host.responses import responses
from genac_trl import GenACConfig, GenACTrainer
from genac_trl.trainer import GenACTrainer as Trainer

TOKENS = {"by": "tokens", "tokens": 4}


@pytest.fixture
def judged(make: Make, own_critic: str, no_gate: str) -> Make:
    """`make` with the critic in JavaScript, which is known to the tests."""

    def build(trainer: dict[str, Any] | None = None, **options: Any) -> GenACTrainer:
        settings = {
            "critic": own_critic,
            "controller_config": no_gate,
            "segmentation": TOKENS,
            "scale_rewards": "none",
        }
        return make(trainer, **{**settings, "log_completions": True, **options})

    return build


class Batches(Trainer):
    """Keeps what the loss is given, and what the critic said of the batch that it is from."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.seen: list[tuple[torch.Tensor, torch.Tensor, list[dict[str, Any]]]] = []
        super().__init__(*args, **keywords)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        self.seen.append(
            (inputs["completion_ids"].clone(), inputs["advantages"].clone(), self.valuations)
        )
        return super()._compute_loss(model, inputs)


@pytest.mark.parametrize(
    ("options", "batches", "size"),
    [
        ({"num_iterations": 2, "max_steps": 4}, 2, 4),
        ({"steps_per_generation": 2, "max_steps": 4}, 2, 8),
        ({"steps_per_generation": 2, "num_iterations": 2, "max_steps": 4}, 1, 8),
        ({"gradient_accumulation_steps": 2}, 2, 8),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 4, "max_steps": 4}, 2, 16),
        ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}, 2, 4),
        (
            {
                "per_device_train_batch_size": 6,
                "num_generations": 3,
                "generation_batch_size": 12,
                "max_steps": 4,
            },
            2,
            12,
        ),
    ],
    ids=lambda value: (
        "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None
    ),
)
def test_every_slice_has_its_own_advantages(
    judged: Make, options: dict[str, Any], batches: int, size: int
) -> None:
    """The critic values a generation batch once.

    TRL shuffles and splits it, and each completion keeps its credit.
    """
    trainer: Any = judged(cls=Batches, **options)
    before = weights(trainer)
    trainer.train()
    assert trainer._critic.batches["joint"] == batches
    assert {len(valuations) for _, _, valuations in trainer.seen} == {size}
    assert len(trainer.seen) == trainer.state.max_steps * options.get(
        "gradient_accumulation_steps", 1
    )
    assert moved(trainer, before)
    found = 0
    for ids, advantages, valuations in trainer.seen:
        known = {}
        for one in valuations:
            values = [value for tokens, value in letter_values(one) for _ in range(tokens)]
            known[one["response"], len(values)] = one["reward"] - np.array(values)
        texts = trainer.processing_class.batch_decode(ids, skip_special_tokens=True)
        for text, row in zip(texts, advantages, strict=True):
            fits = [a for (response, _), a in known.items() if response == text]
            assert any(
                np.allclose(row[: len(a)].numpy(), a, atol=1e-6) and row[len(a) :].eq(0).all()
                for a in fits
            )
            found += 1
    assert found == len(trainer.seen) * trainer.args.per_device_train_batch_size


# Prompts


def test_chats(judged: Make) -> None:
    """Prompts as messages, a system prompt among them; the critic sees role and content."""
    data = Dataset.from_list(
        [
            {
                "prompt": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": f"Name {n}"},
                ]
            }
            for n in range(4)
        ]
    )
    trainer = judged({"train_dataset": data})
    output = first_batch(trainer)
    for row, one in enumerate(trainer.valuations):
        assert [message["role"] for message in one["prompt"]] == ["system", "user"]
        assert one["prompt"][1]["content"].startswith("Name ")
        values = [value for tokens, value in letter_values(one) for _ in range(tokens)]
        got = output["advantages"][row, : len(values)].numpy()
        np.testing.assert_allclose(got, one["reward"] - np.array(values), atol=1e-6)


def test_text_in_parts(judged: Make) -> None:
    content = [{"type": "text", "text": "Name "}, {"type": "text", "text": "one"}]
    trainer = judged(
        {
            "train_dataset": Dataset.from_list(
                [{"prompt": [{"role": "user", "content": content}]}] * 4
            )
        }
    )
    first_batch(trainer)
    assert trainer.valuations[0]["prompt"] == [{"role": "user", "content": "Name one"}]


# Generation


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.5, "top_p": 0.9, "top_k": 20},
        {"min_p": 0.1, "repetition_penalty": 1.2},
        {"generation_kwargs": {"min_new_tokens": 12}},
        {"cache_implementation": "static", "bf16": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_generation_options(judged: Make, options: dict[str, Any]) -> None:
    trainer = judged(max_steps=1, **options)
    for name, value in {**options, **options.get("generation_kwargs", {})}.items():
        if name not in ("generation_kwargs", "bf16"):
            assert getattr(trainer.generation_config, name) == value
    trainer.train()
    assert logged(trainer, "grad_norm")[0] > 0


def test_greedy_generation(judged: Make) -> None:
    """All responses of a group alike: all states and advantages too."""
    trainer = judged(generation_kwargs={"do_sample": False})
    output = first_batch(trainer)
    assert len({one["response"] for one in trainer.valuations}) == 1
    assert torch.equal(output["advantages"], output["advantages"][:1].expand(4, -1))
    assert output["advantages"].abs().sum() > 0


def test_continuous_batching(judged: Make) -> None:
    size = {"num_blocks": 16, "block_size": 32, "max_batch_tokens": 64}
    trainer = judged(
        use_transformers_continuous_batching=True,
        transformers_continuous_batching_config=size,
        max_steps=1,
    )
    trainer.train()
    assert logged(trainer, "grad_norm")[0] > 0
    assert all(one["segments"] for one in trainer.valuations)


# Datasets


def test_streaming(judged: Make) -> None:
    def rows() -> Any:
        for n in range(8):
            yield {"prompt": f"What comes after {n}?", "answer": str(n)}

    stream = IterableDataset.from_generator(rows)
    trainer = judged(
        {"train_dataset": stream, "eval_dataset": stream.take(2)},
        eval_strategy="steps",
        eval_steps=2,
    )
    before = weights(trainer)
    trainer.train()
    assert moved(trainer, before)
    assert trainer._critic.batches == {"joint": 2, "critic-rl": 0, "evaluation": 1}
    assert len(logged(trainer, "eval_critic/states")) == 1


def test_epochs(judged: Make, data: Dataset) -> None:
    """Two epochs of three prompts, a prompt for each step; the end is known when the critic's
    learning rate is asked for.
    """
    trainer = judged({"train_dataset": data.select(range(3))}, max_steps=-1, num_train_epochs=2)
    trainer.train()
    assert trainer.state.global_step == 6
    assert trainer._critic.batches["joint"] == 6
    assert trainer._joint_batches() == 6


# Evaluation


@pytest.mark.parametrize("generations", [None, 1, 2])
def test_evaluation_while_training(judged: Make, data: Dataset, generations: int | None) -> None:
    trainer = judged(
        {"eval_dataset": data.select(range(4))},
        eval_strategy="steps",
        eval_steps=1,
        per_device_eval_batch_size=4,
        **({} if generations is None else {"num_generations_eval": generations}),
    )
    trainer.train()
    per_step = 4 * (generations or 4) // 4
    assert trainer._critic.batches == {"joint": 2, "critic-rl": 0, "evaluation": 2 * per_step}
    # Metrics of the critic, of the rewards, and the loss; the training's are where they were.
    for name in (
        "eval_critic/states",
        "eval_critic/mse_to_outcomes",
        "eval_reward",
        "eval_loss",
        "critic/states",
    ):
        assert len(logged(trainer, name)) == 2, name
    assert len({one["prompt"] for one in trainer.valuations}) == 4 // (generations or 4)
    assert {(one["purpose"], one["step"]) for one in trainer.valuations} == {("evaluation", 2)}


def test_evaluation_counts_groups_of_its_own_size(judged: Make, data: Dataset) -> None:
    """The first state is shared by a group: of two here, though training has four."""
    trainer = judged(
        {"eval_dataset": data.select(range(2))},
        num_generations_eval=2,
        per_device_eval_batch_size=4,
    )
    metrics = trainer.evaluate()
    states = 2 + sum(len(one["segments"]) - 1 for one in trainer.valuations)
    assert metrics["eval_critic/states"] == states
    prompts = [one["prompt"] for one in trainer.valuations]
    assert prompts[0] == prompts[1] != prompts[2] == prompts[3]


def test_several_evaluation_sets(judged: Make, data: Dataset) -> None:
    sets = {"few": data.select(range(1)), "more": data.select(range(3))}
    trainer = judged({"eval_dataset": sets}, per_device_eval_batch_size=4)
    metrics = trainer.evaluate()
    assert {"eval_few_loss", "eval_more_loss"} <= set(metrics)
    assert trainer._critic.batches["evaluation"] == 4


def test_evaluation_teaches_the_critic_nothing(judged: Make, data: Dataset) -> None:
    """Nor does it count as success of the actor, which is not known before training."""
    trainer = judged(
        {
            "eval_dataset": data.select(range(2)),
            "reward_funcs": lambda completions, **_: [1.0] * len(completions),
        }
    )
    measured = trainer.evaluate()
    assert "eval_critic/states" in measured
    assert "eval_actor/success_rate" not in measured
    first_batch(trainer)
    assert trainer._metrics["train"]["actor/success_rate"] == [1]


# Logs


def test_table_of_completions(judged: Make) -> None:
    trainer = judged(max_steps=1, scale_rewards="none")
    trainer.train()
    table = pandas.read_parquet(
        Path(trainer.args.output_dir, "completions", "completions_00001.parquet")
    )
    assert len(table) == 4
    assert {
        "step",
        "prompt",
        "completion",
        "letters",
        "advantage",
        "value_start",
        "value_end",
        "critic",
    } == set(table.columns)
    assert table["value_start"].tolist() == [0.5] * 4
    for end, rationale, one in zip(
        table["value_end"], table["critic"], trainer.valuations, strict=True
    ):
        assert end == pytest.approx(letter_values(one)[-1][1], abs=5e-4)
        assert rationale == f"read {one['segments'][-1]['from']}"
    for advantage, one in zip(table["advantage"], trainer.valuations, strict=True):
        tokens = sum(segment["tokens"] for segment in one["segments"])
        total = sum(segment["tokens"] * segment["advantage"] for segment in one["segments"])
        assert advantage == pytest.approx(total / tokens, abs=1e-6)


def test_table_of_completions_where_some_batches_get_no_credit(judged: Make, data: Any) -> None:
    """As those that an oracle is asked about. A small evaluation comes between."""
    trainer = judged(
        {"eval_dataset": data.select(range(1))},
        max_steps=1,
        per_device_train_batch_size=12,
        per_device_eval_batch_size=4,
        eval_on_start=True,
    )
    assert len(responses(trainer._critic.host, 12).rows) == 12
    logs = trainer._logs
    assert list(logs["extra"]["critic"]) == [None] * 12
    tables = []
    log = trainer.log

    def logging(*given: Any, **more: Any) -> None:
        tables.append((list(logs["completion"]), list(logs["extra"]["critic"])))
        log(*given, **more)

    trainer.log = logging
    trainer.train()
    # Of the evaluation, after it the training's.
    assert [len(completions) for completions, _ in tables[:2]] == [12, 12]
    assert [words is None for words in tables[0][1]] == [True] * 8 + [False] * 4
    assert None not in tables[1][1]
    assert [one["response"] for one in trainer.valuations] == tables[1][0]


def test_nothing_is_told_where_nobody_asks(judged: Make) -> None:
    trainer = judged(log_completions=False)
    first_batch(trainer)
    assert trainer.valuations == []
    assert "critic" not in trainer._logs["extra"]
    trainer.tell_valuations = True
    first_batch(trainer)
    assert len(trainer.valuations) == 4


def test_tensorboard(judged: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trainer = judged(report_to="tensorboard", log_completions=False)
    trainer.train()
    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    board = event.EventAccumulator(str(folder))
    board.Reload()
    scalars = {name: [e.value for e in board.Scalars(name)] for name in board.Tags()["scalars"]}
    for name in ("critic/states", "critic/mse_to_outcomes", "reward"):
        assert scalars[f"train/{name}"] == pytest.approx(logged(trainer, name)), name


def test_metrics_are_of_the_batches_between_two_logs(judged: Make) -> None:
    """`logging_steps=2`: the mean of two batches, as TRL's own metrics are."""
    each = judged(max_steps=2)
    each.train()
    both = judged(max_steps=2, logging_steps=2)
    both.train()
    assert logged(both, "critic/states") == [pytest.approx(np.mean(logged(each, "critic/states")))]
    assert logged(both, "reward") == [pytest.approx(np.mean(logged(each, "reward")))]


def test_plain_config_trains_with_a_critic(
    make: Make, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GRPOConfig is enough: a critic from the actor's checkpoint. (Its answers are kept short
    here by the default alone.)
    """
    written = GenACConfig.__dataclass_fields__["critic_max_new_tokens"]
    monkeypatch.setattr(written, "default", 8)
    trainer = make(config=GRPOConfig, max_steps=1)
    trainer.train()
    assert trainer.critic_info["critic"] == "generative"
    assert logged(trainer, "critic/states")[0] > 0
    assert 0 <= logged(trainer, "critic/mse_to_outcomes")[0] <= 1
