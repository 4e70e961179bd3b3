"""The trainer continues responses for the critic: TRL's sampling and rewards, and nothing of the
training is disturbed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import GRPOTrainer

from conftest import Make, letters, logged, moved, weights
from genac_bridge.host.continuations import Continuations, Wanted
from genac_trl import ControllerError
from genac_trl.continuations import why_none
from genac_trl.host import TRLBatch
from genac_trl.trl_internals import stop_tokens

LIMIT = 12


def batch_of(trainer: Any) -> TRLBatch:
    trainer.model.train()
    return trainer._sampled(next(iter(trainer.get_train_dataloader())))


def wanted(prefixes: list[list[int]], rows: list[int], count: int = 3, seed: int = 5) -> Wanted:
    return Wanted(rows, [np.array(prefix, np.int32) for prefix in prefixes], count, seed)


def ids_of(done: Continuations) -> list[list[int]]:
    return [ids.tolist() for ids in done.ids]


@pytest.fixture
def trainer(make: Make, own_critic: str) -> Any:
    return make(critic=own_critic, max_completion_length=LIMIT)


@pytest.fixture
def begun(trainer: Any) -> list[list[int]]:
    """A few tokens, none of which ends a response."""
    words = trainer.processing_class
    return [words("One")["input_ids"][:3], words("2 T")["input_ids"][:3]]


def test_responses_are_continued_and_scored_as_trl_would(
    trainer: Any, begun: list[list[int]]
) -> None:
    batch = batch_of(trainer)
    done = trainer._critic.host.continue_responses(batch, wanted(begun, [2, 0]))
    assert [len(done.texts), len(done.ids), len(done.rewards)] == [6, 6, 6]
    assert len({tuple(ids) for ids in ids_of(done)}) > 2
    stops = stop_tokens(trainer)
    for i, (text, ids) in enumerate(zip(done.texts, ids_of(done), strict=True)):
        whole = begun[i // 3] + ids
        assert 0 < len(ids) <= LIMIT - len(begun[i // 3])
        assert len(whole) == LIMIT or ids[-1] in stops
        assert not stops & set(ids[:-1])
        ((decoded,), _) = trainer._decoded([np.array(whole, np.int32)])
        assert text == decoded
        spoken = trainer.processing_class.decode(whole, skip_special_tokens=True)
        assert done.rewards[i] == pytest.approx(letters([spoken])[0], abs=1e-7)


def test_the_state_s_prompt_is_what_is_continued(trainer: Any, begun: list[list[int]]) -> None:
    batch = batch_of(trainer)
    given: list[list[int]] = []
    generate = trainer._generate_single_turn

    def seen(prompt_ids: Any, *rest: Any) -> Any:
        given.extend(prompt_ids)
        return generate(prompt_ids, *rest)

    trainer._generate_single_turn = seen
    trainer._critic.host.continue_responses(batch, wanted(begun, [2, 0], count=1))
    for ids, row, prefix in zip(given, (2, 0), begun, strict=True):
        (expected,) = trainer._tokenize_prompts([batch.inputs[row]["prompt"]])[0]
        assert ids == expected + prefix
        assert batch.rows[row].prompt_ids is not None
        assert batch.rows[row].prompt_ids.tolist() == expected


def test_no_prompt_is_taken_for_a_repeated_one_before_trl_1_16(
    trainer: Any, begun: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(trainer)
    groups: list[tuple[int, int]] = []
    generate = GRPOTrainer._generate_single_turn

    def before(self: Any, prompt_ids: Any, images: Any, fields: Any) -> Any:
        groups.append((self.num_generations, self.num_generations_eval))
        return generate(self, prompt_ids, images, fields, 1)

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", before)
    usual = (trainer.num_generations, trainer.num_generations_eval)
    trainer._critic.host.continue_responses(batch, wanted(begun, [2, 0], count=1))
    assert groups == [(1, 1)]
    assert (trainer.num_generations, trainer.num_generations_eval) == usual != (1, 1)


def test_equal_seeds_give_equal_completions(trainer: Any, begun: list[list[int]]) -> None:
    batch = batch_of(trainer)
    host = trainer._critic.host
    first = host.continue_responses(batch, wanted(begun, [0, 1]))
    torch.rand(3)
    again = host.continue_responses(batch, wanted(begun, [0, 1]))
    other = host.continue_responses(batch, wanted(begun, [0, 1], seed=6))
    assert ids_of(again) == ids_of(first)
    assert again.texts == first.texts
    np.testing.assert_array_equal(again.rewards, first.rewards)
    assert ids_of(other) != ids_of(first)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_training_changes(
    make: Make, own_critic: str, begun: list[list[int]], training: bool
) -> None:
    def drawing(completions: list[str], log_metric: Any, log_extra: Any, **_: Any) -> list[float]:
        """A reward function that draws, logs, and leaves the range so far."""
        random.random()
        np.random.rand()
        log_metric("mine", 1.0)
        log_extra("mine", [1] * len(completions))
        return [float(5 * len(text)) for text in completions]

    trainer = make(
        {"reward_funcs": lambda completions, **_: [0.5] * len(completions)},
        critic=own_critic,
        max_completion_length=LIMIT,
    )
    batch = batch_of(trainer)
    trainer.reward_funcs = [drawing]
    trainer.model.train(training)
    trainer.model.get_submodule("model.layers.0").eval()
    trainer._log_metric("mine", 3.0)

    def state() -> Any:
        _, keys, position, *_ = np.random.get_state()
        return (
            torch.random.get_rng_state().tolist(),
            random.getstate(),
            (keys.tolist(), position),
            {name: list(values) for name, values in trainer._pending_metrics.items()},
            {name: list(values) for name, values in trainer._pending_extra_logs.items()},
            {name: list(values) for name, values in trainer._metrics["train"].items()},
            {name: len(values) for name, values in trainer._logs.items()},
            [module.training for module in trainer.model.modules()],
            trainer.reward_range.seen,
            trainer.generation_config.max_new_tokens,
            trainer._seen,
        )

    before = state()
    done = trainer._critic.host.continue_responses(batch, wanted(begun, [0, 1]))
    assert len(done.texts) == 6
    assert state() == before


def test_a_failing_reward_function_leaves_all_as_it_was(
    trainer: Any, begun: list[list[int]]
) -> None:
    batch = batch_of(trainer)

    def fail(**_: Any) -> Any:
        raise ZeroDivisionError("on purpose")

    trainer.reward_funcs = [fail]
    before = torch.random.get_rng_state()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        trainer._critic.host.continue_responses(batch, wanted(begun, [0, 1]))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert trainer.generation_config.max_new_tokens == LIMIT


def test_what_has_ended_gets_its_reward_and_no_new_tokens(
    trainer: Any, begun: list[list[int]]
) -> None:
    batch = batch_of(trainer)
    letter = begun[0][1]
    ended = [*begun[0], trainer.processing_class.eos_token_id]
    full = [letter] * LIMIT
    nearly = [letter] * (LIMIT - 1)
    done = trainer._critic.host.continue_responses(
        batch, wanted([ended, full, nearly, []], [0, 1, 2, 3], count=2)
    )
    lengths = [len(ids) for ids in ids_of(done)]
    assert lengths[:6] == [0, 0, 0, 0, 1, 1]
    assert all(1 <= length <= LIMIT for length in lengths[6:])
    spoken = trainer.processing_class.batch_decode([ended, full], skip_special_tokens=True)
    np.testing.assert_allclose(done.rewards[:4], np.repeat(letters(spoken), 2), atol=1e-7)
    alone = trainer._critic.host.continue_responses(batch, wanted([ended, full], [0, 1], count=1))
    assert ids_of(alone) == [[], []]
    np.testing.assert_allclose(alone.rewards, letters(spoken), atol=1e-7)
    nothing = trainer._critic.host.continue_responses(batch, wanted([], []))
    assert (nothing.texts, nothing.ids, nothing.rewards.tolist()) == ([], [], [])


def test_rewards_have_the_row_of_the_data_set_and_the_weights(
    make: Make, own_critic: str, begun: list[list[int]]
) -> None:
    data = Dataset.from_dict(
        {"prompt": [f"What comes after {n}?" for n in range(8)], "level": list(range(8))}
    )
    seen: list[tuple[str, int]] = []

    def by_level(prompts: list[str], level: list[int], **_: Any) -> list[float]:
        seen.extend(zip(prompts, level, strict=True))
        return [one / 10 for one in level]

    def sometimes(level: list[int], **_: Any) -> list[float | None]:
        return [None if one % 2 else 0.5 for one in level]

    trainer = make(
        {"train_dataset": data, "reward_funcs": [by_level, sometimes]},
        critic=own_critic,
        max_completion_length=LIMIT,
        reward_weights=[0.5, 0.4],
        reward_range=[0, 2],
    )
    batch = batch_of(trainer)
    seen.clear()
    done = trainer._critic.host.continue_responses(batch, wanted(begun, [0, 2], count=3))
    levels = [batch.inputs[row]["level"] for row in (0, 2)]
    expected = [(0.5 * one / 10 + (0 if one % 2 else 0.4 * 0.5)) / 2 for one in levels]
    np.testing.assert_allclose(done.rewards, np.repeat(expected, 3), atol=1e-6)
    assert {(prompt, one) for prompt, one in seen} == {
        (f"What comes after {one}?", one) for one in levels
    }


def test_no_reward_function_applies(make: Make, own_critic: str, begun: list[list[int]]) -> None:
    trainer = make(
        {"reward_funcs": lambda completions, **_: [None] * len(completions)},
        critic=own_critic,
        max_completion_length=LIMIT,
    )
    done = trainer._critic.host.continue_responses(batch_of(trainer), wanted(begun, [0, 1]))
    assert np.isnan(done.rewards).all()


def test_chats_are_scored_as_messages(make: Make, own_critic: str) -> None:
    chats = [[{"role": "user", "content": f"What comes after {n}?"}] for n in range(8)]
    seen: list[Any] = []

    def reward(completions: list[Any], **_: Any) -> list[float]:
        seen.append(completions)
        return [0.25] * len(completions)

    trainer = make(
        {"train_dataset": Dataset.from_dict({"prompt": chats}), "reward_funcs": reward},
        critic=own_critic,
        max_completion_length=LIMIT,
    )
    batch = batch_of(trainer)
    seen.clear()
    done = trainer._critic.host.continue_responses(batch, wanted([[]], [1], count=2))
    ((first, second),) = seen
    for (message,), ids in zip((first, second), ids_of(done), strict=True):
        content = trainer.processing_class.decode(ids, skip_special_tokens=True)
        assert message == {"role": "assistant", "content": content}
    assert done.rewards.tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tools": [print]}, "`tools`"),
        ({"rollout_func": print}, "`rollout_func`"),
        ({"environment_factory": dict}, "`environment_factory`"),
    ],
)
def test_what_can_t_be_continued_says_why(given: dict[str, Any], words: str) -> None:
    nothing: dict[str, Any] = {"tools": None, "rollout_func": None, "environment_factory": None}
    said = why_none(**{**nothing, **given})
    assert said is not None
    assert words in said
    assert why_none(**nothing) is None


def test_a_trainer_with_a_rollout_function_refuses(trainer: Any, begun: list[list[int]]) -> None:
    host = trainer._critic.host
    assert host.can_continue
    trainer.no_continuations = why_none(None, print, None)
    assert not host.can_continue
    with pytest.raises(ValueError, match="`rollout_func` writes whole ones only"):
        host.continue_responses(batch_of(trainer), wanted(begun, [0, 1]))


@pytest.fixture
def continuing(monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of a critic in TypeScript, and the checkout's own controller: a compiled one would need
    a newer Node for it.
    """
    monkeypatch.delenv("GENAC_HOME", raising=False)
    return str(Path(__file__).parents[3] / "test" / "host" / "continuing-critic.ts")


