"""Small configurations for the model files that mlx-lm ships: data, and how it is put together.

Most files want the same keys under some of the names that the years have brought; `COMMON` has
them all. `OWN` has what a file needs besides, mostly lists with an entry a layer. Windows, chunks,
steps of scales and top-k of indexers are smaller than the longest prompts, so that what they cut
off is cut off.
"""

from __future__ import annotations

import dataclasses
from typing import Any

VOCAB_SIZE = 512
LAYERS = 4
WINDOW = 16

Config = dict[str, Any]

COMMON: Config = {
    "vocab_size": VOCAB_SIZE,
    "num_vocab": VOCAB_SIZE,
    "vocab_size_per_layer_input": VOCAB_SIZE,
    **dict.fromkeys(("hidden_size", "hidden_dim", "d_model", "n_embd", "model_dim"), 64),
    **dict.fromkeys(
        ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_transformer_layers"), LAYERS
    ),
    **dict.fromkeys(
        ("num_attention_heads", "num_heads", "n_heads", "n_head", "swa_num_attention_heads"), 4
    ),
    **dict.fromkeys(
        ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "swa_num_key_value_heads"), 2
    ),
    "num_attention_groups": 2,
    **dict.fromkeys(("head_dim", "kv_channels", "hidden_size_per_head"), 16),
    **dict.fromkeys(("swa_head_dim", "swa_v_head_dim"), 16),
    # feed-forward layers and experts
    **dict.fromkeys(
        ("intermediate_size", "n_inner", "mlp_hidden_size", "ff_intermediate_size"), 128
    ),
    **dict.fromkeys(("dense_intermediate_size", "intermediate_size_mlp", "ffn_hidden_size"), 128),
    **dict.fromkeys(
        (
            "moe_intermediate_size",
            "shared_intermediate_size",
            "shared_expert_intermediate_size",
            "moe_shared_expert_intermediate_size",
            "expert_ffn_hidden_size",
            "share_expert_dim",
            "moe_hidden_size",
        ),
        64,
    ),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(
        ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k"), 2
    ),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "num_shared_expert"), 1),
    **dict.fromkeys(("n_group", "topk_group", "moe_layer_freq", "decoder_sparse_step"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), 1),
    "mlp_only_layers": [0],
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    # latent attention
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), 32),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 16),
    "index_head_dim": 16,
    "index_n_heads": 4,
    "index_topk": 24,
    # recurrent layers
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 32),
    **dict.fromkeys(("linear_conv_kernel_dim", "conv_kernel", "mamba_d_conv", "conv1d_width"), 4),
    "conv_L_cache": 3,
    "conv_bias": True,
    **dict.fromkeys(("state_size", "ssm_state_size", "mamba_d_state"), 32),
    **dict.fromkeys(("mamba_num_heads", "mamba_n_heads"), 4),
    **dict.fromkeys(("mamba_head_dim", "mamba_d_head"), 32),
    "mamba_d_ssm": 128,
    "mamba_expand": 2,
    **dict.fromkeys(("n_groups", "mamba_n_groups"), 1),
    **dict.fromkeys(("mamba_proj_bias", "use_bias"), False),
    **dict.fromkeys(("mamba_conv_bias", "use_conv_bias"), True),
    # windows
    **dict.fromkeys(
        (
            "sliding_window",
            "sliding_window_size",
            "window_size",
            "attention_window_size",
            "attention_chunk_size",
            "loop_window_size",
        ),
        WINDOW,
    ),
    "sliding_window_pattern": 2,
    "full_attention_interval": 2,
    # positions, norms, biases
    **dict.fromkeys(
        (
            "max_position_embeddings",
            "original_max_position_embeddings",
            "n_positions",
            "n_ctx",
            "block_size",
            "model_max_length",
        ),
        4096,
    ),
    **dict.fromkeys(("rope_theta", "rope_local_base_freq", "swa_rope_theta"), 10_000.0),
    "rotary_emb_base": 10_000,
    **dict.fromkeys(("rotary_pct", "partial_rotary_factor"), 0.5),
    "rotary_dim": 8,
    "rope_scaling": None,
    "floor_scale": 2 * WINDOW,  # positions from one scale of the queries to the next
    **dict.fromkeys(
        (
            "rms_norm_eps",
            "layer_norm_eps",
            "layer_norm_epsilon",
            "layernorm_epsilon",
            "norm_eps",
            "norm_epsilon",
        ),
        1e-5,
    ),
    **dict.fromkeys(("attention_bias", "mlp_bias", "use_qkv_bias", "use_qk_norm"), False),
    **dict.fromkeys(("qk_norm", "post_norm"), True),
    "tie_word_embeddings": False,
    # multipliers
    "query_pre_attn_scalar": 16,
    "attention_multiplier": 0.25,
    **dict.fromkeys(
        ("logits_scaling", "embedding_multiplier", "residual_multiplier", "scale_emb"), 1.0
    ),
    "scale_depth": 1.4,
    "dim_model_base": 64,
    "num_nextn_predict_layers": 0,
}

