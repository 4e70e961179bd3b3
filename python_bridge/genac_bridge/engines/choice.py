"""The engine that `load_model` names: the worker's own, or a class of the user's."""

from __future__ import annotations

from ..functions.call import find
from ..models.model import LoadedModel
from ..wire.arguments import LoadModel
from ..wire.context import BadArguments, Context
from .calls import TRANSFORMERS, VLLM, called, close, fault, publish
from .engine import Engine
from .transformers_engine import TransformersEngine
from .vllm.engine import VllmEngine

#: What an engine must have.
PARTS = ("generate", "publish", "close", "reproducible", "version")


def add_engine(model: LoadedModel, arguments: LoadModel, context: Context) -> None:
    """Gives a causal model the engine that serves its weights as they are now. It may wait for
    another process; `context` is of the request.

    Raises `BadArguments` for a name that is none, and for a class that lacks a part of `Engine`;
    `OperationError` for what the class raises itself.
    """
    name = arguments.loading.engine
    if name == TRANSFORMERS:
        refuse_options(arguments)
        model.engine = TransformersEngine(model, model.in_slots)
    elif name == VLLM:
        model.engine = VllmEngine(model, arguments, context)
    else:
        model.engine = own_engine(name, model, arguments)
    try:
        publish(model)
    except Exception:
        close(model.engine, name)
        raise


def refuse_options(arguments: LoadModel) -> None:
    """Raises `BadArguments` for options of an engine that has none."""
    options = arguments.loading.engine_options
    if options:
        raise BadArguments(
            f"load_model: the engine {arguments.loading.engine!r} has no options, and "
            f"{', '.join(options)} was given"
        )


def own_engine(name: str, model: LoadedModel, arguments: LoadModel) -> Engine:
    """Returns an object of the class `package.module:Class`."""
    module, _, kind = name.rpartition(":")
    if not (module and kind):
        raise BadArguments(
            f"load_model: the engine {name!r} is neither {TRANSFORMERS!r} nor {VLLM!r} nor of the "
            "form 'package.module:Class'"
        )
    make = find(name, f"load_model: the engine {name!r}")
    engine: Engine = called(name, kind, lambda: make(model, arguments))
    missing = called(name, kind, lambda: [part for part in PARTS if not hasattr(engine, part)])
    if missing:
        raise BadArguments(
            f"load_model: the engine {name!r} has no {', '.join(missing)}; "
            "genac_bridge.engines.engine.Engine says what an engine needs"
        )
    reproducible = called(name, "reproducible", lambda: engine.reproducible)
    if not isinstance(reproducible, bool):
        raise fault(name, f"reproducible is {reproducible!r}; it must be True or False")
    return engine
