"""A host's client knows no trainer, and what is light stays light, in fresh interpreters."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import genac_bridge.host

MODULES = [
    f"genac_bridge.host.{module.name}"
    for module in pkgutil.iter_modules(genac_bridge.host.__path__)
]


def loaded(*modules: str) -> set[str]:
    """Top-level names of what these modules import."""
    script = (
        f"import importlib, json, sys\nfor name in {list(modules)!r}: "
        "importlib.import_module(name)\n"
        + ("print(json.dumps([name for name in sys.modules if '.' not in name]))")
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


def test_no_module_imports_a_trainer() -> None:
    assert {"genac_bridge.host.trainer", "genac_bridge.host.critic_stages"} <= set(MODULES)
    foreign = {"trl", "genac_trl", "accelerate", "transformers"}
    assert loaded(*MODULES) & foreign == set()


@pytest.mark.parametrize("module", ["genac_bridge", "genac_bridge.host.node"])
def test_what_finds_node_needs_the_standard_library_alone(module: str) -> None:
    heavy = {"torch", "transformers", "numpy", "zmq", "msgspec", "tqdm"}
    assert loaded(module) & heavy == set()
