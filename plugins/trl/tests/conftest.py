"""A small model and data made on the spot: no hub is reached."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Processes that do not choose take one core each: two files run at once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl.chat_template_utils import qwen3_chat_template

from genac_bridge.host.node import find_node
from genac_trl import GenACConfig, GenACTrainer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)

COMPILER = Path(__file__).parents[3] / "src" / "setup" / "wheel" / "compile.mjs"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>{% endfor %}{% if "
    "add_generation_prompt %}<|assistant|>{% endif %}"
)
#: A critic whose value is the share of small letters in the response so far: known to the tests,
#: different in every state, and it learns nothing.
OWN_CRITIC = """
import { z } from 'zod';
const small = (text) => [...text].filter((c) => c >= 'a' && c <= 'z').length;
const share = (text) => (text === '' ? 0.5 : small(text) / [...text].length);
export default {
  name: 'letters',
  needs: 'states',
  options: z.strictObject({}),
  create: () => ({
    sharesFirstState: true,
    value: async (states) =>
      states.map(({ response }) => ({
        ...{ value: share(response), rationale: `read ${response.length}` },
        ...{ parsed: 'ok', completions: [] },
      })),
  }),
};
"""

#: The files that take longest: begun last, one of them would run alone at the end.
LONGEST = ("resume", "lifecycle", "wheel", "critic_stages", "distributed")


def pytest_configure(config: pytest.Config) -> None:
    """Compiles the controller once, as in the wheel: from TypeScript each start of it takes a
    second more, and there are hundreds. `GENAC_HOME` names another one.
    """
    if "GENAC_HOME" in os.environ:  # in a process of pytest-xdist, too
        return
    home = tempfile.mkdtemp(prefix="genac-controller-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    code = (
        f"import {{ compileController }} from {json.dumps(str(COMPILER))};"
        f"await compileController({json.dumps(home)});"
    )
    subprocess.run([find_node(), "--input-type=module", "-e", code], check=True)
    os.environ["GENAC_HOME"] = home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--no-loadscope-reorder`, files are handed out in this order."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, with a few merges and a chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(
        ["the answer is the number that comes next. What comes next?", "one two three"], trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", chat_template=CHAT_TEMPLATE
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Llama of some thousands of parameters, in Hugging Face format."""
    folder = tmp_path_factory.mktemp("tiny")
    words = tokenizer()
    words.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def scorer(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A critic that mostly answers with a score, each a token of its own, and learns: its
    temperature decides which.
    """
    folder = tmp_path_factory.mktemp("scorer")
    words = tokenizer()
    scores = [f"<score>{n}</score>" for n in range(11)]
    words.add_tokens(scores)
    words.save_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(tiny)
    model.resize_token_embeddings(len(words), mean_resizing=False)
    with torch.no_grad():
        # A direction that all hidden states have, and that the scores' tokens answer to.
        model.model.embed_tokens.weight[:, 0] = 1
        model.lm_head.weight[words.convert_tokens_to_ids(scores), 0] = 2
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def own_critic() -> Iterator[str]:
    """Path of a critic in JavaScript; beside the checkout's packages, which it imports."""
    root = Path(__file__).parents[3]
    folder = root / "node_modules" / ".cache" / "genac-tests"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"own-critic-{os.getpid()}.mjs"
    path.write_text(OWN_CRITIC)
    yield str(path)
    path.unlink()


@pytest.fixture(scope="session")
def no_gate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A controller's config without the gate: the critic's values are used however little they
    explain.
    """
    path = tmp_path_factory.mktemp("config") / "controller.yaml"
    path.write_text("gates: {explained_variance: false}\n")
    return str(path)


#: The training set.
COLUMNS = {
    "prompt": [f"What comes after {n}?" for n in range(12)],
    "answer": [str(n + 1) for n in range(12)],
}


@pytest.fixture(scope="session")
def data() -> Dataset:
    return Dataset.from_dict(COLUMNS)


def trace(n: int, score: int) -> dict[str, Any]:
    """An oracle's judgement."""
    return {
        "prompt": f"What comes after {n}?",
        "partial_response": "It is",
        "rationale": "It goes well.",
        "score": score,
        "observed_outcome": score / 10,
    }


@pytest.fixture
def traces(tmp_path: Path) -> str:
    """A JSONL file of forty of them."""
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(trace(n, n % 11)) + "\n" for n in range(40)))
    return str(path)


