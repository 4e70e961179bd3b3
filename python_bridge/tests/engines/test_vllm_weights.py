"""The engine `vllm` by vLLM itself: it serves what was published last, and what does not is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from vllm_models import close_all, gap, loading, make_folder, needs_vllm, sampled, train

from conftest import Client, prompts
from genac_bridge.engines.vllm import sending
from genac_bridge.wire.context import OperationError

pytestmark = needs_vllm

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear"}


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    close_all(client)


#: The second is longer than a block of vLLM's prefix cache.
TENSORS = prompts(np.random.default_rng(5), [3, 150, 9])


def published(client: Client) -> tuple[list[list[int]], float]:
    """Ids and the largest difference to the network's log-probs."""
    _, out = client.sample(dict(TENSORS), max_new_tokens=12)
    return sampled(client, TENSORS, max_new_tokens=12)[0], gap(client, out, 1, 1.0)


@pytest.mark.parametrize("transfer", ["memory", "files"])
@pytest.mark.parametrize(
    ("lora", "changes"),
    [(None, {}), (LORA, {}), (None, {"tie_word_embeddings": False, "attention_bias": True})],
    ids=["whole", "lora", "untied"],
)
def test_a_step_is_served_once_it_is_published(
    client: Client, tmp_path: Path, lora: Any, changes: dict[str, Any], transfer: str
) -> None:
    client.load(make_folder(tmp_path, **changes), lora=lora, loading=loading(transfer=transfer))
    first, close = published(client)
    assert close < 1e-4
    train(client)
    ids, far = published(client)
    assert ids == first
    assert far > 1e-2
    assert client.publish()["version"] == 1
    second, close = published(client)
    assert close < 1e-4
    assert second != first
    train(client, 1)
    client.publish()
    assert published(client)[1] < 1e-4


def test_in_bfloat16_the_difference_is_rounding(client: Client, tmp_path: Path) -> None:
    client.load(make_folder(tmp_path), dtype="bfloat16", loading=loading())
    assert published(client)[1] < 0.1
    train(client)
    assert published(client)[1] > 0.2
    client.publish()
    assert published(client)[1] < 0.1


def test_restored_weights_are_served(client: Client, tmp_path: Path) -> None:
    client.load(make_folder(tmp_path), loading=loading())
    first, _ = published(client)
    client.run("save_model", model="m", path=str(tmp_path / "saved"), optimizer=True)
    train(client)
    client.publish()
    assert published(client)[0] != first
    client.run("restore_model", model="m", path=str(tmp_path / "saved"))
    again, close = published(client)
    assert again == first
    assert close < 1e-4


def test_prompts_that_old_weights_read_are_read_again(client: Client, tmp_path: Path) -> None:
    client.load(make_folder(tmp_path), loading=loading())
    cached = [client.sample(dict(TENSORS), max_new_tokens=4)[0]["cached_tokens"] for _ in range(2)]
    assert cached == [0, 128]
    train(client)
    client.publish()
    result, out = client.sample(dict(TENSORS), max_new_tokens=4)
    assert result["cached_tokens"] == 0
    assert gap(client, out, 1, 1.0) < 1e-4


def test_two_models_in_one_worker_have_their_own(client: Client, tmp_path: Path) -> None:
    for name, seed in (("m", 0), ("other", 1)):
        client.load(make_folder(tmp_path), name, seed=seed, loading=loading())
    first, close = published(client)
    assert close < 1e-4
    assert sampled(client, TENSORS, max_new_tokens=12, model="other")[0] != first
    train(client)
    client.publish()
    assert published(client)[1] < 1e-4
    client.load(make_folder(tmp_path), seed=0, loading=loading())
    assert published(client)[0] == first


