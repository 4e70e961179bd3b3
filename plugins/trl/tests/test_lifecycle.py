"""The controller and the critic's worker end with the trainer, however it ends; and the trainer is
told when they end.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import TrainerCallback

from conftest import OWN_CRITIC, Make, alive
from genac_bridge.host.node import controller_command
from genac_trl import ControllerError


def wait_until_gone(pids: list[int], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.1)


def started(trainer: Any) -> list[int]:
    return [trainer._critic.controller.pid, *trainer.critic_info["pids"]]


@pytest.mark.parametrize(
    ("way", "code"),
    [("normal", 0), ("exception", 1), ("interrupt", 130), ("kill", -signal.SIGKILL)],
)
def test_no_process_is_left(way: str, code: int, tiny: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("lifecycle_script.py")
    process = subprocess.Popen(
        [sys.executable, str(script), way, tiny, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    pids: dict[str, Any] = next(
        json.loads(line) for line in process.stdout if line.startswith('{"controller"')
    )
    everyone = [pids["controller"], *pids["workers"]]
    assert len(everyone) == 2
    assert all(alive(pid) for pid in everyone) or way == "kill"
    if way == "interrupt":
        time.sleep(3)  # into the reward function
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=90)
    if way == "interrupt":
        assert process.returncode != 0
        assert "KeyboardInterrupt" in said
    else:
        assert process.returncode == code
    wait_until_gone(everyone)


def test_close_ends_them_and_may_be_called_twice(make: Make) -> None:
    trainer = make(critic_max_new_tokens=4)
    pids = started(trainer)
    trainer.close()
    assert not any(alive(pid) for pid in pids)
    trainer.close()
    with pytest.raises(ControllerError, match="the controller is closed"):
        trainer.ask("fence", {})


class KillAt:
    """A reward function that kills a process at its second call."""

    __name__ = "kill_at"

    def __init__(self) -> None:
        self.calls = 0
        self.pid = 0

    def __call__(self, completions: list[Any], **_: Any) -> list[float]:
        self.calls += 1
        if self.calls == 2:
            os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.5)
        return [0.1 * i for i in range(len(completions))]


@pytest.mark.parametrize("who", [0, 1], ids=["controller", "worker"])
def test_a_death_ends_the_step_in_one_clear_error(who: int, make: Make) -> None:
    reward = KillAt()
    trainer = make({"reward_funcs": reward}, critic_max_new_tokens=4)
    reward.pid = started(trainer)[who]
    expected = (
        "the controller ended .signal 9.; the end of .*controller.log"
        if who == 0
        else "worker critic was killed by SIGKILL"
    )
    with pytest.raises(ControllerError, match=expected):
        trainer.train()
    wait_until_gone(started(trainer)[1:])


@pytest.mark.parametrize("who", [0, 1], ids=["controller", "worker"])
def test_training_may_go_on_with_the_group_mean(
    who: int, make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    reward = KillAt()
    saving = {"save_strategy": "steps", "save_steps": 4}
    how = {"critic_max_new_tokens": 4, "critic_on_failure": "group-mean", "max_steps": 4, **saving}
    trainer = make({"reward_funcs": reward}, **how)
    reward.pid = started(trainer)[who]
    trainer.train()
    # TRL's part of the checkpoint is there, and it is said that the critic's is not.
    checkpoint = Path(trainer.args.output_dir, "checkpoint-4")
    assert (checkpoint / "trainer_state.json").is_file()
    assert not (checkpoint / "genac").exists()
    failed = [
        entry["critic/failed"] for entry in trainer.state.log_history if "critic/failed" in entry
    ]
    assert failed == [0, 1, 1, 1]
    said = capfd.readouterr().out
    assert said.count("training goes on with GRPO's own advantages") == 1
    assert said.count(f"the critic is not in {checkpoint / 'genac'}") == 1


@pytest.fixture
def failing_learner() -> Iterator[str]:
    """Path of a critic whose every update fails."""
    source = OWN_CRITIC.replace("needs: 'states',", "needs: 'states', learns: true,").replace(
        "create: () => ({",
        "create: () => ({ learn: async () => { throw new Error('no memory for this'); },",
    )
    folder = Path(__file__).parents[3] / "node_modules" / ".cache" / "genac-tests"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"failing-learner-{os.getpid()}.mjs"
    path.write_text(source)
    yield str(path)
    path.unlink()


SAVED_EACH_STEP = {"save_strategy": "steps", "save_steps": 1}


def test_an_update_that_failed_costs_no_checkpoint(
    make: Make, failing_learner: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The save after it is the first to hear of it."""
    how = {"critic": failing_learner, "critic_on_failure": "group-mean", "max_steps": 2}
    trainer = make(**how, **SAVED_EACH_STEP)
    trainer.train()
    assert trainer.state.global_step == 2
    for step in (1, 2):
        checkpoint = Path(trainer.args.output_dir, f"checkpoint-{step}")
        assert (checkpoint / "trainer_state.json").is_file()
        assert (checkpoint / "genac" / "controller.json").is_file()
    said = capfd.readouterr().out
    assert said.count("GenAC: the critic failed, and was saved:") == 1
    assert "no memory for this" in said


def test_an_update_that_failed_ends_the_run_by_default(make: Make, failing_learner: str) -> None:
    with pytest.raises(ControllerError, match="no memory for this"):
        make(critic=failing_learner, **SAVED_EACH_STEP).train()


