"""The engine `vllm`: vLLM in the worker's process, or a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from torch import Tensor

from ...models.model import LoadedModel
from ...wire.arguments import LoadModel
from ...wire.context import BadArguments, Context, OperationError, no_memory
from ...wire.errors import one_line
from ..engine import Completion, GenerationRequest
from ..serving_copy import Unfit
from .in_process import InProcess
from .probe import Probe
from .sending import Client
from .server import Http, Server
from .settings import Settings, refused, settings_of
from .started import StartedServer
from .weights import BaseWeights

T = TypeVar("T")
#: Below the first, vLLM takes another temperature than it is given; above the second, none.
COLDEST, HOTTEST = 1e-2, 2.0


class Backend(Protocol):
    """Where vLLM is."""

    room: int
    """Tokens of the longest sequence."""

    @property
    def client(self) -> Client: ...

    def run(self, request: GenerationRequest) -> list[Completion]:
        """Returns the completions, in order. Whatever it raises, vLLM has none of the sequences
        any more.
        """

    def forget_prompts(self) -> None:
        """Keys and values of the weights before are used no more."""

    def last_words(self) -> str:
        """Returns what is known of its end after a call failed; empty: nothing."""

    def close(self) -> None: ...


class VllmEngine:
    """Serves a copy of the weights by vLLM. With top-k or top-p its log-probabilities are of what
    these leave, not of the whole distribution as `Completion` has it. `context`: of the request to
    load the model, which may wait for a server.

    Raises `BadArguments` for a model or options that vLLM can't serve.
    """

    #: Its kernels may add up in another order where a batch has another size.
    reproducible = False

    def __init__(self, model: LoadedModel, arguments: LoadModel, context: Context) -> None:
        self.version = -1
        self._model = model
        #: Why it can't be used any more.
        self._broken: str | None = None
        if model.quantized:
            raise refused(
                f"the quantized weights of model {model.name!r} can't be sent to vLLM; use the "
                "engine transformers"
            )
        settings = settings_of(model, arguments.loading.engine_options)
        try:
            self._weights = BaseWeights(model)
        except Unfit as error:
            raise refused(f"model {model.name!r} can't be sent to vLLM: {error}") from error
        self._transfer = settings.transfer
        self._probe = Probe(model, settings.max_logprob_gap)
        self._backend = backend_of(model, settings, self._weights, context)

    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self._refuse_broken()
        given = list(weights)
        self._tried(
            "took no weights",
            lambda: self._transfer.send(self._backend.client, lambda: self._weights.of(given)),
        )
        self._tried("keeps old prompts", self._backend.forget_prompts)
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
        return self._tried("failed", lambda: self._backend.run(request))

    def _refuse_unlike(self, request: GenerationRequest) -> None:
        """Raises `BadArguments` for what vLLM would do otherwise than it is asked."""
        temperature = request.options.temperature
        if temperature != 0 and not COLDEST <= temperature <= HOTTEST:
            raise BadArguments(
                f"sample: the engine 'vllm' takes temperatures from {COLDEST} to {HOTTEST:g}, and "
                f"0 (it is {temperature:g})"
            )
        room = self._backend.room
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
            words = self._backend.last_words()
            self._broken = f"it {what}: {type(error).__name__}: {one_line(error)}"
            self._broken += words and f"; {words}"
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

    def close(self) -> None:
        self._broken = "it was closed"
        try:
            self._transfer.close()
        finally:
            self._backend.close()


def backend_of(
    model: LoadedModel, settings: Settings, weights: BaseWeights, context: Context
) -> Backend:
    """Returns the vLLM that the options ask for."""
    if settings.started is not None:
        return StartedServer(model, settings, weights, context)
    if settings.url is not None:
        return Server(model, Http(settings.url))
    return InProcess(model, settings, weights)
