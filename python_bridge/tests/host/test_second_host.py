"""A second host is one adapter: a trainer without TRL and without models gets credit through the
protocol.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from genac_bridge.host.advice import Advice
from genac_bridge.host.batch import Batch, Credit, Row
from genac_bridge.host.continuations import Continuations, Wanted
from genac_bridge.host.controller import Controller, ControllerError
from genac_bridge.host.critic_stages import train_critic
from genac_bridge.host.host_critic import HostCritic
from genac_bridge.host.opening import Opening, open_request
from genac_bridge.host.trainer import HostTrainer

T = TypeVar("T")

#: Its value is the share of small letters in the response so far. It learns nothing, and says that
#: it did.
LETTERS = """
import { z } from 'zod';
const share = (text) =>
  text === '' ? 0.5 : [...text].filter((c) => c >= 'a' && c <= 'z').length / [...text].length;
export default {
  name: 'letters',
  needs: 'states',
  learns: true,
  options: z.strictObject({}),
  create: () => ({
    sharesFirstState: true,
    value: async (states) => states.map((s) => ({
      ...{ value: share(s.response), rationale: `read ${s.response.length}` },
      ...{ parsed: 'ok', completions: [] },
    })),
    learn: async (outcomes) => ({ outcomes: outcomes.length }),
  }),
};
"""


class Tiny:
    """A trainer of its own: one process, whose actor writes what it is given, a letter for each
    token.
    """

    rewards_seen: tuple[float, float] | None = None
    processes = 1
    is_main = True
    step = 0
    group_size = 2
    checkpoint_every: int | None = 2
    log_every = 1
    shows_progress = False
    can_continue = False

    def __init__(self, output_dir: Path, batches: list[Batch]) -> None:
        self.output_dir = str(output_dir)
        self.batches = batches
        self.logged: list[dict[str, float]] = []

    def broadcast(self, value: T) -> T:
        return value

    def wait_for_all(self) -> None:
        pass

    def log(self, metrics: dict[str, float], /) -> None:
        self.logged.append(metrics)

    def sample_batches(self, skipped: int = 0) -> Iterator[Batch]:
        return itertools.islice(itertools.cycle(self.batches), skipped, None)

    def log_credit(self, batch: Batch, credit: Credit) -> None:
        self.log(credit.metrics)

    def continue_responses(self, batch: Batch, wanted: Wanted) -> Continuations:
        raise ValueError("it writes whole responses only")

    def save_random_state(self, folder: str) -> None:
        Path(folder, "random.json").write_text("1")

    def load_random_state(self, folder: str) -> None:
        assert Path(folder, "random.json").read_text() == "1"


def row(prompt: str, text: str) -> Row:
    ids = np.array([ord(letter) for letter in text], np.int32)
    ends = np.arange(1, len(text) + 1, dtype=np.int32)
    return Row(prompt, ids, text, ends, mask=None, logprobs=None, finished=True)


BATCH = Batch(
    [
        row("Name it.", "abCD"),
        row("Name it.", "ABcd"),
        row("Say it.", "abcd"),
        row("Say it.", "ABCD"),
    ],
    np.array([1.0, 0.0, 1.0, np.nan]),
    group_size=2,
)


@pytest.fixture
def letters() -> Iterator[str]:
    """Path of the critic; beside the checkout's packages, which it imports."""
    folder = Path(__file__).parents[3] / "node_modules" / ".cache" / "genac-tests"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"second-host-{os.getpid()}.mjs"
    path.write_text(LETTERS)
    yield str(path)
    path.unlink()


Open = Callable[..., HostCritic]


@pytest.fixture
def opened(letters: str, tmp_path: Path) -> Iterator[Open]:
    made: list[HostCritic] = []

    def open_critic(**options: Any) -> HostCritic:
        host: HostTrainer = Tiny(tmp_path / "out", [BATCH])
        critic = HostCritic(host, **options)
        config = {
            "critic": {"use": letters},
            "credit": {"segmentation": {"by": "tokens", "tokens": 2}},
            "gates": {"explained_variance": False},
        }
        actor = {"name": "tiny", "parameters": 1}
        request = open_request(config, logs=tmp_path / "logs", actor=actor, max_new_tokens=4)
        opening = Opening(lambda: Controller(tmp_path / "logs"), request)
        critic.controller, critic.info = opening.finish(lambda: request)
        made.append(critic)
        return critic

    yield open_critic
    for critic in made:
        critic.close()


def test_one_batch_gets_its_advantages(opened: Open) -> None:
    critic = opened(tells_valuations=True)
    assert (critic.info["critic"], critic.info["needs"]) == ("letters", "states")
    assert critic.info["max_new_tokens"] == 4
    credit = critic.assign_credit(BATCH, "joint", None, scale="none")
    # lambda = gamma = 1: the reward, less the value where the segment begins.
    expected = [[0.5, 0.5, 0, 0], [-0.5, -0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0]]
    assert credit.advantages is not None
    np.testing.assert_allclose(credit.advantages, expected)
    assert not credit.is_group_mean
    assert credit.metrics["critic/states"] == 5  # the first state of a group is one
    assert [[one["value"] for one in response["segments"]] for response in credit.valuations] == [
        [0.5, 1.0],
        [0.5, 0.0],
        [0.5, 1.0],
        [],
    ]
    assert [one["reward"] for one in credit.valuations] == [1, 0, 1, None]
    values, words, valid = critic.value(["Name it."], ["abC"])
    np.testing.assert_allclose(values, [2 / 3])
    assert (words, valid) == (["read 3"], [True])


def test_the_critic_learns_alone_and_goes_on_from_its_checkpoint(
    opened: Open, tmp_path: Path
) -> None:
    critic = opened()
    train_critic(critic, None, steps=3, resume=False)
    host: Any = critic.host
    assert [one["critic/step"] for one in host.logged if "critic/step" in one] == [1, 2, 3]
    folder = tmp_path / "out" / "genac-critic" / "critic-rl-000003"
    assert {path.name for path in folder.iterdir()} == {"genac", "random.json"}
    state = (folder / "genac" / "controller.json").read_text()
    assert '"iteration": 3' in state
    critic.close()
    again = opened()
    train_critic(again, None, steps=5, resume=True)
    other: Any = again.host
    assert [one["critic/step"] for one in other.logged if "critic/step" in one] == [4, 5]


def test_a_checkpoint_of_joint_training(opened: Open, tmp_path: Path) -> None:
    critic = opened()
    critic.host.rewards_seen = (-1.0, 2.0)
    critic.assign_credit(BATCH, "joint", None, scale="batch-std")
    critic.save(tmp_path / "kept", optimizer=True)
    critic.close()
    again = opened()
    again.restore(tmp_path / "kept")
    assert again.batches["joint"] == 1
    assert again.host.rewards_seen == (-1.0, 2.0)


def test_failures_are_the_host_s_choice_and_in_its_words(opened: Open, tmp_path: Path) -> None:
    bare = HostCritic(Tiny(tmp_path, []), advice=Advice(no_controller="`critic: null`"))
    with pytest.raises(ControllerError, match="this trainer has no controller: `critic: null`"):
        bare.ask("fence", {})
    kind = opened(on_failure="group-mean")
    kind.close()
    credit = kind.assign_credit(BATCH, "joint", None, scale="none")
    assert (credit.advantages, credit.metrics) == (None, {"critic/failed": 1})
    strict = opened()
    strict.close()
    with pytest.raises(ControllerError, match="the controller is closed"):
        strict.assign_credit(BATCH, "joint", None, scale="none")
