"""The operations of `src/bridge/operations.ts`: checked arguments in, plain answers and arrays out."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import __version__, checkpoints, loading
from .engines import decoding
from .engines.random import join_seeds
from .functions import call as functions
from .models import model as models
from .models import training
from .models.model import LoadedModel
from .models.ragged import cumulative, join, refuse_others, take, take_sequences
from .models.tokens import StopStrings, encode_prompt, encode_text
from .wire import arguments as args
from .wire.context import BadArguments, BadState, Context, OperationError, Tensors, no_memory

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
                "description": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
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
                raise OperationError(
                    "out_of_memory",
                    f"{operation}: no memory left on the device{notes}. A smaller model, bfloat16, LoRA, fewer new tokens or a device of its own need less",
                ) from error
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise OperationError(
                "internal",
                f"{operation} failed with {type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno}){notes}",
            ) from error

    def load_model(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("load_model", args.LoadModel, arguments)
        refuse_others(tensors, set())
        context.check()
        model = loading.load(parsed)
        self.models[parsed.model] = model
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
            "step": model.step,
            "version": model.published,
        }, {}

    def tokenize(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("tokenize", args.Tokenize, arguments)
        refuse_others(tensors, set())
        model = models.find(self.models, parsed.model)
        if parsed.completions is not None and len(parsed.completions) != len(parsed.prompts):
            raise BadArguments(
                f"tokenize: {len(parsed.prompts)} prompts but {len(parsed.completions)} completions; give one for each, or null"
            )
        if parsed.append_eos and not model.eos_token_ids:
            raise BadArguments(
                f"tokenize: model {parsed.model!r} has no end-of-sequence token to append"
            )
        literal = model.literal if parsed.literal else None
        sequences: list[list[int]] = []
        prompt_lengths: list[int] = []
        for index, prompt in enumerate(parsed.prompts):
            context.check()
            ids = encode_prompt(
                model.tokenizer,
                prompt,
                f"tokenize: prompts[{index}]",
                literal,
                model.template_options,
            )
            prompt_lengths.append(len(ids))
            if parsed.completions is not None:
                text, where = parsed.completions[index], f"tokenize: completions[{index}]"
                ids = ids + (
                    literal.text(text, where)
                    if literal is not None
                    else encode_text(model.tokenizer, text)
                )
            sequences.append(ids + model.eos_token_ids[:1] if parsed.append_eos else ids)
        answer = {
            "ids": join([np.array(ids, np.int32) for ids in sequences], "int32"),
            "cu_seqlens": cumulative([len(ids) for ids in sequences]),
            "prompt_lengths": np.array(prompt_lengths, np.int32),
        }
        return {"tokens": len(answer["ids"])}, answer

    def sample(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("sample", args.Sample, arguments)
        model = models.find(self.models, parsed.model)
        if model.kind != "causal":
            raise BadArguments(
                f"sample: model {parsed.model!r} is a value model, which writes no text"
            )
        if model.step != model.published:
            raise BadState(
                f"sample: model {parsed.model!r} stands at step {model.step} but serves version {model.published}; publish it first"
            )
        prompts = self._prompts(model, parsed, tensors)
        prefixes = self._prefixes(model, prompts, parsed.max_new_tokens, tensors)
        count = len(prompts) * parsed.completions_per_prompt
        seeds = join_seeds(take(tensors, "seeds", "uint32", (count, 2)))
        stop_tokens = torch.zeros(model.vocabulary, dtype=torch.bool)
        for token in parsed.stop_token_ids:
            if token >= model.vocabulary:
                raise BadArguments(
                    f"sample: stop_token_ids holds {token}, outside the vocabulary (0..{model.vocabulary - 1})"
                )
        stop_tokens[
            [t for t in (*model.eos_token_ids, *parsed.stop_token_ids) if t < model.vocabulary]
        ] = True
        decoder = model.decoder
        options = decoding.Options(
            max_new_tokens=parsed.max_new_tokens,
            temperature=parsed.temperature,
            top_k=parsed.top_k,
            top_p=parsed.top_p,
            stop_tokens=stop_tokens.to(model.device),
            stop_strings=StopStrings(decoder, parsed.stop_strings) if parsed.stop_strings else None,
        )
        texts: list[str] = [""] * count
        ends: list[np.ndarray] = [np.zeros(0, np.int32)] * count

        def finished(numbers: list[int], done: list[decoding.Completion]) -> None:
            begun = [prefixes[number // parsed.completions_per_prompt] for number in numbers]
            whole = [np.concatenate([before, c.ids]) for before, c in zip(begun, done, strict=True)]
            new_texts, new_ends = decoder.decode(whole)
            new_ends = [end[len(before) :] for before, end in zip(begun, new_ends, strict=True)]
            for number, text, end in zip(numbers, new_texts, new_ends, strict=True):
                texts[number], ends[number] = text, end
            if parsed.stream:
                data = {
                    "indices": numbers,
                    "texts": new_texts,
                    "finish_reasons": [completion.reason for completion in done],
                }
                context.partial(data, completion_tensors(done, new_ends))

        progress = decoding.Progress(context, total=max(1, count), on_finished=finished)
        done = decoding.generate(
            model,
            prompts,
            parsed.completions_per_prompt,
            seeds,
            options,
            parsed.batch_size,
            progress,
            np.array([parsed.max_new_tokens - len(before) for before in prefixes]),
        )
        result = {
            "texts": texts,
            "finish_reasons": [completion.reason for completion in done],
            "version": model.published,
            "padding_tokens": progress.padding,
        }
        answer = {
            "prompt_ids": join(prompts, "int32"),
            "prompt_cu_seqlens": cumulative([len(ids) for ids in prompts]),
        }
        return result, {**answer, **completion_tensors(done, ends)}

    def _prompts(
        self, model: LoadedModel, parsed: args.Sample, tensors: Tensors
    ) -> list[np.ndarray]:
        """Ids of every prompt, int32; refuses empty ones."""
        if parsed.prompts is None:
            refuse_others(tensors, {"seeds", "prompt_ids", "prompt_cu_seqlens", "prefix_lengths"})
            ids, cu = take_sequences(tensors, "prompt_ids", "prompt_cu_seqlens", model.vocabulary)
            prompts = [ids[cu[i] : cu[i + 1]] for i in range(len(cu) - 1)]
        else:
            refuse_others(tensors, {"seeds"})
            literal = model.literal if parsed.literal else None
            prompts = [
                np.array(
                    encode_prompt(
                        model.tokenizer,
                        prompt,
                        f"sample: prompts[{index}]",
                        literal,
                        model.template_options,
                    ),
                    np.int32,
                )
                for index, prompt in enumerate(parsed.prompts)
            ]
        for index, prompt in enumerate(prompts):
            if len(prompt) == 0:
                raise BadArguments(
                    f"sample: prompt {index} has no tokens; a model needs at least one to begin with"
                )
        return prompts

    def _prefixes(
        self, model: LoadedModel, prompts: list[np.ndarray], max_new_tokens: int, tensors: Tensors
    ) -> list[np.ndarray]:
        """The ids at the end of each prompt that are the beginning of its completions; refuses what
        leaves no room for `max_new_tokens`.
        """
        given = "prefix_lengths" in tensors
        lengths = (
            take(tensors, "prefix_lengths", "int32", (len(prompts),))
            if given
            else np.zeros(len(prompts))
        ).tolist()
        limit = model.context_length
        for index, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
            if not 0 <= length < min(len(prompt), max_new_tokens):
                raise BadArguments(
                    f"sample: prefix_lengths[{index}] is {length}; it must be less than prompt {index}'s {len(prompt)} tokens "
                    f"and less than max_new_tokens, {max_new_tokens}, of which it is a part"
                )
            tokens = len(prompt) - int(length)
            if limit is not None and tokens + max_new_tokens > limit:
                raise BadArguments(
                    f"sample: prompt {index} has {tokens} tokens and max_new_tokens is {max_new_tokens}: "
                    f"together more than the model's context of {limit} ({model.name!r}). Nothing is cut: shorten the prompt, "
                    "lower max_new_tokens, or take a model with a longer context"
                )
        return [
            prompt[len(prompt) - int(length) :]
            for prompt, length in zip(prompts, lengths, strict=True)
        ]

    def score(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("score", args.Score, arguments)
        model = models.find(self.models, parsed.model)
        tokens, answer = training.score(model, parsed, tensors, context)
        return {"tokens": tokens, "version": model.step}, answer

    def accumulate(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("accumulate", args.Accumulate, arguments)
        model = models.find(self.models, parsed.model)
        statistics = training.accumulate(model, parsed, tensors, context)
        return {"accumulations": model.accumulations, "statistics": statistics}, {}

    def step(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("step", args.Step, arguments)
        refuse_others(tensors, set())
        model = models.find(self.models, parsed.model)
        if model.optimizer is None:
            raise BadState(
                f"step: model {parsed.model!r} is frozen; load it with an optimizer to train it"
            )
        if model.step != parsed.expected_step:
            raise BadState(
                f"step: model {parsed.model!r} stands at step {model.step}, not {parsed.expected_step}; nothing was done"
            )
        if model.accumulations != parsed.expected_accumulations:
            raise BadState(
                f"step: {model.accumulations} accumulations stand in the gradient of model {parsed.model!r}, "
                f"not {parsed.expected_accumulations}; nothing was done"
            )
        context.check()
        norm, gradients = model.optimizer.gradient_norm()
        grad_norm = float(norm) if gradients else 0.0
        if not math.isfinite(grad_norm):
            model.optimizer.clear()
            model.accumulations = 0
            raise OperationError(
                "internal",
                f"step: the gradient of model {parsed.model!r} has norm {grad_norm}; it was discarded, the weights stay",
            )
        scale = 1.0
        if parsed.max_grad_norm is not None:
            scale = min(1.0, parsed.max_grad_norm / (grad_norm + 1e-6))
        update_norm = model.optimizer.step(parsed.learning_rate, scale)
        model.step += 1
        model.accumulations = 0
        return {"step": model.step, "grad_norm": grad_norm, "update_norm": update_norm}, {}

    def publish(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("publish", args.Publish, arguments)
        refuse_others(tensors, set())
        model = models.find(self.models, parsed.model)
        model.published = model.step
        return {
            "version": model.published,
            "digest": checkpoints.digest(model.named_parameters()),
        }, {}

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
        return {"step": model.step, "version": model.published}, {}

    def call(self, arguments: dict[str, Any], tensors: Tensors, context: Context) -> Answer:
        parsed = args.parse("call", args.Call, arguments)
        refuse_others(tensors, set())
        return {"value": functions.call(parsed.function, parsed.keywords)}, {}


def completion_tensors(done: list[decoding.Completion], ends: list[np.ndarray]) -> Tensors:
    """The tensors of finished sequences, as `sample` sends them."""
    return {
        "completion_ids": join([completion.ids for completion in done], "int32"),
        "completion_cu_seqlens": cumulative([len(completion.ids) for completion in done]),
        "logprobs": join([completion.logprobs for completion in done], "float32"),
        "text_ends": join(ends, "int32"),
    }