def letters(completions: list[Any], **_: Any) -> list[float]:
    """Reward: the share of small letters, in [0, 1]."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [sum(c.islower() for c in text) / max(1, len(text)) for text in texts]


def alive(pid: int) -> bool:
    """Is the process there? One that ended and was not waited for is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def logged(trainer: Any, name: str) -> list[float]:
    """Every value of a metric in the trainer's log, in order."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    """A copy of the model's parameters."""
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def moved(trainer: Any, before: dict[str, torch.Tensor]) -> set[str]:
    """Names of the parameters that differ from `before`."""
    return {
        name for name, p in trainer.model.named_parameters() if not torch.equal(before[name], p)
    }


def critic_asked(request: dict[str, Any]) -> dict[str, Any]:
    """What the controller makes of an `open` whose critic needs a model: the host's own checkpoint,
    if the options name none.
    """
    critic: dict[str, Any] = request["options"]["critic"]
    return critic if "model" in critic else {**request["critic_default"], **critic}


def first_batch(trainer: Any) -> dict[str, Any]:
    """The first generation batch, with its credit."""
    trainer.model.train()
    output: dict[str, Any] = trainer._generate_and_score_completions(
        next(iter(trainer.get_train_dataloader()))
    )
    return output


def letter_values(one: dict[str, Any]) -> list[tuple[int, float]]:
    """For each segment of an entry of `valuations`: tokens from its start to the next one's, and
    what `OWN_CRITIC` says of it, computed here again.
    """
    units = one["response"].encode("utf-16-le")
    before = [units[: 2 * segment["from"]].decode("utf-16-le") for segment in one["segments"]]
    shares = [
        0.5 if text == "" else sum("a" <= c <= "z" for c in text) / len(text) for text in before
    ]
    return [
        (segment["tokens"], share) for segment, share in zip(one["segments"], shares, strict=True)
    ]


Make = Callable[..., GenACTrainer]


def settings_in(folder: Path) -> dict[str, Any]:
    """A config for a few steps of a small model, quietly."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 12,
        "max_steps": 2,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
    }


@pytest.fixture
def make(tiny: str, data: Dataset, tmp_path: Path) -> Iterator[Make]:
    """Makes a trainer of the tiny model, and closes it at the end.

    Keywords: the config's, or with `trainer=dict(...)` the trainer's.
    """
    made: list[GenACTrainer] = []

    def build(
        trainer: dict[str, Any] | None = None,
        cls: Any = GenACTrainer,
        config: Any = GenACConfig,
        **options: Any,
    ) -> GenACTrainer:
        args = config(**{**settings_in(tmp_path / "out"), **options})
        given = {"model": tiny, "reward_funcs": letters, "train_dataset": data, **(trainer or {})}
        one = cls(args=args, **given)
        made.append(one)
        return one

    yield build
    for one in made:
        if isinstance(one, GenACTrainer):
            one.close()


@pytest.fixture(scope="session")
def caller(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model whose chat template knows tools."""
    folder = tmp_path_factory.mktemp("caller")
    words = tokenizer()
    words.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>"], "eos_token": "<|im_end|>"}
    )
    words.chat_template = qwen3_chat_template
    words.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def check_credit(trainer: Any, output: dict[str, Any]) -> None:
    """gamma = lambda = 1: r - V of its segment for each token of the actor; 0 for all others,
    whatever stands in between.
    """
    for row, one in enumerate(trainer.valuations):
        values = np.array([value for tokens, value in letter_values(one) for _ in range(tokens)])
        mask = output["tool_mask"][row, : len(values)].numpy()
        got = output["advantages"][row].numpy()
        np.testing.assert_allclose(got[: len(values)], (one["reward"] - values) * mask, atol=1e-6)
        assert not got[len(values) :].any()
