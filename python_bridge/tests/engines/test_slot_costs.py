"""What a decoding step in slots must not do: cast weights, copy keys, wait for the host, or launch
more kernels the more rows there are; and the memory that it is planned to take.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from test_slots import use_slots
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import Client, prompts, split
from genac_bridge.engines.slot_cache import planned_bytes
from genac_bridge.engines.slots import Draw, Slots
from genac_bridge.models.memory import weights_of

LENGTHS = [3, 9, 1, 6, 14, 30, 2]


class Seen(TorchDispatchMode):
    """Names and shapes of what operations make anew, views left out; which wait; and how many
    launch a kernel, that is make something anew or write.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, tuple[int, ...]]] = []
        self.waits: list[str] = []
        self.launches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name in ("_local_scalar_dense", "nonzero", "item"):
            self.waits.append(name)
        made = len(self.made)
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
        for tensor in out if isinstance(out, tuple | list) else [out]:
            new = isinstance(tensor, torch.Tensor)
            if new and tensor.untyped_storage().data_ptr() not in given:
                self.made.append((name, tuple(tensor.shape)))
        self.launches += len(self.made) > made or func._schema.is_mutable
        return out


@torch.no_grad()  # in inference mode a step is seen as fewer operations, which hide their parts
def step(
    client: Client, folder: str, dtype: str, rows: int = 7, **changes: Any
) -> tuple[Any, Seen]:
    """One decoding step of rows whose prompts were read."""
    client.load(folder, dtype=dtype, **changes)
    slots = Slots(use_slots(client).copy, rows, 128, by_length=False, capture=False)
    batch = prompts(np.random.default_rng(0), LENGTHS[:rows])
    given = split(batch["prompt_ids"], batch["prompt_cu_seqlens"])
    numbers = np.arange(rows)
    slots.read(given, numbers, numbers, np.array(LENGTHS[:rows]) + 40)
    with Seen() as seen:
        slots._step(slots.rows, slots.columns, Draw(1.0, None, None))
    return slots, seen


def test_a_step_casts_no_weights(client: Client, folder: str) -> None:
    for dtype in ("bfloat16", "float32"):
        _, seen = step(client, folder, dtype)
        parameters = client.operations.models["m"].network.parameters()
        matrices = {tuple(sorted(p.shape)) for p in parameters if p.ndim == 2}
        assert len(matrices) > 2
        cast = [tuple(sorted(shape)) for name, shape in seen.made if name == "_to_copy"]
        # The head's product has float32 sums, for which a CPU has no kernel.
        head = [(32, 47)] if dtype == "bfloat16" else []
        assert [shape for shape in cast if shape in matrices] == head


def test_a_step_copies_no_keys(client: Client, folder: str) -> None:
    slots, seen = step(client, folder, "float32")
    keys, _ = slots.cache.layers[0].room
    assert keys.shape == (7, 128, 1, 8)
    assert client.operations.models["m"].config.num_attention_heads == 4
    large = [(name, shape) for name, shape in seen.made if np.prod(shape) >= keys.numel()]
    assert large == []


def test_a_step_waits_for_nothing(client: Client, folder: str) -> None:
    _, seen = step(client, folder, "float32")
    assert len(seen.made) > 50
    assert seen.waits == []


def test_launches_of_a_step_are_those_of_its_layers(client: Client, folder: str) -> None:
    few, many = (step(client, folder, "float32", rows)[1].launches for rows in (2, 7))
    assert few == many
    layers = client.operations.models["m"].config.num_hidden_layers
    # Projections, norms, rotations, the cache and attention; and beside the layers the draw.
    assert few <= 40 + 40 * layers


def test_planned_bytes_are_used_bytes(client: Client, folder: str) -> None:
    for dtype in ("float32", "bfloat16"):
        slots, _ = step(client, folder, dtype)
        model = client.operations.models["m"]
        planned = planned_bytes(model.config, slots.rows, slots.columns, model.dtype)
        assert slots.cache.bytes() == planned
        assert slots.serving.bytes() == weights_of(model).served


def test_frozen_weights_are_not_copied(client: Client, folder: str) -> None:
    slots, _ = step(client, folder, "bfloat16", optimizer=None)
    assert slots.serving.bytes() == 0
    lora = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": ["q_proj"]}
    slots, _ = step(client, folder, "bfloat16", lora=lora)
    # Two layers' query matrices, with the adapter in them.
    assert slots.serving.bytes() == 2 * 32 * 32 * 2
