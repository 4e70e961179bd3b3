"""`train_critic`: stage 1 from a file, from a model behind an API, stage 2 from outcomes; and how
both go on after a break.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from conftest import Make, letters, logged, moved, trace, weights
from genac_trl import ControllerError, GenACTrainer


def test_imitation_lowers_the_loss_of_the_traces(make: Make, traces: str, tmp_path: Path) -> None:
    controller = tmp_path / "controller.yaml"
    controller.write_text(
        "critic_sft: {steps: 30, cooldown: 0, batch: 8, warmup: 0, learning_rate: 0.01, agreement: "
        "1}\n"
    )
    trainer = make(controller_config=str(controller), critic_max_new_tokens=4)
    metrics = trainer.train_critic(traces)
    losses = [entry["critic/loss"] for entry in trainer.state.log_history if "critic/loss" in entry]
    assert len(losses) == 30
    assert losses[-1] < 0.7 * losses[0]
    assert metrics["traces/kept"] == 240


def test_updates_of_the_critic_alone_leave_the_actor(make: Make) -> None:
    trainer = make(critic_max_new_tokens=4)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    metrics = trainer.train_critic(steps=2)
    assert all(before[name].equal(p) for name, p in trainer.model.named_parameters())
    assert math.isfinite(metrics["critic/loss"])
    assert trainer._critic.batches == {"joint": 0, "critic-rl": 2, "evaluation": 0}
    trainer.train()
    assert trainer._critic.batches["joint"] == 2


def test_the_critic_alone_sees_each_prompt_of_an_epoch_once(make: Make, own_critic: str) -> None:
    """However many steps training takes on one generation batch."""
    trainer = make(critic=own_critic, gradient_accumulation_steps=4, num_iterations=2)
    host = trainer._critic.host
    # Twelve prompts, and a generation batch has four: three batches are an epoch.
    epoch = [{row.prompt for row in batch.rows} for batch in islice(host.sample_batches(), 4)]
    assert [len(prompts) for prompts in epoch] == [4, 4, 4, 4]
    assert len(set().union(*epoch[:3])) == 12
    assert epoch[3] == epoch[0]
    later = next(iter(host.sample_batches(skipped=2)))
    assert {row.prompt for row in later.rows} == epoch[2]


def test_the_old_name_of_steps_is_read_with_a_warning(make: Make, own_critic: str) -> None:
    trainer = make(critic=own_critic)
    with pytest.warns(FutureWarning, match="train_critic: `updates` is now `steps`"):
        trainer.train_critic(updates=2)
    assert trainer._critic.batches["critic-rl"] == 2
    assert logged(trainer, "critic/step") == [1, 2]


def test_a_trace_file_that_is_not_there(make: Make) -> None:
    with pytest.raises(
        ValueError, match=r"traces: there is no file '/nowhere.jsonl'; name a JSONL file"
    ):
        make(critic_max_new_tokens=4).train_critic("/nowhere.jsonl")


def test_nothing_to_do_is_said(make: Make, own_critic: str) -> None:
    trainer = make(critic=own_critic)
    with pytest.raises(
        ValueError, match="train_critic has nothing to do: give `traces` for stage 1"
    ):
        trainer.train_critic()
    with pytest.raises(
        ValueError, match=r"traces is 7; it can be the path of a JSONL file, 'oracle'"
    ):
        trainer.train_critic(7)  # type: ignore[arg-type]
    with pytest.raises(
        ControllerError, match='critic "letters" can\'t imitate an oracle: leave stage 1 out'
    ):
        trainer.train_critic("oracle")
    with pytest.raises(ValueError, match="critic='group-mean' has nothing to train"):
        make(critic="group-mean").train_critic(steps=1)


def test_wrong_columns_of_traces_are_told(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text(json.dumps(trace(1, 5) | {"observed_outcome": 1.5, "partial_respons": "It"}))
    with pytest.raises(ControllerError) as caught:
        make(critic_max_new_tokens=4).train_critic(path)
    words = str(caught.value)
    assert "wrong.jsonl, line 1 is no trace:" in words
    assert (
        "observed_outcome: 1.5: the mean reward of the responses that went on from here, mapped to "
        "[0, 1]" in words
    )
    assert 'partial_respons: no such option; did you mean "partial_response"?' in words


class Api:
    """An OpenAI-compatible server that always gives the same judgement, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                api.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                message = {"role": "assistant", "content": "It goes as it should. <score>5</score>"}
                body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
                body |= {
                    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
                }
                told = json.dumps(
                    {"id": "a", "object": "chat.completion", "created": 0, "model": "m", **body}
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.options = {
            "model": "judge",
            "base_url": f"http://127.0.0.1:{self._server.server_port}/v1",
            "api_key_env": None,
            "count": 6,
            "price": {"input": 1, "output": 2},
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    yield server
    server.close()


@pytest.fixture
def brief(tmp_path: Path) -> str:
    """A controller's config: four steps of stage 1."""
    path = tmp_path / "brief.yaml"
    path.write_text(
        "critic_sft: {steps: 4, cooldown: 0, batch: 4, warmup: 0, learning_rate: 0.001, agreement: "
        "1}\n"
        "gates: {explained_variance: false}\n"
    )
    return str(path)


def test_an_oracle_behind_an_api_judges_the_actor_s_responses(
    make: Make, api: Api, brief: str
) -> None:
    seen: list[tuple[str, float]] = []

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
        shares: list[float | None] = list(letters(completions))
        shares[0] = None  # no reward, no question
        seen.extend(
            (text, share)
            for text, share in zip(completions, shares, strict=True)
            if share is not None
        )
        return shares

    trainer = make(
        {"reward_funcs": reward},
        controller_config=brief,
        segmentation={"by": "tokens", "tokens": 4},
    )
    before = weights(trainer)
    metrics = trainer.train_critic({"api": api.options})
    assert moved(trainer, before) == set()
    assert metrics["traces/kept"] == 16
    assert math.isfinite(metrics["critic/loss"])
    # 600 tokens in and 60 out, at 1 and 2 dollars a million.
    assert logged(trainer, "oracle/cost") == [pytest.approx(720e-6)]
    assert len(api.asked) == 6
    folder = Path(trainer.args.output_dir, "genac-oracle")
    gathered = [
        json.loads(line) for line in (folder / "traces.jsonl").read_text("utf-8").splitlines()
    ]
    assert [(one["rationale"], one["score"]) for one in gathered] == [
        ("It goes as it should.", 5)
    ] * 6
    mean = sum(share for _, share in seen[:6]) / 6
    for one, (text, share) in zip(gathered, seen, strict=False):
        assert one["actor"]["success_rate"] == pytest.approx(mean)
        state = one["partial_response"]
        assert text.startswith(state)
        if state != "":
            assert one["observed_outcome"] == pytest.approx(share)
        # What the oracle was asked is the critic's own prompt about that state.
        assert (
            sum(
                f"<partial_response>\n{state}\n</partial_response>"
                in str(asked["messages"][0]["content"])
                for asked in api.asked
            )
            >= 1
        )
    assert any(one["partial_response"] for one in gathered)
    trainer.close()
    # The same script again: the same responses, whose answers are kept.
    make(
        {"reward_funcs": reward},
        controller_config=brief,
        segmentation={"by": "tokens", "tokens": 4},
    ).train_critic({"api": api.options})
    assert len(api.asked) == 6


def test_wrong_options_of_the_oracle_are_told_before_anything_is_sampled(
    make: Make, brief: str
) -> None:
    def reward(**_: Any) -> list[float]:
        raise AssertionError("the actor was asked")

    trainer = make({"reward_funcs": reward}, controller_config=brief)
    with pytest.raises(
        ControllerError, match=r'traces.api.modell: no such option; did you mean "model"'
    ):
        trainer.train_critic({"api": {"modell": "judge"}})
    with pytest.raises(
        ControllerError,
        match=r"traces.api.api_key_env: the environment variable NO_SUCH_KEY is not set",
    ):
        trainer.train_critic({"api": {"model": "judge", "api_key_env": "NO_SUCH_KEY"}})


class Break(Exception):
    pass


class BreakAt(TrainerCallback):
    """Ends the script where the log says so many steps of the critic."""

    def __init__(self, count: int) -> None:
        self.left = count

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        self.left -= "critic/step" in logs
        if self.left == 0:
            raise Break


@pytest.mark.parametrize("steps", [3, 7], ids=["in stage 1", "in stage 2"])
def test_a_broken_off_script_goes_on_as_if_it_never_had_been(
    steps: int, make: Make, scorer: str, brief: str, traces: str, tmp_path: Path
) -> None:
    """Four steps of stage 1, four updates of stage 2, two steps of the actor; checkpoints of the
    critic every second step.
    """

    def build(folder: str, *callbacks: Any) -> GenACTrainer:
        return make(
            {"callbacks": list(callbacks)},
            output_dir=str(tmp_path / folder),
            critic_model=scorer,
            controller_config=brief,
            critic_max_new_tokens=2,
            critic_learning_rate=1e-3,
            segmentation={"by": "tokens", "tokens": 4},
            save_strategy="steps",
            save_steps=2,
        )

    def last_critic(folder: str) -> dict[str, Any]:
        return load_file(
            tmp_path / folder / "checkpoint-2" / "genac" / "critic" / "model.safetensors"
        )

    whole = build("whole")
    whole.train_critic(traces, steps=4)
    assert [path.name for path in (tmp_path / "whole" / "genac-critic").iterdir()] == [
        "critic-rl-000004"
    ]
    whole.train()
    whole.close()
    broken = build("broken", BreakAt(steps))
    with pytest.raises(Break):
        broken.train_critic(traces, steps=4)
    broken.close()
    kept = "critic-sft-000002" if steps == 3 else "critic-rl-000002"
    assert [path.name for path in (tmp_path / "broken" / "genac-critic").iterdir()] == [kept]
    resumed = build("broken")
    resumed.train_critic(traces, steps=4, resume_from_checkpoint=True)
    assert len(logged(resumed, "critic/step")) == 8 - steps + 1
    resumed.train(resume_from_checkpoint=get_last_checkpoint(resumed.args.output_dir))
    for name in ("critic/loss", "reward", "actor/success_rate", "critic/learning_rate"):
        own = logged(resumed, name)
        assert own == logged(whole, name)[-len(own) :], name
    assert moved(resumed, weights(whole)) == set()
    assert all(
        tensor.equal(last_critic("whole")[name]) for name, tensor in last_critic("broken").items()
    )
    # With a checkpoint of the actor's training, that one has the critic.
    assert resumed.train_critic(traces, steps=4, resume_from_checkpoint=True) == {}


class BreakAfterOracle(TrainerCallback):
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if "oracle/cost" in logs:
            raise Break


def test_a_script_broken_off_behind_the_oracle_goes_on_as_if_it_never_had_been(
    make: Make, scorer: str, brief: str, api: Api, tmp_path: Path
) -> None:
    """The traces are there, a checkpoint is not: the actor is sampled again, and nothing is asked
    twice. Rewards leave [0, 1], so their range is learnt.
    """

    def tens(completions: list[Any], **_: Any) -> list[float]:
        return [10 * share for share in letters(completions)]

    def build(folder: str, *callbacks: Any) -> GenACTrainer:
        return make(
            {"callbacks": list(callbacks), "reward_funcs": tens},
            output_dir=str(tmp_path / folder),
            critic_model=scorer,
            controller_config=brief,
            critic_max_new_tokens=2,
            segmentation={"by": "tokens", "tokens": 4},
        )

    def learn(trainer: GenACTrainer) -> None:
        trainer.train_critic({"api": api.options}, steps=2, resume_from_checkpoint=True)

    broken = build("run", BreakAfterOracle())
    with pytest.raises(Break):
        learn(broken)
    broken.close()
    assert (tmp_path / "run" / "genac-oracle" / "traces.jsonl").is_file()
    resumed = build("run")
    learn(resumed)
    assert len(api.asked) == 6
    whole = build("whole")
    learn(whole)
    for name in ("critic/loss", "actor/success_rate", "reward_range/least", "reward"):
        assert logged(resumed, name) == logged(whole, name) != [], name


def test_a_stage_begins_with_a_fresh_optimizer(
    make: Make, scorer: str, brief: str, traces: str, tmp_path: Path
) -> None:
    """Stage 2 after stage 1 is stage 2 of a run that begins with the critic that stage 1 left."""
    options: dict[str, Any] = {
        "critic_max_new_tokens": 2,
        "critic_learning_rate": 1e-3,
        "controller_config": brief,
    }
    both = make(output_dir=str(tmp_path / "both"), critic_model=scorer, **options)
    both.train_critic(traces)
    left = tmp_path / "both" / "genac-critic" / "critic-sft-000004" / "genac"
    alone = make(output_dir=str(tmp_path / "alone"), critic_model=str(left), **options)
    for trainer in (both, alone):
        torch.manual_seed(0)
        trainer.train_critic(steps=1)
        trainer.save_critic(tmp_path / f"{Path(trainer.args.output_dir).name}-critic")
    one, other = (
        load_file(tmp_path / f"{name}-critic" / "critic" / "model.safetensors")
        for name in ("both", "alone")
    )
    assert all(tensor.equal(other[name]) for name, tensor in one.items())
