"""Sampling from a copy of the weights, in slots: on a CPU it draws what the other way draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_stops import CancelLater

from conftest import Client, completions, prompts, ragged
from genac_bridge.engines import slot_check, slot_decoding, slot_serving
from genac_bridge.engines.slots import Slots
from genac_bridge.engines.transformers_engine import TransformersEngine
from genac_bridge.models import memory
from genac_bridge.wire.context import NullContext, OperationError

SMOLLM2 = Path(__file__).parents[3] / "runs" / "smollm2" / "model"
LENGTHS = [3, 9, 1, 6, 14, 30, 2]
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.5, "target_modules": None}


def use_slots(client: Client) -> Any:
    """Has the model served from a copy; what serves it."""
    model = client.operations.models["m"]
    engine = TransformersEngine(model, in_slots=True)
    model.engine = engine
    client.publish()
    assert engine._slots is not None
    return engine._slots


def both(client: Client, tensors: dict[str, np.ndarray], **changes: Any) -> list[Any]:
    """What the loop and the slots answer."""
    answers = []
    for slots in (False, True):
        if slots:
            use_slots(client)
        result, out = client.sample(dict(tensors), **changes)
        answers.append((completions(out), result["finish_reasons"], result["texts"], out))
    return answers


def test_a_llama_fits(client: Client, folder: str) -> None:
    client.load(folder)
    assert slot_check.why_not(client.operations.models["m"]) is None


def test_how_many_rows_there_are_does_not_depend_on_earlier_requests(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder)
    serving = use_slots(client)
    few = prompts(np.random.default_rng(0), LENGTHS[:2], 1)
    many = prompts(np.random.default_rng(0), LENGTHS * 3, 1)
    client.sample(dict(many), max_new_tokens=8)
    alone = (serving.slots.rows, serving.slots.columns)
    serving.release(True)
    client.sample(dict(few), max_new_tokens=200)
    assert serving.slots.columns > alone[1]
    client.sample(dict(many), max_new_tokens=8)
    assert (serving.slots.rows, serving.slots.columns) == alone


def halved(client: Client, source: str) -> tuple[Any, Any]:
    """A model in bfloat16, and what serves it."""
    client.load(source, dtype="bfloat16")
    return client.operations.models["m"], use_slots(client)


def trained(client: Client, folder: str) -> tuple[Any, Any]:
    """As `halved`, with weights whose log-probabilities depend much on what was read, as those of
    trained models do.
    """
    model, serving = halved(client, folder)
    with torch.no_grad():
        for network in (model.base, serving.copy.network):
            for layer in network.model.layers:
                for module in (layer.self_attn.v_proj, layer.self_attn.o_proj):
                    module.weight.mul_(8)
    return model, serving


def test_a_small_cache_of_a_gpu_is_kept_while_others_work(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that were recorded read the weights where `publish` puts them."""
    client.load(folder)
    serving = use_slots(client)
    given = {**prompts(np.random.default_rng(0), LENGTHS, 2)}
    answer = completions(client.sample(dict(given), completions_per_prompt=2)[1])
    serving.release(False)
    assert serving.slots is None, "a CPU's memory is not planned"
    assert completions(client.sample(dict(given), completions_per_prompt=2)[1]) == answer
    takes = serving.slots.rows * serving._row_bytes(serving.slots.columns)
    share = slot_serving.KEPT_PART * memory.share(client.operations.models["m"])
    monkeypatch.setattr(memory, "device_bytes", lambda device: int(takes / share) + 1)
    kept = serving.slots
    serving.release(False)
    assert serving.slots is kept
    assert completions(client.sample(dict(given), completions_per_prompt=2)[1]) == answer
    assert serving.slots is kept
    serving.release(True)
    assert serving.slots is None, "where memory ran out, nothing is kept"
    client.sample(dict(given), completions_per_prompt=2)
    monkeypatch.setattr(memory, "device_bytes", lambda device: int(takes / share) - 1)
    serving.release(False)
    assert serving.slots is None


def off_by(model: Any, serving: Any) -> float:
    """The largest difference of a log-probability in the first trial."""
    with slot_check.undisturbed(model):
        trial = next(iter(slot_check.Trials(model, float("inf"))))
        slots = Slots(serving.copy, 6, 64 * 9, False, capture=False)
        steps = enumerate(slot_check.fed(slots, trial))
        return max(slot_check.difference(have, trial.expected[:, step]) for step, have in steps)


