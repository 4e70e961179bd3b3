"""Rewards on their way to the critic: several functions, weights, None, the range; and what they
may log.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
import torch
from trl import GRPOConfig

from conftest import Make, first_batch, letter_values, letters, logged, moved, weights
from genac_trl.rewards import RewardRange, combined, to_unit

TOKENS = {"by": "tokens", "tokens": 4}


@pytest.fixture
def credited(make: Make, own_critic: str, no_gate: str) -> Any:
    """A trainer with the reward functions given, and its first batch."""

    def build(*functions: Any, **options: Any) -> Any:
        settings = {
            "critic": own_critic,
            "controller_config": no_gate,
            "segmentation": TOKENS,
            "scale_rewards": "none",
        }
        trainer = make(
            {"reward_funcs": list(functions)}, **{**settings, "log_completions": True, **options}
        )
        return trainer, first_batch(trainer)

    return build


def rewards(trainer: Any) -> list[Any]:
    return [one["reward"] for one in trainer.valuations]


def of(trainer: Any) -> list[float]:
    """What `letters` gives."""
    return letters([one["response"] for one in trainer.valuations])


def quarter(completions: list[Any], **_: Any) -> list[float]:
    return [0.25] * len(completions)


async def later(completions: list[Any], **_: Any) -> list[float]:
    await asyncio.sleep(0.01)
    return [float(i % 2) for i in range(len(completions))]


def test_several_functions_with_weights(credited: Any) -> None:
    trainer, output = credited(letters, quarter, reward_weights=[0.5, 1.0])
    expected = [0.5 * share + 0.25 for share in of(trainer)]
    assert rewards(trainer) == pytest.approx(expected)
    assert trainer._metrics["train"]["reward"] == [pytest.approx(np.mean(expected))]
    assert trainer._metrics["train"]["rewards/quarter/mean"] == [0.25]
    for row, one in enumerate(trainer.valuations):
        values = [value for tokens, value in letter_values(one) for _ in range(tokens)]
        got = output["advantages"][row, : len(values)].numpy()
        np.testing.assert_allclose(got, one["reward"] - np.array(values), atol=1e-6)


def test_async_functions_beside_others(credited: Any) -> None:
    trainer, _ = credited(later, letters, reward_weights=[0.5, 0.5])
    expected = [(i % 2 + share) / 2 for i, share in enumerate(of(trainer))]
    assert rewards(trainer) == pytest.approx(expected)


def test_a_function_that_does_not_apply_is_left_out(credited: Any) -> None:
    def sometimes(completions: list[Any], **_: Any) -> list[float | None]:
        return [None if i == 1 else 0.5 for i in range(len(completions))]

    trainer, _ = credited(sometimes, letters, reward_weights=[1.0, 0.5])
    shares = of(trainer)
    assert rewards(trainer) == pytest.approx(
        [(0 if i == 1 else 0.5) + share / 2 for i, share in enumerate(shares)]
    )
    assert trainer._metrics["train"]["rewards/sometimes/mean"] == [0.5]


def unscored(completions: list[Any], **_: Any) -> list[float | None]:
    """None for the third completion of each four."""
    return [None if i % 4 == 2 else share for i, share in enumerate(letters(completions))]


def test_a_completion_without_a_reward_is_no_one_s_business(credited: Any) -> None:
    """Its advantage is zero, and the critic does not see it; the others' credit is what it is."""
    trainer, output = credited(unscored, per_device_train_batch_size=8)
    assert [reward is None for reward in rewards(trainer)] == [False, False, True, False] * 2
    states = 2  # the first state is the group's
    for row, one in enumerate(trainer.valuations):
        if row % 4 == 2:
            assert one["segments"] == []
            assert output["advantages"][row].eq(0).all()
            continue
        states += len(one["segments"]) - 1
        values = [value for tokens, value in letter_values(one) for _ in range(tokens)]
        got = output["advantages"][row, : len(values)].numpy()
        np.testing.assert_allclose(got, one["reward"] - np.array(values), atol=1e-6)
    assert trainer._metrics["train"]["critic/states"] == [states]


def test_no_rewards_at_all(make: Make, own_critic: str) -> None:
    """Nothing to learn from: the weights stay, and so does the run."""

    def none(completions: list[Any], **_: Any) -> list[None]:
        return [None] * len(completions)

    trainer = make({"reward_funcs": none}, critic=own_critic, beta=0.0)
    before = weights(trainer)
    trainer.train()
    assert trainer.state.global_step == 2
    assert moved(trainer, before) == set()
    assert logged(trainer, "loss") == [0, 0]
    assert not any(
        name.startswith("value/") for entry in trainer.state.log_history for name in entry
    )


