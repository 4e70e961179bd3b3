"""Problems and verifiers of the package `reasoning-gym`, for the task of that name.

A problem is known by its generator's name, the parameters and its own seed: it is made again where
it is needed, so that nothing but these travels.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
from typing import Any

#: What a task sets itself, or what has no parameters of plain JSON.
OWN_PARAMETERS = ("seed", "size")
NOT_BY_NAME = {"composite": "name its generators themselves, with weights"}


class Unusable(Exception):
    """An error of the user; its text says what to do."""


def check(generators: list[dict[str, Any]]) -> dict[str, Any]:
    """Makes one problem of each `{name, parameters}`.

    Answers `{"problem": null}`, or one sentence that says what is wrong.
    """
    try:
        for generator in generators:
            _check(generator["name"], generator["parameters"])
    except Unusable as error:
        return {"problem": str(error)}
    return {"problem": None}


def problems(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns `{question, answer}` of each `{name, parameters, seed}`.

    `answer` is null where a problem has no single one.
    """
    entries = [_entry(item) for item in items]
    return [{"question": entry["question"], "answer": _text(entry["answer"])} for entry in entries]


def scores(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns `{score, failure}` of each `{name, parameters, seed, answer}`, by the generator's own
    verifier. One that fails on an answer can't read it: its score is 0, and `failure` says what
    happened.
    """
    return [_score(item) for item in items]


def _score(item: dict[str, Any]) -> dict[str, Any]:
    dataset, entry = _made(
        item["name"], json.dumps(item["parameters"], sort_keys=True), item["seed"]
    )
    try:
        score = dataset.score_answer(item["answer"], entry)
    except Exception as error:
        return {"score": 0.0, "failure": f"{type(error).__name__}: {error}"}
    if isinstance(score, float) and not math.isfinite(score):
        score = str(score)
    return {"score": score, "failure": None}


def _entry(item: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = _made(
        item["name"], json.dumps(item["parameters"], sort_keys=True), item["seed"]
    )[1]
    return entry


@functools.lru_cache(maxsize=8192)
def _made(name: str, parameters: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """Returns the generator and the one problem of this seed."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(name, seed=seed, size=1, **json.loads(parameters))
    return dataset, dataset[0]


def _text(answer: Any) -> str | None:
    return None if answer is None else str(answer)


def _check(name: str, parameters: dict[str, Any]) -> None:
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise Unusable(
            "the task needs the Python package reasoning-gym: pip install 'genac_bridge[gym]'"
        ) from None
    if name in NOT_BY_NAME:
        raise Unusable(f"the generator {name!r} can't be used here: {NOT_BY_NAME[name]}")
    if name not in DATASETS:
        names = sorted(set(DATASETS) - set(NOT_BY_NAME))
        raise Unusable(f"reasoning-gym has no generator {name!r}; {_nearest(name, names)}")
    known = [
        field.name
        for field in dataclasses.fields(DATASETS[name][1])
        if field.name not in OWN_PARAMETERS
    ]
    for parameter in parameters:
        if parameter in OWN_PARAMETERS:
            raise Unusable(
                f"generator {name!r}: the parameter {parameter!r} is set by the run; leave it out"
            )
        if parameter not in known:
            raise Unusable(
                f"generator {name!r} has no parameter {parameter!r}; {_nearest(parameter, known)}"
            )
    try:
        _made(name, json.dumps(parameters, sort_keys=True), 0)
    except Exception as error:
        given = json.dumps(parameters)
        raise Unusable(
            f"generator {name!r} does not work with {given}: {type(error).__name__}: "
            f"{error or 'no reason given'}"
        ) from error


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(known) or 'none'}"