def test_the_controller_s_death_before_a_save_costs_the_critic_s_part_alone(
    make: Make, own_critic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    class Kill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                os.kill(started(trainer)[0], signal.SIGKILL)

    how = {"critic": own_critic, "critic_on_failure": "group-mean", "max_steps": 2}
    trainer = make({"callbacks": [Kill()]}, **how, **SAVED_EACH_STEP)
    trainer.train()
    assert trainer.state.global_step == 2
    checkpoint = Path(trainer.args.output_dir, "checkpoint-1")
    assert (checkpoint / "trainer_state.json").is_file()
    assert not (checkpoint / "genac").exists()
    assert f"the critic is not in {checkpoint / 'genac'}" in capfd.readouterr().out


def fail_second_batch(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = trainer._critic.ask

    def failing(operation: str, *rest: Any, **more: Any) -> Any:
        if operation == "assign_credit" and trainer.state.global_step == 1:
            raise ControllerError("this batch")
        return ask(operation, *rest, **more)

    monkeypatch.setattr(trainer._critic, "ask", failing)


def test_a_batch_that_could_not_be_valued_costs_no_checkpoint(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2}
    trainer = make(critic_max_new_tokens=4, critic_on_failure="group-mean", max_steps=2, **saving)
    fail_second_batch(trainer, monkeypatch)
    trainer.train()
    failed = [
        entry["critic/failed"] for entry in trainer.state.log_history if "critic/failed" in entry
    ]
    assert failed == [0, 1]
    assert Path(trainer.args.output_dir, "checkpoint-2", "genac", "controller.json").is_file()


def test_the_table_of_completions_has_empty_cells_where_the_critic_failed(
    make: Make, own_critic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(critic=own_critic, critic_on_failure="group-mean", log_completions=True)
    fail_second_batch(trainer, monkeypatch)
    trainer.train()
    for name in ("value_start", "value_end", "critic"):
        assert list(trainer._logs["extra"][name]) == [None] * 4, name


def test_a_config_that_is_wrong_is_told_at_construction(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text("credit: {lamda: 0.9}\n")
    with pytest.raises(
        ControllerError, match=r'credit.lamda: no such option; did you mean "lambda"\?'
    ):
        make(controller_config=str(path))


def test_node_that_is_missing_or_too_old(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.20.0\n")
    old.chmod(0o755)
    monkeypatch.setenv("GENAC_NODE", str(old))
    with pytest.raises(ControllerError, match=r"Node 20.19 or newer .*18.20.0"):
        make()
    monkeypatch.setenv("GENAC_NODE", "/nowhere/node")
    with pytest.raises(ControllerError, match="there is no such program"):
        make()


def test_a_controller_that_was_started_by_hand(
    make: Make, own_critic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends when the trainer says goodbye."""
    served = subprocess.Popen(
        [*controller_command(), "serve", "--listen", "tcp://127.0.0.1:*"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert served.stdout is not None
    assert served.stderr is not None
    endpoint = served.stdout.readline().split(" or ")[-1].strip()
    assert endpoint.startswith("tcp://127.0.0.1:")
    lines = [served.stderr.readline() for _ in range(2)]
    (token_file,) = re.findall(r"the token in (\S+) ", "".join(lines))
    assert os.stat(token_file).st_mode & 0o077 == 0
    # Whoever is on this machine can connect, and without the token is not heard.
    monkeypatch.setattr("genac_bridge.host.controller.GREETING", 2.0)
    with pytest.raises(ControllerError, match="or it knows another token"):
        make(critic=own_critic, controller_endpoint=endpoint)
    monkeypatch.undo()
    token = {"controller_endpoint": endpoint, "controller_token_file": token_file}
    trainer = make(critic=own_critic, **token)
    assert trainer._critic.controller is not None
    assert trainer._critic.controller.pid is None
    trainer.train()
    assert [
        entry["critic/states"] for entry in trainer.state.log_history if "critic/states" in entry
    ] != []
    with pytest.raises(ControllerError, match="this controller serves another host already"):
        make(critic=own_critic, **token)
    trainer.close()
    assert served.wait(timeout=30) == 0


def test_an_endpoint_where_nobody_listens(
    make: Make, own_critic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genac_bridge.host.controller.GREETING", 1.0)
    with pytest.raises(ControllerError, match=r"nobody answered at tcp://127\.0\.0\.1:9"):
        make(critic=own_critic, controller_endpoint="tcp://127.0.0.1:9")


def test_a_critic_without_memory_is_told_in_the_user_s_terms(make: Make, scorer: str) -> None:
    """The limit is the operating system's, set on the running worker before a batch of long
    prompts.
    """
    data = Dataset.from_dict({"prompt": ["short", *["0123456789" * 300] * 3]})

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        if prompts[0] != "short":
            (worker,) = trainer.critic_info["pids"]
            pages = int(Path(f"/proc/{worker}/statm").read_text().split()[0])
            # Room for messages, none for the attention over these prompts.
            resource.prlimit(
                worker, resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**24,) * 2
            )
        return [0.1 * i for i in range(len(completions))]

    trainer = make(
        {"train_dataset": data, "reward_funcs": reward},
        shuffle_dataset=False,
        segmentation={"by": "tokens", "tokens": 1, "max_segments": 12},
        critic_model=scorer,
        critic_max_new_tokens=4,
        critic_update=False,
    )
    with pytest.raises(ControllerError) as caught:
        trainer.train()
    words = str(caught.value)
    assert "sample: no memory left on the device" in words
    assert (
        "give it a GPU of its own (`critic_device`), fewer tokens (`critic_max_new_tokens`)"
        in words
    )
