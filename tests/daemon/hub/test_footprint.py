"""KV bytes per token against what mlx-lm's own caches hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from fastmlx.daemon.hub.describe import describe, read_config
from fastmlx.daemon.hub.footprint import ACTIVATION_MIN_BYTES, kv_shape, load_bytes
from folders import write_model
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("config", "bytes_per_token"),
    [
        # Qwen3-8B: 36 layers, 8 heads of 128, keys and values, 16 bits
        (
            {
                "hidden_size": 4096,
                "num_hidden_layers": 36,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "torch_dtype": "bfloat16",
            },
            147_456,
        ),
        # Llama-2-7B: no grouped heads, no head_dim
        ({"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}, 524_288),
        # DeepSeek-V3: 61 layers of one latent of 512 and a rope key of 64
        (
            {
                "model_type": "deepseek_v3",
                "num_hidden_layers": 61,
                "num_attention_heads": 128,
                "kv_lora_rank": 512,
                "qk_rope_head_dim": 64,
            },
            61 * 576 * 2,
        ),
    ],
)
def test_well_known_models(config: dict[str, Any], bytes_per_token: int):
    assert kv_shape(config).bytes_per_token == bytes_per_token


def test_sliding_layers_stop_growing_at_their_window():
    config = {
        "model_type": "gemma3_text",
        "num_hidden_layers": 12,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "sliding_window": 100,
        "sliding_window_pattern": 6,
    }
    shape = kv_shape(config)
    assert (shape.full_layers, shape.sliding_layers, shape.window) == (2, 10, 100)
    assert shape.bytes_of(50) == 12 * 50 * 64
    assert shape.bytes_of(1000) == (2 * 1000 + 10 * 100) * 64


@pytest.mark.parametrize(
    ("config", "full"),
    [
        ({"num_hidden_layers": 48, "full_attention_interval": 4}, 12),
        ({"num_hidden_layers": 4, "hybrid_override_pattern": "M*-M*"}, 2),
        ({"num_hidden_layers": 32, "attn_layer_period": 8, "attn_layer_offset": 4}, 4),
        ({"num_hidden_layers": 16, "full_attn_idxs": [2, 5, 8]}, 3),
        ({"layer_types": ["mamba", "attention", "mamba"]}, 1),
        ({"model_type": "mamba2", "num_hidden_layers": 24}, 0),
        ({"linear_attn_config": {"full_attn_layers": [4, 8]}, "num_hidden_layers": 9}, 2),
    ],
)
def test_layers_without_attention_keep_nothing_per_token(config: dict[str, Any], full: int):
    assert kv_shape(config).full_layers == full


def test_an_empty_config_gets_a_conservative_guess():
    assert kv_shape({}).bytes_per_token == 32 * 2 * 4096 * 2


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "num_hidden_layers",
                "head_dim",
                "layer_types",
                "text_config",
                "sliding_window",
                "num_attention_heads",
                "hidden_size",
                "kv_lora_rank",
                "num_kv_shared_layers",
                "hybrid_override_pattern",
                "full_attention_interval",
                "torch_dtype",
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 100) | st.text(max_size=3) | st.floats(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=5,
        ),
    )
)
def test_no_config_however_odd_breaks_the_estimate(config: dict[str, Any]):
    assert kv_shape(config).bytes_of(100) >= 0


def test_a_load_needs_weights_room_for_activations_and_some_kv(tmp_path: Path):
    info = describe(write_model(tmp_path, weights_bytes=1 << 30))
    per_token = info.kv_bytes_per_token
    assert load_bytes(info, None) == (1 << 30) + (1 << 26) + 4096 * per_token
    assert load_bytes(info, 100) == (1 << 30) + (1 << 26) + 100 * per_token
    assert load_bytes(info, 1_000_000) == (1 << 30) + (1 << 26) + 8192 * per_token
    small = describe(write_model(tmp_path, weights_bytes=10))
    assert load_bytes(small, 1) == 10 + ACTIVATION_MIN_BYTES + per_token


def test_each_process_of_a_split_model_needs_its_share_on_the_machine_where_it_runs(tmp_path: Path):
    info = describe(write_model(tmp_path, weights_bytes=1 << 32))
    share = load_bytes(info, None) // 4
    assert load_bytes(info, None, processes=4, here=1) == share
    assert load_bytes(info, None, processes=4, here=4) == 4 * share
    small = describe(write_model(tmp_path, weights_bytes=10))
    assert load_bytes(small, 1, processes=2, here=2) >= 2 * ACTIVATION_MIN_BYTES


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_estimate_is_what_mlx_lm_keeps(tiny_model: Callable[..., Path], architecture: str):
    """A sequence shorter than any window, in the caches of the real model."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import load_model

    folder = tiny_model(architecture)
    model, _ = load_model(folder)
    cache = make_prompt_cache(model)
    tokens = 4
    model(mx.array([[1] * tokens]), cache=cache)
    kept = 0
    for layer in cache:
        if hasattr(layer, "keys") and layer.keys is not None:
            state = layer.keys[..., :tokens, :], layer.values[..., :tokens, :]
            kept += sum(array.nbytes for array in state)
    assert kv_shape(read_config(folder)).bytes_of(tokens) == kept
