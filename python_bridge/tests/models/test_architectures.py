"""The law: a model is sampled exactly, or refused at load in a sentence.

By default a few architectures. With GENAC_NIGHTLY=1 all of the installed Transformers that can be
made small; GENAC_NIGHTLY=write also writes what was found into docs/models.md.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from architectures import causal_configs, parameters, small_config
from conftest import Client, prompts, ragged, split, word_tokenizer
from genac_bridge.models.ways import WAYS
from genac_bridge.wire.context import OperationError

NIGHTLY = os.environ.get("GENAC_NIGHTLY", "")
#: Of each kind: all attention, windows, linear attention, convolutions, recurrent, states in
#: modules.
USUAL = (
    "gpt2",
    "llama",
    "lfm2",
    "mamba",
    "qwen3_5_text",
    "qwen3_next",
    "recurrent_gemma",
    "gemma3_text",
)
KINDS = {kind.model_type: kind for kind in causal_configs()}
#: Transformers zeroes the padding token's embedding when it loads: a checkpoint is refused in
#: words.
NOT_RETURNED = ("youtu",)
#: PEFT and Transformers do not load its adapter as it was saved: refused in words.
NOT_RETURNED_ADAPTERS = ("laguna",)
#: The architecture itself refuses to be trained without its dropout.
NOT_TRAINED = ("reformer",)
#: Parameters that still are a small model.
LARGE = 120_000_000

found: dict[str, list[str]] = defaultdict(list)


def make(name: str, folder: Path, tell: bool = True) -> None:
    """Writes the small model's config and tokenizer, or skips the test.

    `tell`: what can't be made is put into the list.
    """
    try:
        config = small_config(KINDS[name])
        count = parameters(config)
    except Exception as error:
        if tell:
            found["not made"].append(name)
        pytest.skip(f"no small config: {type(error).__name__}: {error}")
    if count > LARGE:
        if tell:
            found["not made"].append(name)
        pytest.skip(f"{count} parameters are not small")
    config.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)


def load_or_refuse(client: Client, name: str, folder: Path) -> None:
    refusal: OperationError | None = None
    try:
        client.load(folder)
    except OperationError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code == "bad_arguments", refusal
        assert "\n" not in str(refusal)
        found["refused"].append(name)
        pytest.skip(str(refusal))
    found[client.operations.models["m"].way.name].append(name)


def sample(
    client: Client, batch: dict[str, np.ndarray], **changes: Any
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Completions' ids and log-probs. Many tokens stop, so that rows leave at different times."""
    options = {"max_new_tokens": 24, "stop_token_ids": [3, 4, 5], **changes}
    _, out = client.sample(batch, **options)
    cu = out["completion_cu_seqlens"]
    return list(zip(split(out["completion_ids"], cu), split(out["logprobs"], cu), strict=True))


def scored(client: Client, texts: list[np.ndarray], **changes: Any) -> list[np.ndarray]:
    cu = np.cumsum([0, *map(len, texts)]).astype(np.int32)
    return split(
        client.score({"ids": np.concatenate(texts), "cu_seqlens": cu}, **changes)["logprobs"], cu
    )


def gradients(client: Client, batch: dict[str, np.ndarray], limit: int) -> dict[str, torch.Tensor]:
    mask = np.ones(len(batch["ids"]), np.float32)
    mask[batch["cu_seqlens"][:-1]] = 0
    client.accumulate(
        {**batch, "mask": mask, "ce.weights": mask},
        [{"kind": "ce", "coefficient": 1.0}],
        normalizer=float(mask.sum()),
        micro_batch_tokens=limit,
    )
    gradient = client.gradients()
    client.operations.models["m"].optimizer.clear()
    client.operations.models["m"].accumulations = 0
    return gradient


