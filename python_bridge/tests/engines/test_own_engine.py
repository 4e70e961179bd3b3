"""An engine of the user's: a class that `load_model` names."""

from __future__ import annotations

import numpy as np
import pytest
from own_engines import Counting

from conftest import LOADING, Client, completions, prompts
from genac_bridge.wire.context import NullContext, OperationError


def load(client: Client, folder: str, engine: str) -> dict[str, object]:
    return client.load(folder, loading={**LOADING, "engine": engine})


def test_it_samples_what_it_was_given(client: Client, folder: str) -> None:
    loaded = load(client, folder, "own_engines:Counting")
    assert (loaded["reproducible"], loaded["version"]) == (False, 0)
    engine = client.operations.models["m"].engine
    assert isinstance(engine, Counting)
    assert engine.source == folder
    assert engine.names == list(client.weights())
    context = NullContext()
    tensors = prompts(np.random.default_rng(0), [3, 5], 2)
    result, out = client.sample(
        tensors,
        context,
        completions_per_prompt=2,
        max_new_tokens=6,
        temperature=0.5,
        top_k=4,
        top_p=0.75,
        stop_token_ids=[9, 1],
        stop_strings=["x"],
        batch_size=3,
        stream=True,
    )
    assert completions(out) == [[7, 7], [7, 8], [7, 9], [7, 10]]
    assert result == {
        "texts": ["0 0", "0 1", "0 2", "0 3"],
        "finish_reasons": ["length"] * 4,
        "version": 0,
        "padding_tokens": 5,
        "cached_tokens": 0,
    }
    assert [data["indices"] for data, _ in context.partials] == [[0], [1, 2, 3]]
    assert [data["texts"] for data, _ in context.partials] == [["0 0"], ["0 1", "0 2", "0 3"]]
    (request,) = engine.requests
    assert [prompt.tolist() for prompt in request.prompts] == [
        tensors["prompt_ids"][:3].tolist(),
        tensors["prompt_ids"][3:].tolist(),
    ]
    assert request.per_prompt == 2
    assert request.limits.tolist() == [6, 6]
    words = tensors["seeds"].astype(np.uint64)
    assert request.seeds.tolist() == (words[:, 0] + (words[:, 1] << np.uint64(32))).tolist()
    options = request.options
    assert (options.max_new_tokens, options.temperature) == (6, 0.5)
    assert (options.top_k, options.top_p) == (4, 0.75)
    assert (options.stop_tokens, options.stop_strings) == ((1, 9), ("x",))
    assert request.batch_size == 3


def test_it_serves_what_is_published(client: Client, folder: str) -> None:
    load(client, folder, "own_engines:Counting")
    tensors = prompts(np.random.default_rng(0), [3])

    def served() -> tuple[int, float]:
        result, out = client.sample(dict(tensors))
        return result["version"], float(out["logprobs"][0])

    first = served()
    model = client.operations.models["m"]
    model.network.get_input_embeddings().weight.data[0, 0] = 50.0  # type: ignore[operator,union-attr]
    model.step = 3
    assert served() == first
    assert client.publish()["version"] == 3
    assert served() == (3, 50.0)


def test_a_replaced_model_s_engine_is_closed(client: Client, folder: str) -> None:
    load(client, folder, "own_engines:Counting")
    engine = client.operations.models["m"].engine
    assert isinstance(engine, Counting)
    with pytest.raises(OperationError):
        load(client, folder, "own_engines:Broken")
    assert not engine.closed
    load(client, folder, "transformers")
    assert engine.closed


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("tgi", "bad_arguments", "'tgi' is neither 'transformers' nor 'vllm' nor of the form"),
        (
            ":Engine",
            "bad_arguments",
            "':Engine' is neither 'transformers' nor 'vllm' nor of the form",
        ),
        ("no_such.module:Engine", "bad_arguments", "there is no module 'no_such'"),
        ("own_engines:Missing", "bad_arguments", "own_engines has no 'Missing'"),
        ("own_engines:number", "bad_arguments", "own_engines:number is a int, not a"),
        ("own_engines:Silent", "bad_arguments", "has no publish, close, version;"),
        ("own_engines:Broken", "function_error", "ValueError: no such device"),
    ],
)
def test_what_can_t_be_used_is_told_at_load(
    client: Client, folder: str, name: str, code: str, said: str
) -> None:
    with pytest.raises(OperationError) as caught:
        load(client, folder, name)
    assert caught.value.code == code
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert client.operations.models == {}


def test_a_value_model_has_no_engine(client: Client, folder: str) -> None:
    with pytest.raises(OperationError, match="writes no text: `engine` can't be 'own_engines:C"):
        client.load(folder, kind="value", loading={**LOADING, "engine": "own_engines:Counting"})
    loaded = client.load(folder, kind="value")
    assert (loaded["reproducible"], loaded["sampling"]) == (None, None)
    assert client.operations.models["m"].engine is None
    assert client.publish()["version"] == 0


def test_completions_that_are_missing_are_an_error(client: Client, folder: str) -> None:
    load(client, folder, "own_engines:Short")
    with pytest.raises(OperationError, match="gave 2 completions instead of 3"):
        client.sample(prompts(np.random.default_rng(0), [3, 2, 1]))
