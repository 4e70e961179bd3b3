"""Tells vLLM of the weight transfers of `transfer.py`: an entry point of `vllm.general_plugins`,
which vLLM calls in each of its processes. Imports nothing before.
"""

#: Names of the transfers in vLLM's `weight_transfer_config`.
MEMORY, FILES = "genac_memory", "genac_files"


def register() -> None:
    """May be called twice."""
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    module = "genac_bridge.engines.vllm.transfer"
    for name, kind in ((MEMORY, "MemoryWeights"), (FILES, "FileWeights")):
        if name not in WeightTransferEngineFactory._registry:
            WeightTransferEngineFactory.register_engine(name, module, kind)
