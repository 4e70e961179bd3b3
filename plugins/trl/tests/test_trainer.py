"""The trainer itself: it trains, and its advantages are the controller's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from conftest import Make, first_batch, logged, moved, weights
from genac_trl import ControllerError


def test_trains_with_a_generative_critic(make: Make) -> None:
    trainer = make(critic_max_new_tokens=8)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert any(not torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    # A random model never writes a score: what stands in says so.
    assert logged(trainer, "critic/malformed_states")[0] > 0
    assert logged(trainer, "critic/parse_rate") == [
        0.0
    ]  # of the first update, told with the second batch


def test_logs_what_the_table_of_metrics_has(make: Make) -> None:
    trainer = make(critic_max_new_tokens=8)
    trainer.train()
    table = Path(__file__).parents[3] / "docs" / "metrics.md"
    documented = set(re.findall(r"`([^`]+)`", table.read_text(encoding="utf-8")))
    ours = {
        name
        for entry in trainer.state.log_history
        for name in entry
        if name.startswith(("critic/", "actor/", "gate/", "value/", "reward_range/"))
    }
    assert {"critic/states", "critic/learning_rate", "gate/fallback"} <= ours
    assert ours <= documented


def test_advantages_are_those_of_the_values(make: Make, own_critic: str, no_gate: str) -> None:
    """gamma = lambda = 1: each token's advantage is r - V of its segment, and V is known."""
    trainer = make(
        critic=own_critic,
        controller_config=no_gate,
        segmentation={"by": "tokens", "tokens": 4},
        scale_rewards="none",
        log_completions=True,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    output = trainer._generate_and_score_completions(batch)
    assert output["advantages"].shape == output["completion_ids"].shape
    assert len(trainer.valuations) == 4
    for row, one in enumerate(trainer.valuations):
        at = 0
        for segment in one["segments"]:
            text = one["response"].encode("utf-16-le")[: 2 * segment["from"]].decode("utf-16-le")
            value = 0.5 if text == "" else sum("a" <= c <= "z" for c in text) / len(text)
            assert segment["value"] == pytest.approx(value)
            own = output["advantages"][row, at : at + segment["tokens"]]
            np.testing.assert_allclose(own.numpy(), one["reward"] - value, atol=1e-6)
            at += segment["tokens"]
        assert at == int(output["completion_mask"][row].sum())
        assert output["advantages"][row, at:].eq(0).all()


def test_a_wrong_critic_path_is_told_at_construction(make: Make) -> None:
    with pytest.raises(ControllerError, match="there is no folder /nowhere/critic"):
        make(critic_model="/nowhere/critic")


def test_a_prompt_that_is_longer_than_the_critic_s_context_costs_its_own_credit(
    make: Make, scorer: str
) -> None:
    """It is counted; the other prompts of the batch are valued as ever."""
    short, long = "What comes after 1?", "What comes after this? " * 400
    data = Dataset.from_dict({"prompt": [short, long] * 4})
    options = {
        "critic_max_new_tokens": 8,
        "max_completion_length": 4,
        "per_device_train_batch_size": 8,
    }
    trainer = make({"train_dataset": data}, critic_model=scorer, **options)
    trainer.train()
    assert logged(trainer, "critic/overlong_states") == [1, 1]
    for states, malformed in zip(
        logged(trainer, "critic/states"), logged(trainer, "critic/malformed_states"), strict=True
    ):
        assert 1 <= malformed < states


def test_a_context_without_room_for_the_critic_s_words_is_told_at_construction(make: Make) -> None:
    with pytest.raises(
        ControllerError,
        match=r"no room for a prompt in the critic's context of 4096.*critic_max_new_tokens",
    ):
        make(critic_max_new_tokens=4096)


def test_a_critic_that_writes_no_scores_is_told_once_and_is_not_used(
    make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    """An untrained model: GRPO's own advantages are used, where every value would be the same."""
    trainer = make(critic_max_new_tokens=4, max_steps=3)
    trainer.train()
    assert logged(trainer, "critic/malformed_states") == logged(trainer, "critic/states")
    # One state for each prompt, and a few more at most: then it is left alone for some batches.
    assert logged(trainer, "critic/states_not_asked")[-2:] == logged(trainer, "critic/states")[-2:]
    assert logged(trainer, "gate/fallback") == [1, 1, 1]
    said = capfd.readouterr().out
    assert said.count("GenAC: the critic wrote no valid score for any of") == 1
    assert "Teach it first, by train_critic(...)" in said


def test_one_response_to_each_prompt(make: Make, own_critic: str, no_gate: str) -> None:
    """A critic that values states needs no group."""
    options = {"num_generations": 1, "per_device_train_batch_size": 3, "log_completions": True}
    trainer = make(critic=own_critic, controller_config=no_gate, **options)
    before = weights(trainer)
    trainer.train()
    assert moved(trainer, before)
    assert len({one["prompt"] for one in trainer.valuations}) == 3


def test_where_the_gate_closes_advantages_are_grpo_s_own(make: Make, own_critic: str) -> None:
    """To the last digit, on every token that the actor wrote."""
    options = {
        "critic": own_critic,
        "segmentation": {"by": "tokens", "tokens": 4},
        "log_completions": True,
    }
    closed = 0
    for seed in range(6):
        trainer = make(**options, seed=seed)
        output = first_batch(trainer)
        rewards = torch.tensor([one["reward"] for one in trainer.valuations], dtype=torch.float32)
        if trainer._metrics["train"]["gate/fallback"][-1] != 1:
            continue
        closed += 1
        expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        mask = output["completion_mask"]
        torch.testing.assert_close(output["advantages"], expected.unsqueeze(1) * mask)
        break
    assert closed == 1