def test_first_group_without_a_reward(credited: Any) -> None:
    """The groups that are left keep their own prompts."""

    def second(completions: list[Any], **_: Any) -> list[float | None]:
        return [None if i < 4 else share for i, share in enumerate(letters(completions))]

    trainer, output = credited(second, per_device_train_batch_size=8)
    assert output["advantages"][:4].eq(0).all()
    assert output["advantages"][4:].abs().sum() > 0
    assert (
        len(
            {one["prompt"] for one in trainer.valuations[:4]}
            | {one["prompt"] for one in trainer.valuations[4:]}
        )
        == 2
    )
    assert all(one["segments"] for one in trainer.valuations[4:])


def test_extra_columns_and_ids_come_to_the_functions(credited: Any) -> None:
    seen: dict[str, Any] = {}

    def look(
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[Any],
        answer: list[str],
        **rest: Any,
    ) -> Any:
        seen.update(prompts=prompts, ids=completion_ids, answer=answer, rest=set(rest))
        return [0.5] * len(completions)

    _, output = credited(look)
    asked = int(seen["prompts"][0].removeprefix("What comes after ").rstrip("?"))
    assert seen["answer"] == [str(asked + 1)] * 4
    assert {"trainer_state", "log_extra", "log_metric"} <= seen["rest"]
    for row, ids in enumerate(seen["ids"]):
        assert output["completion_ids"][row, : len(ids)].tolist() == ids


def test_functions_may_log(make: Make, own_critic: str, no_gate: str) -> None:
    def tells(completions: list[Any], log_extra: Any, log_metric: Any, **_: Any) -> list[float]:
        log_extra("shout", [str(text).upper() for text in completions])
        log_metric("longest", max(map(len, completions)))
        return letters(completions)

    options = {"critic": own_critic, "controller_config": no_gate, "log_completions": True}
    trainer = make({"reward_funcs": tells}, **options, max_steps=1)
    trainer.train()
    extra = trainer._logs["extra"]
    assert list(extra["shout"]) == [text.upper() for text in trainer._logs["completion"]]
    assert logged(trainer, "longest") == [max(map(len, trainer._logs["completion"]))]
    assert list(extra["value_start"]) == [0.5] * 4


# reward_range


def signed(completions: list[Any], **_: Any) -> list[float]:
    return [3 * share - 1 for share in letters(completions)]


def test_range_is_mapped_for_the_critic_and_nobody_else(credited: Any) -> None:
    trainer, _ = credited(signed, reward_range=[-1.0, 2.0])
    assert rewards(trainer) == pytest.approx(of(trainer), abs=1e-6)
    assert trainer._metrics["train"]["reward"] == [
        pytest.approx(3 * np.mean(of(trainer)) - 1, abs=1e-6)
    ]


@pytest.mark.parametrize("given", [[0.0, 10.0], "auto"])
def test_advantages_that_nothing_divides_are_in_the_rewards_own_units(
    credited: Any, given: Any
) -> None:
    """As TRL's own are, which train the batches whose gate closes."""

    def tens(completions: list[Any], **_: Any) -> list[float]:
        return [10 * share for share in letters(completions)]

    trainer, output = credited(tens, reward_range=given)
    width = 10 * (max(of(trainer)) - min(of(trainer))) if given == "auto" else 10
    for row, one in enumerate(trainer.valuations):
        values = [value for tokens, value in letter_values(one) for _ in range(tokens)]
        got = output["advantages"][row, : len(values)].numpy()
        np.testing.assert_allclose(got, width * (one["reward"] - np.array(values)), atol=1e-5)
        assert one["segments"][0]["advantage"] == pytest.approx(got[0])
        assert trainer._logs["advantages"][row] == pytest.approx(got.mean(), abs=1e-5)


def test_a_reward_outside_names_function_and_value(credited: Any) -> None:
    def five(completions: list[Any], **_: Any) -> list[float | None]:
        return [None, 5.0, 0.0, 0.0]

    with pytest.raises(ValueError, match="Set `reward_range`") as caught:
        credited(quarter, five, reward_weights=[1.0, 0.5], reward_range=[0.0, 1.0])
    words = str(caught.value)
    assert (
        "the combined reward of completion 1 is 2.75 (quarter 0.25 x 1 + five 5 x 0.5), outside "
        "reward_range [0, 1]" in words
    )


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_rewards_are_outside(value: float) -> None:
    with pytest.raises(ValueError, match="outside reward_range"):
        to_unit(torch.tensor([[value]]), torch.ones(1), ["f"], [0.0, 1.0])


def test_combination_by_hand() -> None:
    nan = math.nan
    per_function = torch.tensor([[1.0, 0.5], [nan, 0.5], [1.0, nan], [nan, nan]])
    total = combined(per_function, torch.tensor([2.0, 4.0]))
    np.testing.assert_array_equal(total.numpy(), np.array([4, 2, 2, nan], np.float32))
    unit = to_unit(per_function, torch.tensor([2.0, 4.0]), ["f", "g"], [-4.0, 4.0])
    np.testing.assert_array_equal(unit, [1, 0.75, 0.75, nan])


