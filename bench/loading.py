"""How benches load models: as their folders say, with the engine `transformers`."""

from __future__ import annotations

from typing import Any

PLAIN: dict[str, Any] = {
    "revision": None,
    "trust_remote_code": False,
    "attn_implementation": None,
    "quantization_config": None,
    "tokenizer": None,
    "chat_template_kwargs": {},
    "engine": "transformers",
    "engine_options": {},
    "gradient_checkpointing": False,
    "share_prefixes": False,
    "offload_optimizer": False,
    "memory_share": None,
}
