"""Critics by name, and the actor's own checkpoint for those that need a model and name none."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import genac_trl.trainer
from conftest import Make, logged, moved, weights
from genac_bridge import CriticError, evaluate
from genac_trl.controller import Controller, ControllerError

#: What depends on the clock.
TIMES = ("time", "runtime", "per_second", "seconds")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `open` was asked, of the real controller."""
    asked: list[dict[str, Any]] = []

    class Listening(Controller):
        def ask(self, operation: str, arguments: dict[str, Any], *rest: Any, **named: Any) -> Any:
            if operation == "open":
                asked.append(arguments)
            return super().ask(operation, arguments, *rest, **named)

    monkeypatch.setattr(genac_trl.trainer, "Controller", Listening)
    return asked


def critic_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "genac" / "critic" / "model.safetensors")


def entries(trainer: Any) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in entry.items() if not any(time in name for time in TIMES)}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def test_a_value_head_starts_from_the_actor_s_checkpoint(
    make: Make, tiny: str, opened: list[dict[str, Any]], tmp_path: Path
) -> None:
    """A critic that does not learn keeps the actor's weights."""
    out = tmp_path / "frozen"
    trainer = make(
        critic="value-head",
        critic_update=False,
        max_steps=1,
        save_strategy="steps",
        save_steps=1,
        output_dir=str(out),
    )
    trainer.train()
    trainer.close()
    (request,) = opened
    assert request["options"]["critic"] == {"use": "value-head"}
    assert request["critic_default"] == {"model": tiny}
    assert trainer.critic_info["critic"] == "value-head"
    own = load_file(Path(tiny) / "model.safetensors")
    kept = critic_of(out / "checkpoint-1")
    # The backbone is saved by its own names.
    backbone = {name.removeprefix("model."): own[name] for name in own if "lm_head" not in name}
    assert "layers.0.mlp.up_proj.weight" in backbone
    assert all(torch.equal(kept[name], weight) for name, weight in backbone.items())


def test_a_value_head_learns_and_its_run_is_resumed(
    make: Make, no_gate: str, tmp_path: Path
) -> None:
    def build(folder: str) -> Any:
        return make(
            critic="value-head",
            controller_config=no_gate,
            critic_learning_rate=1e-3,
            segmentation={"by": "tokens", "tokens": 4},
            max_steps=4,
            save_strategy="steps",
            save_steps=2,
            output_dir=str(tmp_path / folder),
        )

    whole = build("whole")
    before = weights(whole)
    whole.train()
    whole.close()
    assert moved(whole, before)
    # What it read to give values, in each of the four batches.
    assert [tokens > 0 for tokens in logged(whole, "critic/value_tokens_read")] == [True] * 4
    assert logged(whole, "gate/fallback") == [0] * 4
    # Learned in the step before, and told with the next one.
    assert len(logged(whole, "critic/loss")) == 3
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    resumed = build("resumed")
    resumed.train(resume_from_checkpoint=True)
    resumed.close()
    assert entries(resumed) == entries(whole)
    assert moved(resumed, weights(whole)) == set()
    evaluated(tmp_path / "whole" / "checkpoint-4", tmp_path)
    begun, ended, again = (
        critic_of(tmp_path / folder)
        for folder in ("whole/checkpoint-2", "whole/checkpoint-4", "resumed/checkpoint-4")
    )
    assert any(not torch.equal(begun[name], ended[name]) for name in begun)
    assert all(torch.equal(again[name], ended[name]) for name in ended)


def test_a_value_head_learns_alone_by_steps(make: Make) -> None:
    trainer = make(critic="value-head")
    before = weights(trainer)
    metrics = trainer.train_critic(steps=2)
    assert moved(trainer, before) == set()
    assert trainer._critic.batches["critic-rl"] == 2
    assert metrics["critic/value_tokens_read"] > 0
    assert metrics["critic/loss"] >= 0


def test_monte_carlo_needs_no_model(
    make: Make, tiny: str, opened: list[dict[str, Any]], tmp_path: Path
) -> None:
    """So nothing is written for it, and nothing refused that a model of its could not have."""
    out = tmp_path / "vine"
    trainer = make(
        {"model": AutoModelForCausalLM.from_pretrained(tiny)},
        critic="monte-carlo",
        max_steps=1,
        max_completion_length=8,
        output_dir=str(out),
    )
    trainer.train()
    trainer.close()
    assert logged(trainer, "critic/continuations")[0] > 0
    assert not (out / "critic-start").exists()
    make(critic="monte-carlo", model_init_kwargs={"dtype": "float16"}, bf16=False)
    for request in opened:
        assert request["options"]["critic"] == {"use": "monte-carlo"}
        assert request["critic_default"] == {}


