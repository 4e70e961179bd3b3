"""vLLM in the worker's process."""

from __future__ import annotations

import gc
import tempfile
from typing import Any

from ...models.model import LoadedModel
from ...wire.context import no_memory
from ..engine import Completion, GenerationRequest
from . import plugin
from .settings import Settings, import_vllm, refuse_unknown, refused
from .stepping import Stepping
from .weights import BaseWeights

#: vLLM's engines of this process. The first that ends, by itself too once nothing holds it, would
#: take the process groups of all.
living: list[Any] = []
#: Of what vLLM says.
WORDS = 600


class InProcess:
    """Raises `BadArguments` for a model or options that vLLM can't serve."""

    def __init__(self, model: LoadedModel, settings: Settings, weights: BaseWeights) -> None:
        self._model = model
        refuse_other_device(model)
        plugin.register()
        self._llm = start(model, settings, weights)
        living.append(self._llm)
        self.room = int(self._llm.model_config.max_model_len)
        self.client = Calls(self._llm)

    def run(self, request: GenerationRequest) -> list[Completion]:
        return Stepping(self._llm, self._model, request).run()

    def forget_prompts(self) -> None:
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("its prefix cache could not be emptied")

    def last_words(self) -> str:
        """Nothing: it writes to the worker's log."""
        return ""

    def close(self) -> None:
        living.remove(self._llm)
        client = self._llm.engine_core
        if not living:
            client.shutdown()
            return
        # All that `shutdown` does but for the groups.
        client._finalizer.detach()
        client.engine_core.model_executor.shutdown()
        client.engine_core.scheduler.shutdown()
        gc.unfreeze()


def refuse_other_device(model: LoadedModel) -> None:
    """Raises `BadArguments` where vLLM would be on another device than the model."""
    import_vllm()
    from vllm.platforms import current_platform

    if current_platform.device_type != model.device.type:
        raise refused(
            f"the worker's vLLM is built for {current_platform.device_type or 'no device'}, and "
            f"model {model.name!r} is on {model.device.type}"
        )
    if model.device.index not in (None, 0):
        raise refused(
            f"vLLM takes the first GPU that a worker sees, and model {model.name!r} is on "
            f"{model.device}: give the worker that GPU alone (workers.NAME.devices)"
        )


def start(model: LoadedModel, settings: Settings, weights: BaseWeights) -> Any:
    """Returns vLLM's `LLMEngine` of the model's architecture. Its weights come as all others do."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    refuse_unknown(settings.options, EngineArgs)
    with tempfile.TemporaryDirectory(prefix="genac-vllm-") as folder:
        weights.config.save_pretrained(folder)
        try:
            return LLMEngine.from_engine_args(
                EngineArgs(
                    **{"disable_log_stats": True, **settings.options},
                    model=folder,
                    load_format="dummy",
                    skip_tokenizer_init=True,
                    generation_config="vllm",
                    logprobs_mode="processed_logprobs",
                    weight_transfer_config={"backend": settings.transfer.backend},
                    trust_remote_code=model.loading is not None and model.loading.trust_remote_code,
                )
            )
        except Exception as error:
            if no_memory(error):
                raise
            words = " ".join(str(error).split())  # pydantic's have several lines
            raise refused(f"vLLM can't serve model {model.name!r}: {words[:WORDS]}") from error


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
