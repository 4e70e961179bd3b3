from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class EngineArgs:
    dtype: str = "auto"
    max_model_len: int | None = None
    kv_cache_memory_bytes: int | None = None
    enable_chunked_prefill: bool | None = None
    enable_prefix_caching: bool | None = None
    enforce_eager: bool = False
    disable_log_stats: bool = False
    cudagraph_capture_sizes: list[int] | None = None
    compilation_config: dict[str, Any] | None = None
    tensor_parallel_size: int = 1
