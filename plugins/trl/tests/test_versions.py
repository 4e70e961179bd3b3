"""The lowest version of TRL that is declared: what GRPO's users rely on holds there too.

The newest is the one that all other tests run on. The suites take minutes and fetch a package, so
they run when asked:

    GENAC_TEST_VERSIONS=1 .venv/bin/python -m pytest -q plugins/trl/tests/test_versions.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trl
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from genac_trl.trl_internals import SUPPORTED

HERE = Path(__file__).parent
#: What touches TRL most, in about two minutes; all suites run on the newest.
SUITES = [
    *(
        f"test_{name}.py"
        for name in (
            "callbacks",
            "constructor",
            "continuations",
            "group_mean",
            "losses",
            "options",
            "rewards",
            "tools",
        )
    ),
    "test_resume.py::test_resumed_run_is_the_run",
    "test_resume.py::test_model_card",
]
RANGE = SpecifierSet(SUPPORTED)
LOWEST = next(one.version for one in RANGE if one.operator == ">=")
BEYOND = next(one.version for one in RANGE if one.operator == "<")


def test_package_asks_for_what_the_trainer_supports() -> None:
    wanted = [
        line.strip().strip('",')
        for line in (HERE.parent / "pyproject.toml").read_text("utf-8").splitlines()
    ]
    (own,) = (Requirement(line).specifier for line in wanted if line.startswith("trl>"))
    for version in (LOWEST, "1.14.2", "1.15.0", trl.__version__, "1.9.2", BEYOND):
        assert own.contains(version) == RANGE.contains(version), version


def test_the_newest_is_the_one_at_hand() -> None:
    assert Version(trl.__version__).release[:2] == (
        Version(BEYOND).major,
        Version(BEYOND).minor - 1,
    )


@pytest.fixture(scope="session")
def lowest() -> Path:
    """A folder of the environment with that version, before the one that is installed."""
    folder = Path(sys.prefix) / f"trl-{LOWEST}"
    if not (folder / f"trl-{LOWEST}.dist-info" / "METADATA").is_file():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "--target", str(folder), f"trl=={LOWEST}"], check=True, timeout=300)
    return folder


@pytest.mark.skipif(
    not os.environ.get("GENAC_TEST_VERSIONS"), reason="GENAC_TEST_VERSIONS is not set"
)
def test_suites_pass_on_the_lowest(lowest: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import trl; print(trl.__version__)"],
        env=before(lowest),
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == LOWEST
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", *SUITES],
        cwd=HERE,
        env=before(lowest),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    print(done.stdout[-300:])
    assert done.returncode == 0, done.stdout[-6000:]


def before(folder: Path) -> dict[str, str]:
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