@pytest.mark.parametrize("name", sorted(KINDS) if NIGHTLY else USUAL)
def test_sampled_exactly_or_refused(client: Client, tmp_path: Path, name: str) -> None:
    make(name, tmp_path)
    load_or_refuse(client, name, tmp_path)
    random = np.random.default_rng(0)
    batch = prompts(random, [1, 5, 5, 20, 41], per_prompt=3)
    given = split(batch["prompt_ids"], batch["prompt_cu_seqlens"])

    # Sampled together: each token's log-prob is that of the whole text, alone and padded.
    sampled = sample(client, batch, completions_per_prompt=3)
    assert len({len(ids) for ids, _ in sampled}) > 1, "rows must leave at different times"
    texts = [np.concatenate([given[i // 3], ids]) for i, (ids, _) in enumerate(sampled)]
    for limit in (1, 4096):
        for i, logprobs in enumerate(scored(client, texts, micro_batch_tokens=limit)):
            np.testing.assert_allclose(logprobs[len(given[i // 3]) :], sampled[i][1], atol=2e-3)

    # One row at a time gives the same tokens.
    one = sample(client, batch, completions_per_prompt=3, batch_size=1)
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(sampled, one, strict=True))

    if name in NOT_TRAINED:
        return
    # The gradient of a batch is that of its texts, each read alone.
    texts_batch = ragged(random, [3, 17, 30])
    padded, alone = gradients(client, texts_batch, 4096), gradients(client, texts_batch, 1)
    for parameter, gradient in padded.items():
        torch.testing.assert_close(gradient, alone[parameter], atol=2e-4, rtol=2e-3)
    assert sum(bool(gradient.any()) for gradient in padded.values()) > 4

    # An update moves the weights, and a checkpoint returns.
    mask = np.ones(50, np.float32)
    mask[texts_batch["cu_seqlens"][:-1]] = 0
    client.accumulate(
        {**texts_batch, "mask": mask, "ce.weights": mask}, [{"kind": "ce", "coefficient": 1.0}]
    )
    assert client.step()["update_norm"] > 0
    client.run("publish", model="m")
    client.run("save_model", model="m", path=str(tmp_path / "saved"), optimizer=True)
    weights = client.weights()
    client.load(tmp_path, seed=1)
    if name in NOT_RETURNED:
        with pytest.raises(OperationError, match="its weights are not those that were saved"):
            client.run("restore_model", model="m", path=str(tmp_path / "saved"))
        return
    client.run("restore_model", model="m", path=str(tmp_path / "saved"))
    assert all(torch.equal(weights[key], weight) for key, weight in client.weights().items())
    client.load(tmp_path / "saved", initialization="pretrained", optimizer=None)
    assert all(torch.equal(weights[key], weight) for key, weight in client.weights().items())


@pytest.mark.parametrize("name", sorted(KINDS) if NIGHTLY else USUAL)
def test_lora_without_names_of_modules(client: Client, tmp_path: Path, name: str) -> None:
    """`target_modules: null` finds linear layers in every architecture, and the adapter returns."""
    make(name, tmp_path, tell=False)
    try:
        client.load(tmp_path, optimizer=None)
    except OperationError as error:
        pytest.skip(str(error))
    client.run("save_model", model="m", path=str(tmp_path), optimizer=False)
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "target_modules": None}
    client.load(tmp_path, initialization="pretrained", lora=lora)
    if name in NOT_TRAINED:
        return
    batch = ragged(np.random.default_rng(0), [3, 17])
    mask = np.ones(20, np.float32)
    mask[batch["cu_seqlens"][:-1]] = 0
    client.accumulate(
        {**batch, "mask": mask, "ce.weights": mask}, [{"kind": "ce", "coefficient": 1.0}]
    )
    assert client.step()["update_norm"] > 0
    client.run("save_model", model="m", path=str(tmp_path / "adapter"), optimizer=True)
    trained = client.score(batch)["logprobs"]
    if name in NOT_RETURNED_ADAPTERS:
        with pytest.raises(OperationError, match=r"PEFT did not load .* as it was saved"):
            client.load(tmp_path / "adapter", initialization="pretrained")
        return
    client.load(tmp_path / "adapter", initialization="pretrained")
    np.testing.assert_allclose(client.score(batch)["logprobs"], trained, atol=1e-5)


def test_bfloat16_weights_or_casts_or_refused(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XGLM makes its positions in float32, and fails with other weights; DBRX adds up its experts
    in the type of its weights, and fails where they are cast.
    """
    for name, halved in (("dbrx", True), ("qwen3_next", True), ("xglm", False)):
        make(name, tmp_path, tell=False)
        assert client.load(tmp_path, dtype="bfloat16")["sampling"] == "together"
        model = client.operations.models["m"]
        assert (model.masters is not None) is halved
        kinds = {parameter.dtype for parameter in model.network.parameters()}
        assert kinds == {torch.bfloat16 if halved else torch.float32}
    from transformers.models.llama.modeling_llama import LlamaMLP

    forward = LlamaMLP.forward

    def in_float32_only(self: Any, x: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu") or x.dtype != torch.float32:
            raise RuntimeError("no kernel for this type")
        return forward(self, x)  # type: ignore[no-any-return]  # transformers is not typed

    monkeypatch.setattr(LlamaMLP, "forward", in_float32_only)
    make("llama", tmp_path, tell=False)
    client.load(tmp_path)
    with pytest.raises(
        OperationError,
        match=r"a LlamaForCausalLM can't be sampled in bfloat16 .*; use dtype float32",
    ):
        client.load(tmp_path, dtype="bfloat16")


def report() -> str:
    """The part of docs/models.md between its marks."""
    lines = [
        f"Transformers {transformers.__version__}, {sum(map(len, found.values()))} architectures:",
        "",
    ]
    for way in [way.name for way in WAYS]:
        if found[way]:
            lines.append(f"- **{way}** ({len(found[way])}): {', '.join(sorted(found[way]))}")
    for other in ("refused", "not made"):
        lines.append(
            f"- **{other}** ({len(found[other])}): {', '.join(sorted(found[other])) or 'none'}"
        )
    return "\n".join(lines)


@pytest.mark.skipif(not NIGHTLY, reason="the list is of all architectures; GENAC_NIGHTLY=1")
def test_list_of_the_documents() -> None:
    """Runs last: the list of docs/models.md is what was found, for the version that it names."""
    page = Path(__file__).parents[3] / "docs" / "models.md"
    begin, end = "<!-- architectures -->\n", "\n<!-- end -->"
    text = page.read_text(encoding="utf-8")
    print("\n" + report())
    if NIGHTLY == "write":
        page.write_text(
            text.split(begin)[0] + begin + report() + end + text.split(end)[1], encoding="utf-8"
        )
    elif re.search(rf"^Transformers {re.escape(transformers.__version__)},", text, re.MULTILINE):
        assert text.split(begin)[1].split(end)[0] == report()
