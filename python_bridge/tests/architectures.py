"""Every causal architecture of the installed Transformers, made small from its config alone."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

VOCABULARY = 47

#: Whatever of these a config has is set to this.
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "n_embd": 32,
    "d_model": 32,
    "dim": 32,
    "embed_dim": 32,
    "word_embed_proj_dim": 32,
    "embedding_size": 32,
    "input_embedding_size": 32,
    "output_embedding_size": 32,
    "attention_hidden_size": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "n_inner": 48,
    "d_ff": 48,
    "dff": 48,
    "d_inner": 48,
    "ffn_hidden_size": 48,
    "feed_forward_size": 48,
    "decoder_ffn_dim": 48,
    "encoder_ffn_dim": 48,
    "shared_intermediate_size": 16,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 16,
    "expert_intermediate_size": 16,
    "expert_hidden_size": 16,
    "expert_ffn_hidden_size": 16,
    "intermediate_size_mlp": 16,
    "num_hidden_layers": 2,
    "num_layers": 2,
    "n_layer": 2,
    "n_layers": 2,
    "decoder_layers": 2,
    "encoder_layers": 2,
    "num_attention_heads": 4,
    "num_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "multi_query_group_num": 2,
    "head_dim": 8,
    "d_head": 8,
    "d_kv": 8,
    "kv_channels": 8,
    "attention_head_dim": 8,
    "dim_head": 8,
    "max_position_embeddings": 256,
    "n_positions": 256,
    "n_ctx": 256,
    "max_seq_len": 256,
    "context_length": 256,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "num_expert_group": 1,
    "num_limited_groups": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "qk_head_dim": 8,
    "v_head_dim": 8,
    "sliding_window": 16,
    "attention_window_size": 16,
    "rotary_dim": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_head_dim": 8,
    "state_size": 8,
    "time_step_rank": 4,
    "mamba_d_state": 8,
    "mamba_dt_rank": 4,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "n_mamba_heads": 2,
    "mamba_headdim": 8,
    "mamba_head_dim": 8,
    "mamba_d_head": 8,
    "mamba_d_ssm": 64,
    "mamba_n_groups": 1,
    "mamba_ngroups": 1,
    "n_groups": 1,
    "ssm_state_size": 8,
    "lru_width": 32,
    "block_multiple_of": 8,
    "layer_types": None,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "num_kv_shared_layers": 0,
    "use_cache": True,
    "is_decoder": True,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}

HYBRID = {"layer_types": ["linear_attention", "full_attention"]}

#: What some need besides, by model type.
SPECIAL: dict[str, dict[str, Any]] = {
    "bailing_hybrid": HYBRID,
    "bamba": {"attn_layer_indices": [1]},
    "cwm": {"bos_token_id": 2},
    "dots1": {"n_shared_experts": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "falcon": {"alibi": True},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    "granitemoehybrid": HYBRID,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": HYBRID,
    "longcat_flash": {"head_dim": 4},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8},
    "minimax": HYBRID,
    "modernbert-decoder": {"bos_token_id": 2},
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention", "moe", "mlp"],
        "num_hidden_layers": 4,
    },
    "qwen3_5_moe_text": HYBRID,
    "qwen3_5_text": HYBRID,
    "qwen3_next": HYBRID,
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [16, 16],
        "attention_head_size": 8,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "xlstm": {"hidden_size": 128, "num_heads": 2},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_hidden_layers": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
}


def causal_configs() -> list[type[PreTrainedConfig]]:
    """Config classes of all architectures that `AutoModelForCausalLM` knows, by model type."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING.keys(), key=lambda kind: kind.model_type)


def small_config(kind: type[PreTrainedConfig]) -> PreTrainedConfig:
    """A config with all sizes small. Raises whatever the class has against it."""
    known = set(inspect.signature(kind.__init__).parameters)
    given = {name: value for name, value in SMALL.items() if name in known}
    if "qk_rope_head_dim" in known:
        given.pop("head_dim", None)  # derived
        given["num_key_value_heads"] = 4
    for part, part_kind in kind.sub_configs.items():
        if part not in SPECIAL.get(kind.model_type, {}) and issubclass(part_kind, PreTrainedConfig):
            with contextlib.suppress(Exception):
                given[part] = small_config(part_kind).to_dict()
    given |= SPECIAL.get(kind.model_type, {})
    return kind(**given)


def parameters(config: PreTrainedConfig) -> int:
    """How many the architecture would have; none is allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
