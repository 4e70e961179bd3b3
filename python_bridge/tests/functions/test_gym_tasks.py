"""reasoning-gym: problems from seeds, verifiers, and what is said of a generator that does not
work.
"""

from __future__ import annotations

from typing import Any

import pytest
import reasoning_gym
from reasoning_gym.factory import DATASETS

from genac_bridge.functions import gym_tasks
from genac_bridge.functions.call import plain_json

SMALL = {"name": "chain_sum", "parameters": {"min_terms": 2, "max_terms": 3}}


def item(seed: int, **changes: Any) -> dict[str, Any]:
    return {**SMALL, "seed": seed, **changes}


def test_a_problem_is_that_of_its_seed() -> None:
    expected = reasoning_gym.create_dataset("chain_sum", seed=5, size=1, min_terms=2, max_terms=3)[
        0
    ]
    first = gym_tasks.problems([item(5), item(6)])
    assert first[0] == {"question": expected["question"], "answer": expected["answer"]}
    gym_tasks._made.cache_clear()
    assert gym_tasks.problems([item(6), item(5)]) == first[::-1]


def test_scores_are_the_verifiers() -> None:
    answer = gym_tasks.problems([item(5)])[0]["answer"]
    scores = gym_tasks.scores([item(5, answer=answer), item(5, answer="?")])
    assert scores == [{"score": 1.0, "failure": None}, {"score": 0.0, "failure": None}]


def test_a_verifier_that_fails_gives_0_and_says_why() -> None:
    (score,) = gym_tasks.scores(
        [{"name": "prime_factorization", "parameters": {}, "seed": 0, "answer": "x"}]
    )
    assert score["score"] == 0.0
    assert score["failure"].startswith("ValueError: ")


def test_a_score_that_is_no_number_reaches_the_controller_as_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DATASETS["chain_sum"][0], "score_answer", lambda *_: float("nan"))
    scores = gym_tasks.scores([item(5, answer="1")])
    assert plain_json(scores) == [{"score": "nan", "failure": None}]


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"composite"}))
def test_every_generator_works_at_either_end_of_the_seeds(name: str) -> None:
    assert gym_tasks.check([{"name": name, "parameters": {}}]) == {"problem": None}
    items = [{"name": name, "parameters": {}, "seed": seed} for seed in (2**31 - 1, 2**32 - 1)]
    for problem, given in zip(plain_json(gym_tasks.problems(items)), items, strict=True):
        assert problem["question"].strip()
        (scored,) = plain_json(gym_tasks.scores([{**given, "answer": problem["answer"] or "?"}]))
        assert 0 <= scored["score"] <= 1


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("chain_sun", {}, "reasoning-gym has no generator 'chain_sun'; did you mean 'chain_sum'?"),
        ("zzz", {}, "reasoning-gym has no generator 'zzz'; it has: ab, acre, "),
        ("chain_sum", {"max_term": 2}, "has no parameter 'max_term'; did you mean 'max_terms'?"),
        ("chain_sum", {"size": 2}, "the parameter 'size' is set by the run; leave it out"),
        ("chain_sum", {"min_terms": "x"}, 'does not work with {"min_terms": "x"}: TypeError: '),
        ("composite", {}, "the generator 'composite' can't be used here"),
    ],
)
def test_what_does_not_work_is_one_sentence(
    name: str, parameters: dict[str, Any], words: str
) -> None:
    problem = gym_tasks.check([SMALL, {"name": name, "parameters": parameters}])["problem"]
    assert words in problem
