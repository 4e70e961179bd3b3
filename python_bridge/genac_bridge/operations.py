"""The operations of `src/bridge/operations.ts`: checked arguments in, plain answers, arrays out."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import __version__, checkpoints, loading, planner
from .engines import calls, serving
from .engines.transformers_engine import TransformersEngine
from .functions import call as functions
from .models import choices, scoring, training
from .models import model as models
from .models.chats import encode_texts
from .models.digest import digest
from .models.model import LoadedModel
from .models.prompts import encode_prompts
from .models.ragged import cumulative, join, refuse_others
from .wire import arguments as args
from .wire.context import BadArguments, Context, OperationError, Tensors, no_memory

Answer = tuple[dict[str, Any], Tensors]


class Operations:
    """All that a worker can do. Not thread-safe: one thread computes."""

    def __init__(self) -> None:
        self.models: dict[str, LoadedModel] = {}
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdigit() and int(threads) > 0:
            torch.set_num_threads(int(threads))
        self._operations: dict[str, Callable[[dict[str, Any], Tensors, Context], Answer]] = {
            "load_model": self.load_model,
            "tokenize": self.tokenize,
            "sample": self.sample,
            "score": self.score,
            "choices": self.choices,
            "accumulate": self.accumulate,
            "step": self.step,
            "publish": self.publish,
            "save_model": self.save_model,
            "restore_model": self.restore_model,
            "call": self.call,
        }

    def ready(self) -> dict[str, Any]:
        """Versions and devices, as in the message `ready`."""
        versions = {"genac_bridge": __version__, "python": platform.python_version()}
        for name in ("torch", "transformers", "peft", "numpy"):
            versions[name] = importlib.metadata.version(name)
        devices: list[dict[str, Any]] = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            devices.append(
                {
                    "name": f"cuda:{index}",
                    "description": properties.name,
                    "memory_bytes": properties.total_memory,
                    "bfloat16": torch.cuda.is_bf16_supported(including_emulation=False),
                }
            )
        if torch.backends.mps.is_available():
            devices.append(
                {"name": "mps", "description": "Apple GPU", "memory_bytes": None, "bfloat16": True}
            )
        # Autocast to bfloat16 works on every CPU; few have it natively, so it is not announced.
        devices.append(
            {
                "name": "cpu",
                "description": f"{platform.processor() or platform.machine()}, "
                f"{torch.get_num_threads()} threads",
                "memory_bytes": None,
                "bfloat16": False,
            }
        )
        return {"versions": versions, "devices": devices}

    def run(
        self, operation: str, arguments: dict[str, Any], tensors: Tensors, context: Context
    ) -> Answer:
        """Runs one operation.

        Raises `OperationError` for everything that can go wrong; nothing else comes out.
        """
        handler = self._operations.get(operation)
        if handler is None:
            raise BadArguments(
                f"there is no operation {operation!r}; there are {sorted(self._operations)}"
            )
        try:
            return handler(arguments, tensors, context)
        except OperationError:
            raise
        except Exception as error:
            notes = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
            if no_memory(error):
                self._release_caches(small_too=True)
                raise OperationError(
                    "out_of_memory",
                    f"{operation}: no memory left on the device{notes}. A smaller model, bfloat16, "
                    "LoRA, fewer new tokens, gradient_checkpointing, offload_optimizer or a device "
                    "of its own need less",
                ) from error
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise OperationError(
                "internal",
                f"{operation} failed with {type(error).__name__}: {error} "
                f"({os.path.basename(where.filename)}:{where.lineno}){notes}",
            ) from error

    def load_model(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("load_model", args.LoadModel, arguments)
        refuse_others(tensors, set())
        context.check()
        planner.refuse_too_large(parsed)
        self._release_caches()
        model = loading.load(parsed, context)
        replaced = self.models.get(parsed.model)
        self.models[parsed.model] = model
        if replaced is not None and replaced.engine is not None:
            calls.close(replaced.engine, calls.name_of(replaced))
        if replaced is not None:
            # A model and its engine hold each other, and much of a device's memory.
            del replaced
            gc.collect()
        eos = model.eos_token_ids[0] if model.eos_token_ids else None
        trainable = model.optimizer.parameters.values() if model.optimizer is not None else []
        return {
            "parameters": sum(parameter.numel() for _, parameter in model.named_parameters()),
            "trainable_parameters": sum(parameter.numel() for parameter in trainable),
            "device": str(model.device),
            "dtype": "bfloat16" if model.dtype == torch.bfloat16 else "float32",
            "vocabulary_size": model.vocabulary,
            "eos_token_id": eos,
            "context_length": model.context_length,
            "has_chat_template": bool(getattr(model.tokenizer, "chat_template", None)),
            "sampling": model.way.name if model.kind == "causal" else None,
            "reproducible": model.engine.reproducible if model.engine is not None else None,
            "slow_because": model.slow_because,
            "step": model.step,
            "version": model.version,
        }, {}

    def tokenize(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("tokenize", args.Tokenize, arguments)
        refuse_others(tensors, set())
        model = models.find(self.models, parsed.model)
        if parsed.completions is not None and len(parsed.completions) != len(parsed.prompts):
            raise BadArguments(
                f"tokenize: {len(parsed.prompts)} prompts but {len(parsed.completions)} "
                "completions; give one for each, or null"
            )
        if parsed.append_eos and not model.eos_token_ids:
            raise BadArguments(
                f"tokenize: model {parsed.model!r} has no end-of-sequence token to append"
            )
        literal = model.literal if parsed.literal else None
        given = (model.tokenizer, parsed.prompts, "tokenize: prompts", literal)
        sequences = encode_prompts(*given, model.template_options, context.check)
        prompt_lengths = [len(ids) for ids in sequences]
        if parsed.completions is not None:
            context.check()
            completions = (
                encode_texts(model.tokenizer, parsed.completions)
                if literal is None
                else [
                    literal.text(text, f"tokenize: completions[{index}]")
                    for index, text in enumerate(parsed.completions)
                ]
            )
            sequences = [ids + own for ids, own in zip(sequences, completions, strict=True)]
        if parsed.append_eos:
            sequences = [ids + model.eos_token_ids[:1] for ids in sequences]
        answer = {
            "ids": join([np.array(ids, np.int32) for ids in sequences], "int32"),
            "cu_seqlens": cumulative([len(ids) for ids in sequences]),
            "prompt_lengths": np.array(prompt_lengths, np.int32),
        }
        return {"tokens": len(answer["ids"])}, answer

    def sample(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("sample", args.Sample, arguments)
        model = models.find(self.models, parsed.model)
        self._release_caches(but=model)
        return serving.sample(model, parsed, tensors, context)

    def score(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("score", args.Score, arguments)
        model = models.find(self.models, parsed.model)
        self._release_caches()
        tokens, answer = scoring.score(model, parsed, tensors, context)
        return {"tokens": tokens, "version": model.step}, answer

    def choices(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("choices", args.Choices, arguments)
        model = models.find(self.models, parsed.model)
        self._release_caches(but=model)
        tokens, answer = choices.choices(model, parsed, tensors, context)
        return {"tokens": tokens, "version": model.step}, answer

    def _release_caches(self, but: LoadedModel | None = None, small_too: bool = False) -> None:
        """Frees what models but this one keep between requests to sample: what comes next is
        planned to have the device to itself, but for small caches.
        """
        for model in self.models.values():
            if model is not but and isinstance(model.engine, TransformersEngine):
                model.engine.release(small_too)

    def accumulate(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("accumulate", args.Accumulate, arguments)
        model = models.find(self.models, parsed.model)
        self._release_caches()
        statistics = training.accumulate(model, parsed, tensors, context)
        return {"accumulations": model.accumulations, "statistics": statistics}, {}

    def step(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("step", args.Step, arguments)
        refuse_others(tensors, set())
        model = models.find(self.models, parsed.model)
        grad_norm, update_norm = training.step(model, parsed, context)
        return {"step": model.step, "grad_norm": grad_norm, "update_norm": update_norm}, {}

    def publish(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("publish", args.Publish, arguments)
        refuse_others(tensors, set())
        model = models.find(self.models, parsed.model)
        weights = model.named_parameters()
        calls.publish(model)
        return {"version": model.version, "digest": digest(weights, torch.float32)}, {}

    def save_model(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("save_model", args.SaveModel, arguments)
        refuse_others(tensors, set())
        model = models.find(self.models, parsed.model)
        size = checkpoints.save(model, parsed.path, parsed.optimizer)
        return {"bytes": size, "step": model.step}, {}

    def restore_model(
        self, arguments: dict[str, Any], tensors: Tensors, context: Context
    ) -> Answer:
        parsed = args.parse("restore_model", args.RestoreModel, arguments)
        refuse_others(tensors, set())
        model = models.find(self.models, parsed.model)
        checkpoints.restore(model, parsed.path)
        return {"step": model.step, "version": model.version}, {}

    def call(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("call", args.Call, arguments)
        refuse_others(tensors, set())
        return {"value": functions.call(parsed.function, parsed.keywords)}, {}
