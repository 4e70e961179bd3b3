"""The engine that `load_model` names: the worker's own, or a class of the user's."""

from __future__ import annotations

from ..functions.call import find
from ..functions.own_code import guarded
from ..models.model import LoadedModel
from ..wire.arguments import LoadModel
from ..wire.context import BadArguments
from .engine import Engine
from .transformers_engine import TransformersEngine

TRANSFORMERS = "transformers"
#: What an engine must have.
PARTS = ("generate", "publish", "close", "reproducible", "version")


def make_engine(model: LoadedModel, arguments: LoadModel) -> Engine:
    """Returns the engine of a causal model, which serves its weights as they are now.

    Raises `BadArguments` for a name that is none, and for a class that lacks a part of `Engine`;
    `OperationError` for what the class raises itself.
    """
    name = arguments.loading.engine
    engine: Engine
    if name == TRANSFORMERS:
        engine = TransformersEngine(model)
    else:
        engine = own_engine(name, model, arguments)
    engine.publish(model.named_parameters(), model.step)
    return engine


def own_engine(name: str, model: LoadedModel, arguments: LoadModel) -> Engine:
    """Returns an object of the class `package.module:Class`."""
    module, _, kind = name.rpartition(":")
    if not (module and kind):
        raise BadArguments(
            f"load_model: the engine {name!r} is neither {TRANSFORMERS!r} nor of the form "
            "'package.module:Class'"
        )
    make = find(name, f"load_model: the engine {name!r}")
    engine: Engine = guarded(module, f"the engine {name} raised", lambda: make(model, arguments))
    missing = [part for part in PARTS if not hasattr(engine, part)]
    if missing:
        raise BadArguments(
            f"load_model: the engine {name!r} has no {', '.join(missing)}; "
            "genac_bridge.engines.engine.Engine says what an engine needs"
        )
    return engine