def test_a_critic_s_values_are_the_mean_rewards_of_continuations(
    make: Make, no_gate: str, continuing: str
) -> None:
    """End to end, with the real controller: the critic asks while credit is assigned."""
    trainer = make(
        critic=continuing,
        controller_config=no_gate,
        segmentation={"by": "tokens", "tokens": 4},
        max_completion_length=LIMIT,
        max_steps=2,
    )
    trainer.tell_valuations = True
    trainer.train()
    assert len(logged(trainer, "critic/continuation_tokens")) == 2
    checked = 0
    for one in trainer.valuations:
        for segment in one["segments"]:
            texts = segment["rationale"].split("|")
            begun = one["response"][: segment["from"]]
            if len(texts) == 2 and "|" not in begun:
                assert all(text.startswith(begun) for text in texts)
                assert segment["value"] == pytest.approx(np.mean(letters(texts)), abs=1e-6)
                checked += 1
    assert checked > 4


def test_vineppo_by_the_critic_s_name(make: Make, tmp_path: Path) -> None:
    config = tmp_path / "vine.yaml"
    config.write_text("critic: {continuations: 3}\ngates: {explained_variance: false}\n")
    trainer = make(
        critic="monte-carlo",
        controller_config=str(config),
        segmentation={"by": "tokens", "tokens": 4},
        max_completion_length=LIMIT,
        max_steps=2,
    )
    before = weights(trainer)
    trainer.train()
    assert moved(trainer, before)
    states, asked = (logged(trainer, f"critic/{name}") for name in ("states", "continuations"))
    assert len(states) == 2
    assert asked == [3 * number for number in states]