class Dropped(sending.Memory):
    """Sends the first weights, and drops all others."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, client: sending.Client, stream: sending.Stream) -> None:
        self.sent += 1
        if self.sent == 1:
            super().send(client, stream)


class WithoutOne(Dropped):
    """Leaves one matrix as it was."""

    def send(self, client: sending.Client, stream: sending.Stream) -> None:
        def others() -> Iterable[tuple[str, Tensor]]:
            return (
                (n, w) for n, w in stream() if self.sent == 1 or not n.endswith("o_proj.weight")
            )

        self.sent += 1
        sending.Memory.send(self, client, others)


def load_with(client: Client, folder: str, transfer: sending.Transfer, **changes: Any) -> None:
    from genac_bridge.engines.vllm import settings

    before = settings.TRANSFERS["memory"]
    settings.TRANSFERS["memory"] = lambda *_: transfer
    try:
        client.load(folder, loading=loading(), **changes)
    finally:
        settings.TRANSFERS["memory"] = before


@pytest.mark.parametrize(
    ("rate", "said"),
    [(0.05, "does not serve the weights that are trained"), (1e-6, "still serves old weights")],
)
def test_an_update_that_is_dropped_is_an_error(
    client: Client, tmp_path: Path, rate: float, said: str
) -> None:
    load_with(client, make_folder(tmp_path), Dropped())
    train(client, rate=rate)
    with pytest.raises(OperationError, match=said):
        client.publish()
    with pytest.raises(OperationError, match=f"is dead: .*{said}"):
        client.sample(dict(TENSORS))


def test_a_small_update_that_is_dropped_is_an_error_in_bfloat16(
    client: Client, tmp_path: Path
) -> None:
    load_with(client, make_folder(tmp_path), Dropped(), dtype="bfloat16")
    train(client, rate=1e-4)
    with pytest.raises(OperationError, match="still serves old weights"):
        client.publish()


def test_an_update_that_lacks_weights_is_an_error(client: Client, tmp_path: Path) -> None:
    load_with(client, make_folder(tmp_path), WithoutOne())
    train(client)
    with pytest.raises(OperationError, match="does not serve the weights that are trained"):
        client.publish()


def test_an_update_without_training_is_none_to_miss(client: Client, tmp_path: Path) -> None:
    load_with(client, make_folder(tmp_path), Dropped())
    assert client.publish()["version"] == 0
    assert published(client)[1] < 1e-4


def test_a_transfer_that_fails_ends_the_engine(client: Client, tmp_path: Path) -> None:
    class Failing(Dropped):
        def send(self, client: sending.Client, stream: sending.Stream) -> None:
            super().send(client, stream)
            if self.sent > 1:
                raise OSError("no space left")

    load_with(client, make_folder(tmp_path), Failing())
    for _ in range(2):
        with pytest.raises(OperationError, match="is dead: it took no weights: OSError: no space"):
            client.publish()


def test_vllm_s_own_processes_take_files(client: Client, tmp_path: Path) -> None:
    folder = make_folder(tmp_path, num_key_value_heads=2)
    client.load(folder, loading=loading(tensor_parallel_size=2))
    first, close = published(client)
    assert close < 1e-4
    train(client)
    client.publish()
    second, close = published(client)
    assert close < 1e-4
    assert second != first


def test_handles_of_cuda_s_memory_are_sent_by_vllm_s_own_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is called is there; CUDA, which it needs, is not."""
    from vllm.distributed.weight_transfer import ipc_engine
    from vllm.distributed.weight_transfer.clients import _json_safe_update_info

    made: list[Any] = []

    class Sender(ipc_engine.IPCTrainerWeightTransferEngine):  # type: ignore[misc]
        def __init__(self, **given: Any) -> None:
            made.append(given)

        is_sender = True
        client = property(lambda self: made[0]["client"])

        def send_weights(self) -> None:
            made.append(list(made[0]["source"]))

    class Told:
        def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
            made[0]["init_info"] = init_info

    monkeypatch.setattr(ipc_engine, "IPCTrainerWeightTransferEngine", Sender)
    weights = [("a", torch.ones(2, 3)), ("b", torch.zeros(1))]
    sending.CudaIpc().send(Told(), lambda: iter(weights))  # type: ignore[arg-type]
    assert made[0]["init_info"] == {"packed": True}
    assert made[0]["packed"] is True
    assert made[1] == weights
    assert [(m.name, m.shape) for m in made[0]["source"].metadata()] == [("a", (2, 3)), ("b", (1,))]
    over_http = _json_safe_update_info({"names": ["a"], "ipc_handles": {"gpu": (1, 2)}})
    assert over_http.keys() == {"names", "ipc_handles_pickled"}


def test_weights_of_many_files_arrive(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FILE_BYTES", 20_000)
    client.load(make_folder(tmp_path), loading=loading(transfer="files"))
    with torch.no_grad():
        for parameter in client.operations.models["m"].network.parameters():
            parameter.neg_()
    client.publish()
    assert published(client)[1] < 1e-4
