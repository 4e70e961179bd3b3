"""The engine `vllm`, in the worker's process."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import Tensor

from ...models.model import LoadedModel
from ...wire.arguments import LoadModel
from ...wire.context import BadArguments, OperationError, no_memory
from ...wire.errors import one_line
from ..engine import Completion, GenerationRequest
from ..serving_copy import Unfit
from . import plugin
from .probe import Probe
from .settings import import_vllm, refuse_unknown, settings_of
from .stepping import Stepping
from .weights import BaseWeights

T = TypeVar("T")
#: vLLM's engines of this process. The first that ends, by itself too once nothing holds it, would
#: take the process groups of all.
living: list[Any] = []
#: Of what vLLM says.
WORDS = 600
#: Below this, vLLM takes another temperature than it is given.
COLDEST = 1e-2


class VllmEngine:
    """Serves a copy of the weights by vLLM. With top-k or top-p its log-probabilities are of what
    these leave, not of the whole distribution as `Completion` has it.

    Raises `BadArguments` for a model or options that vLLM can't serve.
    """

    #: Its kernels may add up in another order where a batch has another size.
    reproducible = False

    def __init__(self, model: LoadedModel, arguments: LoadModel) -> None:
        self.version = -1
        self._model = model
        #: Why it can't be used any more.
        self._broken: str | None = None
        if model.quantized:
            raise self._refused(
                "quantized weights can't be sent to vLLM; use the engine transformers"
            )
        import_vllm()
        from vllm.platforms import current_platform

        if current_platform.device_type != model.device.type:
            raise self._refused(
                f"the worker's vLLM is built for {current_platform.device_type or 'no device'}, "
                f"and the model is on {model.device.type}"
            )
        if model.device.index not in (None, 0):
            raise self._refused(
                f"vLLM takes the first GPU that a worker sees, and the model is on {model.device}: "
                "give the worker that GPU alone (workers.NAME.devices)"
            )
        self._settings = settings_of(model, arguments.loading.engine_options)
        try:
            self._weights = BaseWeights(model)
        except Unfit as error:
            raise self._refused(f"{error}, and can't be merged") from error
        plugin.register()
        self._llm: Any = self._start(arguments)
        self._probe = Probe(model, self._settings.max_logprob_gap)

    def _start(self, arguments: LoadModel) -> Any:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        options = self._settings.options
        refuse_unknown(options, EngineArgs)
        with tempfile.TemporaryDirectory(prefix="genac-vllm-") as folder:
            # The first weights come as all others do.
            self._weights.config.save_pretrained(folder)
            try:
                llm = LLMEngine.from_engine_args(
                    EngineArgs(
                        **{"disable_log_stats": True, **options},
                        model=folder,
                        load_format="dummy",
                        skip_tokenizer_init=True,
                        generation_config="vllm",
                        logprobs_mode="processed_logprobs",
                        weight_transfer_config={"backend": self._settings.transfer.backend},
                        trust_remote_code=arguments.loading.trust_remote_code,
                    )
                )
            except Exception as error:
                if no_memory(error):
                    raise
                words = " ".join(str(error).split())  # pydantic's have several lines
                raise self._refused(
                    f"vLLM can't serve {arguments.source!r}: {words[:WORDS]}"
                ) from error
        living.append(llm)
        return llm

    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self._refuse_broken()
        given = list(weights)
        self._tried(
            "took no weights",
            lambda: self._settings.transfer.send(Calls(self._llm), lambda: self._weights.of(given)),
        )
        # Blocks of keys and values of the old weights.
        if not self._llm.reset_prefix_cache():
            self._broken = "its prefix cache could not be emptied after an update"
            self._refuse_broken()
        self.version = version
        try:
            self._probe.check(self._generate)
        except OperationError as error:
            self._broken = self._broken or str(error)
            raise

    def generate(self, request: GenerationRequest) -> list[Completion]:
        self._refuse_broken()
        self._refuse_unlike(request)
        return self._generate(request)

    def _generate(self, request: GenerationRequest) -> list[Completion]:
        return self._tried("failed", Stepping(self._llm, self._model, request).run)

    def _refuse_unlike(self, request: GenerationRequest) -> None:
        """Raises `BadArguments` for what vLLM would do otherwise than it is asked."""
        if 0 < request.options.temperature < COLDEST:
            raise BadArguments(
                f"sample: the engine 'vllm' takes no temperature between 0 and {COLDEST} "
                f"(it is {request.options.temperature:g})"
            )
        room = self._llm.model_config.max_model_len
        for index, (prompt, limit) in enumerate(zip(request.prompts, request.limits, strict=True)):
            if len(prompt) + limit > room:
                raise BadArguments(
                    f"sample: prompt {index} has {len(prompt)} tokens and may have {limit} new "
                    f"ones, and vLLM has room for {room} (engine.max_model_len)"
                )

    def _tried(self, what: str, work: Callable[[], T]) -> T:
        """Returns what `work` does. What vLLM raises ends the engine."""
        try:
            return work()
        except OperationError:
            raise  # cancelled, or a word of GenAC's own
        except Exception as error:
            self._broken = f"it {what}: {type(error).__name__}: {one_line(error)}"
            if no_memory(error):
                raise
            raise self._dead() from error

    def _refuse_broken(self) -> None:
        if self._broken is not None:
            raise self._dead()

    def _dead(self) -> OperationError:
        return OperationError(
            "internal", f"engine 'vllm' of model {self._model.name!r} is dead: {self._broken}"
        )

    def _refused(self, words: str) -> BadArguments:
        return BadArguments(f"load_model: engine 'vllm' of model {self._model.name!r}: {words}")

    def close(self) -> None:
        self._broken = "it was closed"
        end(self._llm)


def end(llm: Any) -> None:
    """Ends one of `living`."""
    living.remove(llm)
    client = llm.engine_core
    if not living:
        client.shutdown()
        return
    # All that `shutdown` does but for the groups.
    client._finalizer.detach()
    client.engine_core.model_executor.shutdown()
    client.engine_core.scheduler.shutdown()
    gc.unfreeze()


class Calls:
    """vLLM's weight transfer, called in this process."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._call("init_weight_transfer_engine", init_info=init_info)

    def start_weight_update(self) -> None:
        self._call("start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._call("update_weights", update_info=update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._call("finish_weight_update")

    def _call(self, method: str, **arguments: Any) -> None:
        self._llm.collective_rpc(method, kwargs=arguments)