SLIDING = ["sliding_attention", "full_attention"] * (LAYERS // 2)
LINEAR = ["linear_attention", "full_attention"] * (LAYERS // 2)
CONV = ["conv", "full_attention"] * (LAYERS // 2)
ROPES = {
    "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}
KIMI_LINEAR: Config = {
    "kda_layers": [1, 3],  # counted from one
    "full_attn_layers": [2, 4],
    "num_heads": 4,
    "head_dim": 16,
    "short_conv_kernel_size": 4,
}
MLA = {"num_key_value_heads": 4}
SWITCHED: Config = {"moe_layer_freq": [0, 1, 1, 1]}
GEMMA4: Config = {
    "num_kv_shared_layers": 2,
    "global_head_dim": 32,
    "hidden_size_per_layer_input": 16,
    "layer_types": SLIDING,
}
LONG_ROPE: Config = {
    "short_factor": [1.0] * 8,
    "long_factor": [2.0] * 8,
    "original_max_position_embeddings": 4096,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 2 * WINDOW,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}

OWN: dict[str, Config] = {
    "afm7": {"num_kv_reuse_layers": 2, "hidden_dim_scale_factor": 2.0},
    "afmoe": {"layer_types": SLIDING},
    "baichuan_m1": {"sliding_window_layers": [0, 2], "conv_window": 2},
    "bailing_hybrid": {**MLA, "layer_group_size": 2, "group_norm_size": 2},
    "bailing_moe_linear": {"layer_group_size": 2, "group_norm_size": 2},
    "bailing_moe_v3": {"layer_group_size": 2},
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 128, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10_000.0},
    },
    "deepseek_v2": {**MLA, "topk_method": "greedy", "rope_scaling": YARN},
    "deepseek_v3": MLA,
    "deepseek_v32": MLA,
    "exaone4": {"sliding_window_pattern": "LG"},
    "exaone_moe": {"layer_types": SLIDING, "is_moe_layer": [False, True, True, True]},
    "gear": {"layer_types": ["conv_mixer", "sliding_attention", "conv_mixer", "full_attention"]},
    "gemma4_text": GEMMA4,
    "glm_moe_dsa": {**MLA, "rope_parameters": {"rope_theta": 10_000.0}},
    "glm4_moe_lite": MLA,
    "gpt_oss": {"layer_types": SLIDING},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * (LAYERS // 2)},
    "hunyuan": {
        "use_mixed_mlp_moe": True,
        "use_cla": True,
        "cla_share_factor": 2,
        "rope_scaling": {"type": "dynamic", "factor": 1.0, "alpha": 1000.0},
    },
    "jamba": {
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
    },
    "kimi_linear": {**MLA, "linear_attn_config": KIMI_LINEAR},
    "lfm2": {
        "layer_types": CONV,
        "block_dim": 64,
        "block_multiple_of": 16,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": True,
        "block_ff_dim": 128,
    },
    "lfm2_moe": {"layer_types": CONV, "use_expert_bias": True},
    "llama": {"layer_types": SLIDING},
    "llama4_text": {"no_rope_layers": [1, 1, 1, 0]},
    "longcat_flash": {
        "attention_method": "MLA",
        "zero_expert_type": "identity",
        "zero_expert_num": 2,
        "mla_scale_q_lora": True,
        "mla_scale_kv_lora": True,
    },
    "longcat_flash_ngram": {
        "zero_expert_num": 2,
        "mla_scale_q_lora": True,
        "mla_scale_kv_lora": True,
        "ngram_vocab_size_ratio": 2,
        "emb_neighbor_num": 3,
        "emb_split_num": 2,
    },
    "mamba": {"time_step_rank": 4, "use_bias": False},
    "mamba2": {
        "head_dim": 32,
        "time_step_limit": [0.0, 1e30],
        "time_step_rank": "auto",
    },
    "mellum": {"layer_types": SLIDING, "rope_parameters": ROPES},
    "mimo_v2_flash": {
        **SWITCHED,
        "hybrid_layer_pattern": [0, 1, 0, 1],
        "add_swa_attention_sink_bias": True,
        "add_full_attention_sink_bias": False,
    },
    "minicpm3": {**MLA, "rope_scaling": {"type": "longrope"} | LONG_ROPE},
    "ministral3": {"layer_types": SLIDING, "rope_parameters": YARN},
    "mistral4": {**MLA, "rope_parameters": YARN},
    "muse_glimmer": {"layer_types": SLIDING, "layer_rope_theta": [10_000.0, 0.0] * 2},
    "nemotron": {"hidden_act": "relu2"},
    "nemotron-nas": {
        "block_configs": [
            {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 2.0}},
            {"attention": {"no_op": True}, "ffn": {"ffn_mult": 1.0}},
            {"attention": {"replace_with_linear": True}, "ffn": {"no_op": True}},
            {"attention": {"n_heads_in_group": 4}, "ffn": {"replace_with_linear": True}},
        ]
    },
    "nemotron_h": {"hybrid_override_pattern": "M*ME", "moe_shared_expert_intermediate_size": 64},
    "olmo3": {"layer_types": SLIDING},
    "olmo_hybrid": {"layer_types": LINEAR, "linear_allow_neg_eigval": True},
    "openelm": {
        "ffn_dim_divisor": 16,
        "num_query_heads": [4] * LAYERS,
        "num_kv_heads": [2] * LAYERS,
        "ffn_multipliers": [2.0] * LAYERS,
    },
    "phi3small": {
        "vocab_size": 100_352,  # the file writes to logits of this many
        "dense_attention_every_n_layers": 2,
        "gegelu_limit": 20.0,
        "blocksparse_block_size": 64,
        "blocksparse_num_local_blocks": 2,
        "blocksparse_vert_stride": 2,
    },
    "phimoe": {
        "rope_scaling": {"type": "longrope", "short_mscale": 1.0, "long_mscale": 1.0} | LONG_ROPE
    },
    "phixtral": {"rotary_dim": 8},
    "plamo": {"n_shared_head": 2},
    "plamo2": {"full_attention_idx": [1]},
    "prism_hadamard_qwen35": {
        "tensor_namespace": "mlx-vlm-qwen3_5",
        "quantization": {"bits": 2, "group_size": 128, "mode": "affine"},
        "modules": [
            {
                "path": "model.layers.0.mlp.down_proj",
                "embedding": False,
                "dtype": "float16",
                "block": 512,
            }
        ],
    },
    "recurrent_gemma": {
        "logits_soft_cap": 30.0,
        "block_types": ["recurrent", "attention"],
        "num_key_value_heads": 1,
    },
    "rwkv7": {
        "a_low_rank_dim": 8,
        "v_low_rank_dim": 8,
        "gate_low_rank_dim": 8,
        "decay_low_rank_dim": 8,
    },
    "spark2_5": {"layer_types": SLIDING, "rope_parameters": ROPES},
    "smollm3": {"no_rope_layer_interval": 2},
    "stablelm": {},
    "step3p5": {"layer_types": SLIDING, "moe_layers_enum": "1,2,3"},
    "talkie": {"num_key_value_heads": 4},
    "youtu_llm": MLA,
}

# Files of multimodal models: of these only the text part runs. File → what `text_config` has.
TEXT_PARTS: dict[str, Config] = {
    "gemma3": {"model_type": "gemma3_text"},
    "gemma3n": {
        "model_type": "gemma3n_text",
        "num_kv_shared_layers": 2,
        "final_logit_softcapping": 30.0,
        "layer_types": SLIDING,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
        "hidden_size_per_layer_input": 16,
        "altup_num_inputs": 2,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "altup_active_idx": 0,
        "laurel_rank": 8,
    },
    "gemma4": {"model_type": "gemma4_text", **GEMMA4},
    "kimi_k25": {**MLA, "model_type": "deepseek_v3"},
    "kimi_k3": {
        **MLA,
        "model_type": "kimi_linear",
        "linear_attn_config": KIMI_LINEAR,
        "activation_situ_beta": 1.0,
        "activation_situ_linear_beta": 1.0,
        "attn_res_block_size": 2,
        "routed_expert_hidden_size": 32,
    },
    "kimi_vl": MLA,
    "lfm2-vl": {"model_type": "lfm2", **OWN["lfm2"]},
    "llama4": {
        "model_type": "llama4_text",
        "interleave_moe_layer_step": 2,
        "num_experts_per_tok": 1,
    },
    "minimax_m3_vl": {
        "layer_types": ["full_attention", "sparse"] * 2,
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
        "index_block_size": 8,
        "index_topk_blocks": 3,
    },
    "mistral3": {"model_type": "llama"},
    "muse_spark": {
        "post_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10_000.0},
        "layer_rope_theta": [10_000.0, 0.0] * 2,
        "layer_types": SLIDING,
        "final_logit_softcapping": 20.0,
        "output_multiplier": 1.0,
        "num_shared_experts": 0,
    },
    "pixtral": {"model_type": "llama"},
    "prism_hadamard_qwen35": {
        "model_type": "qwen3_5_text",
        "num_experts": 0,
        "intermediate_size": 512,
    },
    "qwen2_vl": {"model_type": "qwen2"},
    "qwen3_5": {"model_type": "qwen3_5_text", "num_experts": 0},
    "qwen3_5_moe": {"model_type": "qwen3_5_moe_text"},
    "qwen3_vl": {"model_type": "qwen3"},
    "qwen3_vl_moe": {"model_type": "qwen3_moe"},
}


def config_of(file: str, fields: set[str]) -> Config:
    """config.json of a tiny model of the module `file`, whose ModelArgs have these fields."""
    config = {key: value for key, value in COMMON.items() if key in fields}
    config |= OWN.get(file, {}) | {"model_type": file}
    if file in TEXT_PARTS:
        config["text_config"] = COMMON | {"model_type": file} | TEXT_PARTS[file]
    if file == "bailing_moe_v3":  # known to mlx-lm under this name
        config |= {"model_type": "bailing_hybrid", "architectures": ["BailingMoeV3ForCausalLM"]}
    return config


def fields_of(arguments: type) -> set[str]:
    """The keys that a ModelArgs class takes."""
    return {field.name for field in dataclasses.fields(arguments)}