@pytest.mark.parametrize("tenth", [324, 1234, 19_999])
def test_a_range_holds_its_own_ends(tenth: int) -> None:
    largest = tenth / 10
    given = RewardRange([-largest, largest], print)
    own = torch.tensor([[largest], [-largest]])
    assert given.to_unit(own, torch.ones(1), ["f"]).tolist() == [1, 0]
    two = torch.full((1, 2), 100.0)
    assert RewardRange([0, 100], print).to_unit(
        two, torch.tensor([0.6, 0.4]), ["f", "g"]
    ).tolist() == [1]


class TestRangeThatIsLearnt:
    """`reward_range="auto"`."""

    @staticmethod
    def make() -> tuple[RewardRange, list[str]]:
        told: list[str] = []
        return RewardRange("auto", told.append), told

    @staticmethod
    def unit(learns: RewardRange, *values: float, learn: bool = True) -> list[float]:
        own: list[float] = learns.to_unit(
            torch.tensor([[v] for v in values]), torch.ones(1), ["f"], learn
        ).tolist()
        return own

    def test_rewards_within_0_and_1_stay_as_they_are(self) -> None:
        learns, told = self.make()
        assert self.unit(learns, 0.25, 0.5) == [0.25, 0.5]
        assert self.unit(learns, 1.0000001, -1e-17) == [1, 0]
        assert (learns.learnt, learns.metrics(), told) == (None, {}, [])

    def test_others_stand_between_the_least_and_the_largest_so_far(self) -> None:
        learns, told = self.make()
        assert self.unit(learns, 0.0, 1.0) == [0, 1]
        assert self.unit(learns, 3.0, -1.0, 1.0) == [1, 0, 0.5]
        assert self.unit(learns, 1.0, 2.0) == [0.5, 0.75]
        assert learns.metrics() == {"reward_range/least": -1, "reward_range/largest": 3}
        assert len(told) == 1
        assert "set `reward_range`" in told[0]

    @pytest.mark.parametrize("value", [0.7, 0.3, 0.1, 2 / 3])
    def test_a_reward_is_the_number_that_the_function_gave(self, value: float) -> None:
        # TRL keeps float32; what that rounds off is not a signal for a critic that knows the value.
        learns, _ = self.make()
        assert self.unit(learns, value)[0] == pytest.approx(
            value, abs=1e-15 if len(str(value)) < 9 else 5e-8
        )

    def test_an_evaluation_is_read_on_the_range_of_training_and_leaves_it(self) -> None:
        learns, _ = self.make()
        assert self.unit(learns, 2.0, 6.0, 4.0, learn=False) == [0, 1, 0.5]  # nothing else is known
        self.unit(learns, 2.0, 4.0)
        assert self.unit(learns, 8.0, 3.0, 0.0, learn=False) == [1, 0.5, 0]
        assert learns.learnt == (2, 4)

    def test_a_checkpoint_holds_it(self) -> None:
        learns, _ = self.make()
        self.unit(learns, 2.0, 4.0)
        other, told = self.make()
        other.restore(learns.seen)
        assert self.unit(other, 3.0) == self.unit(learns, 3.0) == [0.5]
        assert told == []

    def test_so_it_does_before_rewards_leave_0_and_1(self) -> None:
        learns, _ = self.make()
        self.unit(learns, 0.0, 1.0)
        other, _ = self.make()
        other.restore(learns.seen)
        assert (
            self.unit(other, 2.0, 3.0) == self.unit(learns, 2.0, 3.0) == pytest.approx([2 / 3, 1])
        )

    def test_rewards_that_are_all_alike_are_neither_success_nor_failure(self) -> None:
        learns, _ = self.make()
        assert self.unit(learns, 7.0, 7.0) == [0.5, 0.5]

    @pytest.mark.parametrize("value", [math.inf, -math.inf])
    def test_infinite_rewards_are_refused(self, value: float) -> None:
        with pytest.raises(
            ValueError, match=r"the combined reward of completion 1 is -?inf .*finite number"
        ):
            self.unit(self.make()[0], 0.5, value)

    def test_nothing_is_learnt_where_no_function_applied(self) -> None:
        learns, _ = self.make()
        assert math.isnan(self.unit(learns, math.nan)[0])
        assert learns.learnt is None


def test_a_length_reward_trains_with_nothing_but_the_class_changed(
    make: Make, own_critic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def length(completions: list[Any], **_: Any) -> list[float]:
        return [-float(len(text)) for text in completions]

    trainer = make(
        {"reward_funcs": length}, config=GRPOConfig
    )  # a plain one: a critic that can't judge yet
    trainer.train()
    trainer = make({"reward_funcs": length}, critic=own_critic)
    trainer.train()
    seen = -np.array(logged(trainer, "reward_range/least"))
    assert (seen[1:] >= seen[:-1]).all()
    assert capfd.readouterr().out.count("rewards leave [0, 1]") == 2  # each trainer says so once
