"""Folders in Hugging Face format.

Their file `genac_state.safetensors` holds the optimizer's state, the step, and the names and sizes
of the other files.
"""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .engines.calls import publish
from .loading import from_pretrained
from .models.adapters import refuse_other_base, write_base
from .models.digest import digest
from .models.model import LoadedModel, broken
from .models.value_head import VALUE_HEAD
from .wire.context import BadArguments, OperationError

STATE = "genac_state.safetensors"
FORMAT = "2"
#: Its weights are not compared: its digest is another one.
EARLIER = "1"
#: By whether it is an adapter. Earlier adapters have a "digest" of their base, too, whose numbers
#: follow the dtype that the model computed in: it is not compared.
DIGEST = {False: "digest", True: "adapter_digest"}


def save(model: LoadedModel, path: str, with_optimizer: bool) -> int:
    """Writes the folder; its size in bytes.

    `genac_state.safetensors` comes last: a folder without it was cut off.
    """
    state_path = os.path.join(path, STATE)
    try:
        os.makedirs(path, exist_ok=True)
        if os.path.exists(state_path):
            os.remove(state_path)
        network: Any = model.network
        with model.full_precision():
            network.save_pretrained(path)
        model.tokenizer.save_pretrained(path)
        if model.base_digest is not None:
            write_base(path, model.base_digest)
        if model.value_head is not None:
            model.value_head.write(path)
        if with_optimizer:
            tensors = model.optimizer.state() if model.optimizer is not None else {}
            files = {
                name: os.path.getsize(os.path.join(path, name))
                for name in sorted(os.listdir(path))
                if name.endswith(".safetensors")
            }
            adapter = isinstance(model.network, PeftModel)
            with model.full_precision():
                held: dict[str, Tensor] = (
                    get_peft_model_state_dict(network)
                    if adapter
                    else dict(network.named_parameters())
                )
                found = digest(all_weights(held, head_of(model)), torch.float32)
            metadata = {
                "format": FORMAT,
                "kind": model.kind,
                "step": str(model.step),
                DIGEST[adapter]: found,
                "files": json.dumps(files),
            }
            save_file(tensors, state_path, metadata=metadata)
    except OSError as error:
        raise OperationError(
            "internal", f"save_model: {path!r} could not be written: {error.strerror or error}"
        ) from error
    return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))


def read_state(path: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Returns the metadata and optimizer state of a folder, after a check that every file that
    `save` wrote is there and whole.
    """
    state_path = os.path.join(path, STATE)
    if not os.path.isdir(path):
        raise BadArguments(f"restore_model: there is no folder {path!r}")
    if not os.path.isfile(state_path):
        raise BadArguments(
            f"restore_model: {path!r} has no {STATE}: it was saved without the optimizer, or the "
            "save was cut off"
        )
    try:
        with safe_open(state_path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        files = json.loads(metadata["files"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise BadArguments(
            f"restore_model: {state_path!r} is damaged or cut off ({error})"
        ) from None
    if metadata.get("format") not in (FORMAT, EARLIER):
        raise BadArguments(
            f"restore_model: {state_path!r} has format {metadata.get('format')!r}; this version "
            f"reads {FORMAT!r} and {EARLIER!r}"
        )
    for name, size in files.items():
        file_path = os.path.join(path, name)
        if not os.path.isfile(file_path):
            raise BadArguments(f"restore_model: {path!r} lacks {name}, which was saved with it")
        if os.path.getsize(file_path) != size:
            raise BadArguments(
                f"restore_model: {file_path!r} has {os.path.getsize(file_path)} bytes instead of "
                f"{size}: it is cut off or was changed"
            )
    return metadata, tensors


def head_of(model: LoadedModel) -> dict[str, Tensor]:
    return {} if model.value_head is None else model.value_head.state_dict()


def all_weights(weights: dict[str, Tensor], head: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Returns the weights of a folder and of its value head, by name."""
    return [*weights.items(), *((f"value_head.{name}", w) for name, w in head.items())]


def differing(have: dict[str, Tensor], want: dict[str, Tensor]) -> str | None:
    """Returns the first name or shape in which two state dicts differ."""
    for name in sorted(have.keys() ^ want.keys()):
        return f"{name} is in {'the folder' if name in have else 'the model'} only"
    for name, tensor in have.items():
        if tensor.shape != want[name].shape:
            return (
                f"{name} is {list(tensor.shape)} in the folder, {list(want[name].shape)} in the "
                "model"
            )
    return None


def restore(model: LoadedModel, path: str) -> None:
    """Weights, optimizer state and step of a folder into the loaded model.

    All is read and checked first: a refusal leaves the model as it was.
    """
    metadata, state = read_state(path)
    if metadata.get("kind") != model.kind:
        raise BadArguments(
            f"restore_model: {path!r} holds a {metadata.get('kind')} model, {model.name!r} is a "
            f"{model.kind} model"
        )
    adapter = isinstance(model.network, PeftModel)
    if os.path.isfile(os.path.join(path, "adapter_config.json")) != adapter:
        raise BadArguments(
            f"restore_model: {path!r} and model {model.name!r} differ in having LoRA; load the "
            "model as it was when saved"
        )
    head: dict[str, Tensor] = {}
    if model.value_head is not None:
        if not os.path.isfile(os.path.join(path, VALUE_HEAD)):
            raise BadArguments(f"restore_model: {path!r} has no {VALUE_HEAD}")
        head = model.value_head.weights_in(path, "restore_model")
    if model.optimizer is not None:
        wrong = model.optimizer.check(state)
        if not state and metadata["step"] != "0":
            wrong = "it was saved from a frozen model, without optimizer state"
        if wrong is not None:
            raise BadArguments(
                f"restore_model: {path!r} does not fit model {model.name!r}: {wrong}"
            )
    if adapter:
        refuse_other_base(path, model.base_digest or "", "restore_model")
        fresh = held = load_peft_weights(path, device="cpu")
        wrong = differing(fresh, get_peft_model_state_dict(model.network))
    else:
        assert model.loading is not None
        network = from_pretrained(path, model.kind, model.loading)
        fresh, held = network.state_dict(), dict(network.named_parameters())
        wrong = differing(fresh, model.network.state_dict())
    named = all_weights(held, head)
    known = None if metadata["format"] == EARLIER else metadata.get(DIGEST[adapter])
    wrong = wrong or differing(head, head_of(model))
    if wrong is None and known is not None and digest(named, torch.float32) != known:
        wrong = "its weights are not those that were saved (the digest differs)"
    wrong = wrong or broken(named)
    if wrong is not None:
        raise BadArguments(f"restore_model: {path!r} does not fit model {model.name!r}: {wrong}")
    with torch.no_grad(), model.full_precision():
        if adapter:
            set_peft_model_state_dict(model.network, fresh)
        else:
            # Copied in place: the optimizer and tied weights go on pointing at the same memory.
            for name, tensor in model.network.state_dict().items():
                tensor.copy_(fresh[name])
        if model.value_head is not None:
            model.value_head.load_state_dict(head)
    if model.optimizer is not None:
        model.optimizer.restore(state)
    model.accumulations = 0
    model.step = int(metadata["step"])
    publish(model)