def test_why_responses_can_t_be_continued_is_told_with_the_critic_s_need(
    make: Make, no_gate: str, continuing: str
) -> None:
    with pytest.raises(ControllerError, match=r"continue responses.*`rollout_func` writes whole"):
        make(
            {"rollout_func": lambda prompts, trainer: {}},
            critic=continuing,
            controller_config=no_gate,
        )


def in_two_processes(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    return subprocess.run(
        [sys.executable, *start, str(Path(__file__).with_name(script)), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_two_processes_share_the_work(
    tiny: str, no_gate: str, continuing: str, tmp_path: Path
) -> None:
    given = (str(tmp_path), tiny, continuing, no_gate)
    done = in_two_processes("continuations_script.py", *given)
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    # Five states of rows of both processes, three completions of each: 15 for two processes.
    assert first["continued"] == second["continued"]
    assert len(first["continued"]["texts"]) == 15
    assert first["continued"]["rewards"] == pytest.approx(first["expected"], abs=1e-6)
    assert [first["sampled"], second["sampled"]] == [[4, 4], [4, 4]]
    assert first["credit"] == second["credit"]
    assert first["critic/continuation_tokens"] > 0


def test_a_reward_function_that_fails_in_one_process_ends_the_run(
    tiny: str, tmp_path: Path
) -> None:
    config = tmp_path / "controller.yaml"
    config.write_text("critic: {continuations: 2}\n")
    done = in_two_processes("failing_reward_script.py", str(tmp_path / "out"), tiny, str(config))
    assert done.returncode != 0
    assert "RuntimeError: the sandbox has no answer" in done.stderr
