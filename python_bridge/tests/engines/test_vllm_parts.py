"""Parts of the engine `vllm` that need no vLLM: what is sent, how, and what is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from vllm_models import train

from conftest import LOADING, Client, llama, word_tokenizer
from genac_bridge.engines.engine import Completion, GenerationRequest
from genac_bridge.engines.vllm import sending, settings
from genac_bridge.engines.vllm.probe import NEW_TOKENS, SEQUENCES, Probe
from genac_bridge.engines.vllm.settings import import_vllm, refuse_unknown, settings_of
from genac_bridge.engines.vllm.weights import BaseWeights
from genac_bridge.models.model import LoadedModel
from genac_bridge.wire.context import BadArguments, OperationError

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear"}


def loaded(client: Client, folder: str, **changes: Any) -> LoadedModel:
    client.load(folder, **changes)
    return client.operations.models["m"]


def sent(model: LoadedModel) -> dict[str, Tensor]:
    return dict(BaseWeights(model).of(model.named_parameters()))


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_sent_as_a_checkpoint_has_them(
    client: Client, tmp_path: Path, tied: bool
) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    llama(47, tie_word_embeddings=tied).save_pretrained(tmp_path)
    model = loaded(client, str(tmp_path))
    client.run("save_model", model="m", path=str(tmp_path / "saved"), optimizer=False)
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert ("lm_head.weight" in saved) is not tied
    found = sent(model)
    assert found.keys() == saved.keys()
    for name, weight in saved.items():
        assert torch.equal(found[name], weight), name


def test_adapters_are_added_to_their_matrices(client: Client, folder: str) -> None:
    model = loaded(client, folder, lora=LORA)
    train(client)
    trained = client.weights()
    found = sent(model)
    plain = {name for name, _ in loaded(Client(), folder).named_parameters()}
    assert found.keys() == plain
    name = "model.layers.1.mlp.down_proj"
    base = trained[f"base_model.model.{name}.base_layer.weight"]
    first = trained[f"base_model.model.{name}.lora_A.default.weight"]
    second = trained[f"base_model.model.{name}.lora_B.default.weight"]
    assert bool(second.any())
    # alpha / rank = 2
    torch.testing.assert_close(found[f"{name}.weight"], base + 2 * second @ first)


def test_bfloat16_is_sent_where_it_is_computed_with(client: Client, folder: str) -> None:
    model = loaded(client, folder, dtype="bfloat16")
    assert {weight.dtype for weight in sent(model).values()} == {torch.bfloat16}
    assert {p.dtype for _, p in model.named_parameters()} == {torch.float32}


def test_joined_weights_are_sent_apart_as_checkpoints_have_them(
    client: Client, tmp_path: Path
) -> None:
    from transformers import MixtralConfig

    word_tokenizer().save_pretrained(tmp_path)
    MixtralConfig(
        **{"vocab_size": 47, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
        **{"num_attention_heads": 4, "num_key_value_heads": 1, "num_local_experts": 3},
        **{"max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": 1},
        architectures=["MixtralForCausalLM"],
    ).save_pretrained(tmp_path)
    model = loaded(client, str(tmp_path))
    client.run("save_model", model="m", path=str(tmp_path / "saved"), optimizer=False)
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    found = sent(model)
    assert sum("experts.2.w1" in name for name in saved) == 1
    assert found.keys() == saved.keys()
    for name, weight in saved.items():
        assert torch.equal(found[name], weight), name


def test_parts_hold_so_many_bytes() -> None:
    sizes = [10, 20, 30, 200, 5, 5]
    weights = [(str(n), torch.zeros(size, dtype=torch.uint8)) for n, size in enumerate(sizes)]
    cut = [[name for name, _ in part] for part in sending.parts(weights, 60)]
    assert cut == [["0", "1", "2"], ["3"], ["4", "5"]]
    assert list(sending.parts([], 60)) == []


class Recorder:
    """A client that reads what it is told of, as vLLM does."""

    def __init__(self, fails: bool = False) -> None:
        self.calls: list[str] = []
        self.read: dict[str, Tensor] = {}
        self.folders: set[str] = set()
        self.fails = fails

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        raise AssertionError("there is nothing to agree on")

    def start_weight_update(self) -> None:
        self.calls.append("start")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        (self.folders.add(update_info["path"]), self.calls.append("update"))
        if self.fails:
            raise RuntimeError("no room")
        for name in os.listdir(update_info["path"]):
            self.read |= load_file(os.path.join(update_info["path"], name))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.calls.append("finish")


def test_files_are_read_part_by_part_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FILE_BYTES", 100)
    weights = {"a": torch.arange(20.0), "b": torch.arange(6.0).view(2, 3).t(), "c": torch.ones(1)}
    client = Recorder()
    sending.Files(str(tmp_path)).send(client, lambda: weights.items())
    assert client.calls == ["start", "update", "update", "finish"]
    assert client.read.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.equal(client.read[name], weight)
    (folder,) = client.folders
    assert not os.path.exists(folder)
    failing = Recorder(fails=True)
    with pytest.raises(RuntimeError, match="no room"):
        sending.Files(str(tmp_path)).send(failing, lambda: weights.items())
    assert os.listdir(tmp_path) == []


def test_what_a_killed_sender_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SHARED", str(tmp_path))
    names = ["genac-weights-killed", "genac-weights-sending", "genac-weights-young", "mine"]
    folders = {name.removeprefix("genac-weights-"): tmp_path / name for name in names}
    for folder in folders.values():
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"0")
    (tmp_path / "genac-weights-link").symlink_to(folders["mine"])
    for name in ("killed", "sending", "mine"):
        os.utime(folders[name], (0, 0))
    # In another process, as it would be.
    sender = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX);"
            " print('held', flush=True); sys.stdin.read()",
            str(folders["sending"]),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with sender:
        assert sender.stdout is not None
        sender.stdout.readline()
        # A folder that is named may be another machine's: nothing of it is touched.
        sending.Files(str(tmp_path)).send(Recorder(), lambda: {"a": torch.ones(1)}.items())
        assert folders["killed"].exists()
        sending.Files().send(Recorder(), lambda: {"a": torch.ones(1)}.items())
        left = ["genac-weights-link", "genac-weights-sending", "genac-weights-young", "mine"]
        assert sorted(os.listdir(tmp_path)) == left
        assert (folders["mine"] / "weights.safetensors").exists()
        sender.kill()
    os.utime(folders["sending"], (0, 0))
    sending.remove_leftovers(str(tmp_path))
    assert not folders["sending"].exists()


class Served:
    """Draws nothing, but knows the log-probs of fixed tokens under the network of a moment."""

    def __init__(self, model: LoadedModel, offset: float = 0.0) -> None:
        self.model, self.offset = model, offset
        self.follows = True
        self.known: list[Completion] = []

    def __call__(self, request: GenerationRequest) -> list[Completion]:
        if not self.follows:
            return self.known
        assert request.per_prompt == SEQUENCES
        (prompt,) = request.prompts
        random = np.random.default_rng(1)
        self.known = []
        for _ in range(SEQUENCES):
            ids = random.integers(3, 47, NEW_TOKENS)
            whole = torch.from_numpy(np.concatenate([prompt, ids]).astype(np.int64))
            with torch.no_grad():
                logs = self.model.network(whole[None]).logits[0].div(0.8).log_softmax(-1)
            own = logs[len(prompt) - 1 : -1].gather(1, whole[len(prompt) :, None]).squeeze(1)
            logprobs = own.numpy() + np.float32(self.offset)
            self.known.append(Completion(ids.astype(np.int32), logprobs, "length"))
        return self.known


def test_the_probe_lets_trained_weights_pass(client: Client, folder: str) -> None:
    model = loaded(client, folder)
    probe, served = Probe(model, 1e-3), Served(model, 9e-4)
    for step in range(3):
        probe.check(served)
        train(client, step)


def test_the_probe_refuses_a_gap_beyond_its_limit(client: Client, folder: str) -> None:
    model = loaded(client, folder)
    with pytest.raises(OperationError, match=r"differ by 0.0011 nats per token, and 0.001 is all"):
        Probe(model, 1e-3).check(Served(model, 1.1e-3))
    with pytest.raises(OperationError, match=r"differ by nan nats"):
        Probe(model, 1e-3).check(Served(model, float("nan")))


def test_the_probe_notices_that_nothing_changed(client: Client, folder: str) -> None:
    model = loaded(client, folder)
    probe, served = Probe(model, 1e3), Served(model)
    probe.check(served)
    probe.check(served)  # nor were there other weights
    served.follows = False
    # Each step alone is too small to be seen; what they add up to is not.
    with torch.no_grad():
        model.base.model.norm.weight.mul_(1 + 1e-6)
    probe.check(served)
    with torch.no_grad():
        model.base.model.norm.weight.mul_(1 + 3e-5)
    with pytest.raises(OperationError, match="it still serves old weights"):
        probe.check(served)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, sending.Memory),
        ({"tensor_parallel_size": 2}, sending.Files),
        ({"transfer": "files"}, sending.Files),
        ({"transfer": None}, sending.Memory),
    ],
)
def test_the_transfer_fits_where_vllm_s_workers_are(
    client: Client,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    kind: type,
) -> None:
    monkeypatch.setattr(settings, "_is_installed", lambda: True)
    found = settings_of(loaded(client, folder), options)
    assert isinstance(found.transfer, kind)
    assert "transfer" not in found.options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"transfer": "gloo"}, "transfer is 'gloo'; there are memory, files, ipc, nccl"),
        ({"transfer": "memory", "tensor_parallel_size": 2}, "use files or ipc"),
        ({"tensor_parallel_size": 2}, "only where genac_bridge is installed"),
        ({"transfer": "ipc"}, "use memory"),
        ({"transfer": "ipc", "tensor_parallel_size": 2}, "transfer ipc is CUDA's"),
        ({"transfer": "nccl"}, r"needs a server on other GPUs \(server: true, .*; use memory$"),
        ({"transfer": "nccl", "tensor_parallel_size": 2}, "on the model's; use files or ipc"),
        ({"transfer": "nccl", "server": True}, "transfer nccl is CUDA's; use memory or files"),
        ({"transfer": "nccl", "url": "http://h"}, "transfer nccl is CUDA's"),
    ],
)
def test_a_transfer_that_can_t_work_is_refused(
    client: Client,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr(settings, "_is_installed", lambda: False)
    with pytest.raises(BadArguments, match=said):
        settings_of(loaded(client, folder), options)


@pytest.mark.parametrize("transfer", ["ipc", "nccl"])
def test_vllm_s_own_transfers_need_vllm_in_the_worker(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch, transfer: str
) -> None:
    model = dataclasses.replace(loaded(client, folder), device=torch.device("cuda", 0))
    options = {"server": True, "transfer": transfer}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadArguments, match=rf"{transfer} needs vLLM in the worker's Python too, f"):
        settings_of(model, options)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert settings_of(model, options).transfer.backend == transfer


@pytest.mark.parametrize(
    ("dtype", "options", "limit", "served"),
    [
        ("float32", {}, 1e-3, "float32"),
        ("bfloat16", {}, 0.2, "bfloat16"),
        ("bfloat16", {"dtype": "float32"}, 0.2, "float32"),
        ("float32", {"dtype": "bfloat16"}, 0.2, "bfloat16"),
        ("float32", {"max_logprob_gap": 2}, 2.0, "float32"),
    ],
)
def test_the_allowed_gap_follows_the_types(
    client: Client, folder: str, dtype: str, options: dict[str, Any], limit: float, served: str
) -> None:
    found = settings_of(loaded(client, folder, dtype=dtype), options)
    assert found.max_logprob_gap == limit
    assert found.options["dtype"] == served


def test_memory_on_a_cpu_is_not_vllm_s_default(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(client, folder)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    assert settings_of(model, {}).options["kv_cache_memory_bytes"] == 2**30
    given = {"gpu_memory_utilization": 0.3}
    assert "kv_cache_memory_bytes" not in settings_of(model, given).options
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")
    assert "kv_cache_memory_bytes" not in settings_of(model, {}).options


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is here")
def test_without_vllm_it_is_said_what_to_install(client: Client, folder: str) -> None:
    with pytest.raises(OperationError, match=r"install vllm>=0\.32,<0\.33 for CUDA, or make an en"):
        client.load(folder, loading={**LOADING, "engine": "vllm"})
    assert client.operations.models == {}
    with pytest.raises(BadArguments, match=r"vllm-environment\.sh"):
        import_vllm()


def test_unknown_options_are_named() -> None:
    from genac_bridge.engines.engine import Options

    refuse_unknown({"top_k": 3}, Options)
    with pytest.raises(BadArguments, match=r"no option 'topk'; do you mean 'top_k'\?"):
        refuse_unknown({"topk": 3}, Options)
    with pytest.raises(BadArguments, match=r"no option 'xyzzy'$"):
        refuse_unknown({"xyzzy": 3}, Options)


def test_a_value_model_and_an_engine_without_options_refuse_them(
    client: Client, folder: str
) -> None:
    with pytest.raises(OperationError, match="`engine` can't be 'vllm'"):
        client.load(folder, kind="value", loading={**LOADING, "engine": "vllm"})
    with pytest.raises(OperationError, match="'transformers' has no options, and a, b was given"):
        client.load(folder, loading={**LOADING, "engine_options": {"a": 1, "b": 2}})