def test_in_bfloat16_slots_may_differ_as_much_as_rounding_does(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large logits round by more than small ones, whatever samples."""
    model, serving = trained(client, folder)
    with torch.no_grad():
        for network in (model.base, serving.copy.network):
            network.model.norm.weight.mul_(64)
    assert off_by(model, serving) > 0.25
    assert slot_check.try_out(model, serving.copy, False) is None
    monkeypatch.setattr(slot_check, "EACH", 0.001)
    reason = slot_check.try_out(model, serving.copy, False)
    assert reason is not None
    assert "differ by up to" in reason


def lose(slots: Slots) -> None:
    for layer in slots.cache.layers:
        for room in layer.room:
            room[:, 0] = 0


def lose_all_at_last(slots: Slots) -> None:
    """Before the third and last step that is tried."""
    slots.steps = getattr(slots, "steps", 0) + 1
    for layer in slots.cache.layers if slots.steps == 3 else ():
        for room in layer.room:
            room.zero_()


#: What goes wrong: before an operation of the slots, or with what it answers.
FAULTS: dict[str, tuple[str, Any, Any]] = {
    "a token at a wrong position": ("logits", lambda slots: slots.positions.add_(1), None),
    "a lost token": ("logits", lose, None),
    "all is lost before the last step": ("logits", lose_all_at_last, None),
    "rows that don't move": ("move", None, lambda answer: None),
    "another row's prompt": ("read", None, lambda answer: answer[[0, 2, 0, 2]]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_more_than_rounding(
    client: Client, folder: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, serving = trained(client, folder)
    assert slot_check.try_out(model, serving.copy, False) is None
    name, before, changed = FAULTS[fault]
    right = getattr(Slots, name)

    def wrong(self: Slots, *given: Any) -> Any:
        if before is not None:
            before(self)
        answer = right(self, *given) if name != "move" else None
        return answer if changed is None else changed(answer)

    monkeypatch.setattr(Slots, name, wrong)
    reason = slot_check.try_out(model, serving.copy, False)
    assert reason is not None
    assert "differ by" in reason


def test_other_weights_are_no_rounding(client: Client, folder: str) -> None:
    model, serving = trained(client, folder)
    with torch.no_grad():
        weights = serving.copy.network.get_input_embeddings().weight
        weights.copy_(weights.roll(1, 0))
    reason = slot_check.try_out(model, serving.copy, False)
    assert reason is not None
    assert "of its copy" in reason


@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="examples/smollm2/fetch.py was not run")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_trained_model_fits(client: Client, dtype: str) -> None:
    """Its activations are so large that in bfloat16 single log-probabilities are off by nats."""
    client.load(str(SMOLLM2), dtype=dtype, optimizer=None)
    model = client.operations.models["m"]
    assert dtype == "bfloat16" or slot_check.why_not(model) is None
    assert slot_check.try_out(model, use_slots(client).copy, False) is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 0.7, "top_k": 5},
        {"top_p": 0.6, "max_new_tokens": 1},
        {"stop_token_ids": [20, 21, 22, 23], "max_new_tokens": 70},
        {"stop_strings": ["w7", "5 w1"], "max_new_tokens": 33},
        {"completions_per_prompt": 3, "max_new_tokens": 25, "stop_token_ids": [5, 6]},
        {"completions_per_prompt": 3, "batch_size": 4, "stop_token_ids": [5, 6]},
        {"batch_size": 1, "max_new_tokens": 9},
        {"completions_per_prompt": 5, "batch_size": 17, "max_new_tokens": 100},
    ],
    ids=str,
)
def test_the_same_is_drawn(client: Client, folder: str, changes: dict[str, Any]) -> None:
    client.load(folder)
    tensors = prompts(np.random.default_rng(1), LENGTHS, changes.get("completions_per_prompt", 1))
    loop, slots = both(client, tensors, **changes)
    assert slots[:3] == loop[:3]
    np.testing.assert_allclose(slots[3]["logprobs"], loop[3]["logprobs"], atol=2e-5)


def test_prefixes_have_limits_of_their_own(client: Client, folder: str) -> None:
    client.load(folder)
    tensors = prompts(np.random.default_rng(2), LENGTHS)
    tensors["prefix_lengths"] = np.array([2, 0, 0, 3, 8, 9, 1], np.int32)
    loop, slots = both(client, tensors, max_new_tokens=10)
    assert slots[:3] == loop[:3]
    assert sorted({len(ids) for ids in slots[0]})[0] < 3


def test_slots_are_kept_between_requests_and_grow(client: Client, folder: str) -> None:
    client.load(folder)
    serving = use_slots(client)
    few, more = (prompts(np.random.default_rng(3), [4] * n) for n in (12, 40))
    first = completions(client.sample(dict(few))[1])
    kept = serving.slots
    assert completions(client.sample(dict(few))[1]) == first
    assert serving.slots is kept
    client.sample(dict(more), max_new_tokens=150)
    assert (serving.slots.rows, serving.slots.columns) == (40, 256)
    assert completions(client.sample(dict(few))[1]) == first


def test_rows_move_together_when_others_have_finished(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load(folder)
    moved = []
    move = slot_decoding.Slots.move

    def seen(self: Any, sources: np.ndarray, targets: np.ndarray, columns: int) -> None:
        moved.append(len(sources))
        move(self, sources, targets, columns)

    monkeypatch.setattr(slot_decoding.Slots, "move", seen)
    tensors = prompts(np.random.default_rng(4), LENGTHS * 8)
    loop, slots = both(client, tensors, max_new_tokens=60, stop_token_ids=[7, 8, 9])
    assert slots[:3] == loop[:3]
    assert len(moved) > 1


def test_a_copy_of_an_adapter_is_merged(client: Client, folder: str) -> None:
    client.load(folder, lora=LORA)
    with torch.no_grad():
        for name, parameter in client.operations.models["m"].named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    client.publish()
    tensors = prompts(np.random.default_rng(5), LENGTHS)
    loop, slots = both(client, tensors, max_new_tokens=20)
    assert slots[:3] == loop[:3]
    np.testing.assert_allclose(slots[3]["logprobs"], loop[3]["logprobs"], atol=5e-5)


def test_the_copy_is_what_was_published(client: Client, folder: str) -> None:
    client.load(folder)
    use_slots(client)
    tensors = prompts(np.random.default_rng(6), LENGTHS)
    first = completions(client.sample(dict(tensors))[1])
    with torch.no_grad():
        for parameter in client.operations.models["m"].network.parameters():
            parameter.neg_()
    assert completions(client.sample(dict(tensors))[1]) == first
    client.publish()
    assert completions(client.sample(dict(tensors))[1]) != first


def test_bfloat16_is_near_its_scores(client: Client, folder: str) -> None:
    from test_sampling import rescored

    client.load(folder, dtype="bfloat16")
    use_slots(client)
    tensors = prompts(np.random.default_rng(13), LENGTHS, 2)
    _, out = client.sample(tensors, completions_per_prompt=2, max_new_tokens=30)
    np.testing.assert_allclose(out["logprobs"], rescored(client, tensors, out, 2, 1.0), atol=0.1)


def test_broken_weights_are_an_error_once(client: Client, folder: str) -> None:
    client.load(folder)
    use_slots(client)
    tensors = prompts(np.random.default_rng(8), LENGTHS)
    first = completions(client.sample(dict(tensors))[1])
    weight = next(iter(client.operations.models["m"].network.parameters()))
    whole = weight.detach().clone()
    with torch.no_grad():
        weight[:] = torch.nan
    client.publish()
    with pytest.raises(OperationError, match="probabilities that are not finite"):
        client.sample(dict(tensors))
    with torch.no_grad():
        weight.copy_(whole)
    client.publish()
    assert completions(client.sample(dict(tensors))[1]) == first


def test_training_frees_the_slots(client: Client, folder: str) -> None:
    client.load(folder)
    serving = use_slots(client)
    tensors = prompts(np.random.default_rng(9), LENGTHS)
    first = completions(client.sample(dict(tensors))[1])
    assert serving.slots is not None
    batch = ragged(np.random.default_rng(12), [6])
    mask = np.array([0, 1, 1, 1, 1, 1], np.float32)
    client.accumulate(
        {**batch, "mask": mask, "ce.weights": mask}, [{"kind": "ce", "coefficient": 1.0}]
    )
    assert serving.slots is None
    assert completions(client.sample(dict(tensors))[1]) == first


def test_what_is_planned_to_have_the_device_frees_the_slots(client: Client, folder: str) -> None:
    client.load(folder)
    serving = use_slots(client)
    tensors = prompts(np.random.default_rng(9), LENGTHS)
    first = completions(client.sample(dict(tensors))[1])
    texts = {"ids": tensors["prompt_ids"], "cu_seqlens": tensors["prompt_cu_seqlens"]}
    for following in (lambda: client.score(dict(texts)), lambda: client.load(folder, model="n")):
        assert serving.slots is not None
        following()
        assert serving.slots is None
        assert completions(client.sample(dict(tensors))[1]) == first


def test_a_cancel_ends_it_within_one_look(client: Client, folder: str) -> None:
    client.load(folder)
    serving = use_slots(client)
    tensors = prompts(np.random.default_rng(9), LENGTHS)
    first = completions(client.sample(dict(tensors), max_new_tokens=100)[1])
    context = CancelLater(6)
    with pytest.raises(OperationError, match="cancelled") as caught:
        client.sample(dict(tensors), context, max_new_tokens=100)
    assert caught.value.code == "cancelled"
    assert context.fractions == sorted(context.fractions)
    # Of 100 tokens of each sequence, what some looks at 8 of them have seen or will see.
    assert 0.2 < context.fractions[-1] < 0.6
    assert serving.slots is None
    assert completions(client.sample(dict(tensors), max_new_tokens=100)[1]) == first


def test_completions_are_streamed_as_they_end(client: Client, folder: str) -> None:
    client.load(folder)
    use_slots(client)
    tensors = prompts(np.random.default_rng(8), LENGTHS, 4)
    context = NullContext()
    _, out = client.sample(
        tensors, context, completions_per_prompt=4, max_new_tokens=60, stream=True, batch_size=8
    )
    expected = completions(out)
    seen = [index for data, _ in context.partials for index in data["indices"]]
    assert sorted(seen) == list(range(28))
    assert len(context.partials) > 5
    for data, parts in context.partials:
        assert completions(parts) == [expected[index] for index in data["indices"]]