def test_a_file_of_one_s_own_gets_no_model(
    make: Make, own_critic: str, opened: list[dict[str, Any]]
) -> None:
    make(critic=own_critic)
    (request,) = opened
    assert request["options"]["critic"] == {"use": own_critic}
    assert request["critic_default"] == {}


def test_the_generative_critic_still_gets_it(
    make: Make, tiny: str, opened: list[dict[str, Any]]
) -> None:
    trainer = make(critic="generative", critic_max_new_tokens=2)
    assert trainer.critic_info["critic"] == "generative"
    (request,) = opened
    assert request["options"]["critic"] == {"use": "generative", "max_new_tokens": 2}
    assert request["critic_default"] == {"model": tiny}


class Scores(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible server that always says the same."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "It goes well. <score>8</score>"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        body = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def scores() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scores)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_language_model_ensemble_and_api_give_their_values(
    make: Make, tiny: str, scores: str, tmp_path: Path
) -> None:
    """With options that have no field of their own, from the section `critic` of the file."""
    silent = {"use": "language-model", "model": tiny, "answer": "forced", "read": "expected"}
    options: dict[str, dict[str, Any]] = {
        "language-model": {"answer": "forced", "read": "expected"},
        "ensemble": {"critics": [silent, {"use": "value-head", "model": tiny}]},
        "api": {"base_url": scores, "model": "some", "api_key_env": None},
    }
    for critic, given in options.items():
        file = tmp_path / f"{critic}.yaml"
        file.write_text(json.dumps({"critic": given, "gates": {"explained_variance": False}}))
        trainer = make(
            critic=critic,
            controller_config=str(file),
            max_steps=2,
            max_completion_length=8,
            output_dir=str(tmp_path / critic),
        )
        trainer.train()
        trainer.close()
        assert trainer.critic_info["critic"] == critic
        assert logged(trainer, "gate/fallback") == [0, 0]
        # Forced answers are scores, also of a model that was never taught any.
        assert logged(trainer, "critic/malformed_states") == [0, 0]
        if critic == "api":
            assert logged(trainer, "critic/api_answers")[0] > 0
        else:
            assert any("critic/" in name and "loss" in name for name in all_logged(trainer))


def test_the_oracle_is_refused_in_words(make: Make) -> None:
    with pytest.raises(ControllerError, match="needs a task that knows exact values"):
        make(critic="oracle")


def all_logged(trainer: Any) -> set[str]:
    return {name for entry in trainer.state.log_history for name in entry}


def evaluated(checkpoint: Path, folder: Path) -> None:
    """What the critic of a checkpoint is worth on its actor, by one call."""
    rows = [{"prompt": f"w{n} w{n + 1}"} for n in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "rewards.py").write_text(
        "def even(completions, **_):\n    return [float(len(c) % 2 == 0) for c in completions]\n"
    )
    said: list[str] = []
    result = evaluate(
        {
            "folder": str(folder / "evaluation"),
            "task": {"use": "jsonl", "file": str(folder / "rows.jsonl"), "heldout": {"share": 0.5}},
            "rewards": [{"use": f"{folder / 'rewards.py'}:even"}],
            "actor": {"model": str(checkpoint), "success_rate": 0.5},
            "critics": {"mine": {"from": str(checkpoint / "genac"), "use": "value-head"}},
            "sampling": {"max_new_tokens": 8},
            "segmentation": {"by": "tokens", "tokens": 4},
            "prompts": 2,
            "candidates": 0,
            "continuations": 4,
            "bootstrap": 100,
        },
        log=said.append,
    )
    (distribution,) = result["distributions"].values()
    assert distribution["references"] == "continuations"
    figures = distribution["critics"]["mine"]["figures"]
    assert figures["brier"]["n"] == distribution["states"] > 2
    assert any("mine: states of" in line for line in said)
    with pytest.raises(CriticError, match="critics: none is named"):
        evaluate(
            {"folder": str(folder / "none"), "task": "miniature", "critics": {}, "actor": None}
        )
