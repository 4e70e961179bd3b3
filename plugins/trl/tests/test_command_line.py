"""`GenACConfig` from a command line and from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trl import TrlParser

from genac_trl import GenACConfig


def parsed(*words: str) -> GenACConfig:
    (config,) = TrlParser(GenACConfig).parse_args_and_config(
        ["--output_dir", "o", "--use_cpu", "true", *words]
    )
    return config


def test_command_line() -> None:
    config = parsed(
        "--critic",
        "./own.mjs",
        "--lam",
        "0.95",
        "--icc",
        "false",
        "--no_critic_update",
        "--loss_type",
        "grpo",
    )
    assert (config.critic, config.lam, config.icc, config.critic_update) == (
        "./own.mjs",
        0.95,
        False,
        False,
    )
    assert config.loss_type == "grpo"
    assert config.gamma is None
    assert parsed("--reward_range", "-1", "2.5").reward_range == [-1, 2.5]


def test_segmentation_on_the_command_line() -> None:
    assert parsed("--segmentation", "sentence").segmentation == {"by": "sentence"}
    tokens = parsed(
        "--segmentation", '{"by": "tokens", "tokens": 64, "max_segments": 16}'
    ).segmentation
    assert tokens == {"by": "tokens", "tokens": 64, "max_segments": 16}


def test_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "critic: group-mean\nsegmentation: {by: tokens, tokens: 8}\nreward_range: [-1, 1]\ngamma: "
        "0.5\nbeta: 0.1\n"
    )
    config = parsed("--config", str(path), "--gamma", "0.75")
    assert config.segmentation == {"by": "tokens", "tokens": 8}
    assert config.reward_range == [-1, 1]
    assert (config.critic, config.gamma, config.beta) == ("group-mean", 0.75, 0.1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, "auto"), ("auto", "auto"), (["auto"], "auto"), ([-1, 2], [-1, 2])],
)
def test_reward_range_as_it_may_be_given(given: Any, expected: Any) -> None:
    assert (
        GenACConfig(output_dir="unused", use_cpu=True, reward_range=given).reward_range == expected
    )


def test_reward_range_on_the_command_line(tmp_path: Path) -> None:
    assert parsed("--reward_range", "auto").reward_range == "auto"
    assert parsed().reward_range == "auto"
    path = tmp_path / "config.yaml"
    path.write_text("reward_range: auto\n")
    assert parsed("--config", str(path)).reward_range == "auto"
