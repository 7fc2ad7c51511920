"""How much memory a model will take, from its config.json alone. Pure.

An estimate before the load; the engine's own figures replace it. Layer rules follow the
`make_cache` methods and attention of mlx-lm's models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .describe import ModelInfo

RESERVED_TOKENS = 8192  # KV room that a model gets before it has shown what it needs
ACTIVATION_SHARE = 1 / 16  # of the weights: a prefill chunk's activations and MLX's buffers
ACTIVATION_MIN_BYTES = 32 << 20

MOST = 1 << 31  # that a number of a config may be; none is any larger
MOST_BYTES = 1 << 48  # more than any machine has

# These architectures of mlx-lm decompress the latent before they cache it.
EXPANDED_LATENT = frozenset({"deepseek_v2", "minicpm3"})
FULL = frozenset({"full_attention", "attention", "global_attention", "global"})
SLIDING = frozenset({"sliding_attention", "chunked_attention", "sliding_window", "local"})


class KVShape(NamedTuple):
    """What a sequence keeps per layer and token."""

    full_layers: int  # grow with every token
    sliding_layers: int  # grow up to `window` tokens
    window: int
    bytes_per_layer: int  # of one token in one layer

    @property
    def bytes_per_token(self) -> int:
        """While every layer still grows."""
        return (self.full_layers + self.sliding_layers) * self.bytes_per_layer

    def bytes_of(self, tokens: int) -> int:
        """KV cache of one sequence of so many tokens."""
        held = self.full_layers * tokens + self.sliding_layers * min(tokens, self.window)
        return held * self.bytes_per_layer


def kv_shape(config: Mapping[str, Any]) -> KVShape:
    """Of a whole config.json; a conservative guess for what it does not say."""
    config = text_config(config)
    layers = _int(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers") or 32
    window = _int(config, "sliding_window", "sliding_window_size", "attention_window_size")
    full, sliding = _layers(config, layers, window)
    bytes_per_layer = min(MOST_BYTES, _numbers(config) * _bytes_per_number(config))
    return KVShape(full, sliding, window or 0, bytes_per_layer)


def load_bytes(info: ModelInfo, context: int | None, *, processes: int = 1, here: int = 1) -> int:
    """Memory that must be free before this model is started: weights, room for activations, and
    the KV cache of one sequence of `context` tokens (None: the model's own), at most 8,192.

    Each of several `processes` has its share of weights and KV; `here` is how many of them run on
    this machine."""
    tokens = min(context or info.context or RESERVED_TOKENS, RESERVED_TOKENS)
    weights = weights_need_bytes(info.weights_bytes / processes)
    return min(MOST_BYTES, int(here * (weights + info.kv.bytes_of(tokens) / processes)))


def weights_need_bytes(weights_bytes: float) -> float:
    """Weights and room for activations: all that can be said of a model that is not here."""
    return weights_bytes + max(ACTIVATION_MIN_BYTES, int(weights_bytes * ACTIVATION_SHARE))


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part about the language model, where a config nests it (vision models)."""
    for key in ("text_config", "llm_config", "language_config", "thinker_config"):
        nested = config.get(key)
        if isinstance(nested, Mapping):
            return {**config, **text_config(nested)}
    return config


def _layers(config: Mapping[str, Any], layers: int, window: int | None) -> tuple[int, int]:
    """(full, sliding) attention layers; the rest keep a state of fixed size."""
    shared = _int(config, "num_kv_shared_layers") or 0  # reuse another layer's cache
    types = config.get("layer_types") or config.get("layers_block_type")
    if isinstance(types, list) and types:
        own = types[: len(types) - shared] if shared < len(types) else types
        return sum(str(t) in FULL for t in own), sum(str(t) in SLIDING for t in own)
    layers = max(1, layers - shared)
    pattern = config.get("hybrid_override_pattern")  # nemotron_h: M, *, - and E
    if isinstance(pattern, str | list):
        return sum(block == "*" for block in pattern), 0
    chosen = config.get("full_attn_idxs") or config.get("attn_layer_indices")
    if isinstance(chosen, list):
        return len(chosen), 0
    if interval := _int(config, "full_attention_interval"):  # qwen3_next: the others are linear
        return layers // interval, 0
    if period := _int(config, "attn_layer_period"):  # jamba
        offset = _int(config, "attn_layer_offset") or 0
        return len(range(offset, layers, period)), 0
    linear = config.get("linear_attn_config")  # kimi_linear
    if isinstance(linear, Mapping) and isinstance(linear.get("full_attn_layers"), list):
        return len(linear["full_attn_layers"]), 0
    if config.get("model_type") in {"mamba", "mamba2", "rwkv7"}:
        return 0, 0
    every = _int(config, "sliding_window_pattern", "_sliding_window_pattern")
    if every is None and config.get("model_type") in {"gemma3", "gemma3_text"}:
        every = 6
    if window and every:
        return layers // every, layers - layers // every
    return layers, 0


def _numbers(config: Mapping[str, Any]) -> int:
    """Numbers kept per token by one attention layer."""
    heads = _int(config, "num_attention_heads", "n_head", "num_heads", "n_heads") or 32
    hidden = _int(config, "hidden_size", "n_embd", "d_model", "dim") or 4096
    latent = _int(config, "kv_lora_rank")
    if latent:  # MLA
        rope = _int(config, "qk_rope_head_dim") or 64
        if config.get("model_type") not in EXPANDED_LATENT:
            return latent + rope
        keys = (_int(config, "qk_nope_head_dim") or 128) + rope
        return heads * (keys + (_int(config, "v_head_dim") or hidden // heads))
    kv_heads = _int(config, "num_key_value_heads", "num_kv_heads", "n_kv_heads")
    if kv_heads is None:
        kv_heads = 1 if config.get("multi_query") else heads
    head_dim = _int(config, "head_dim", "attention_head_dim", "kv_channels") or hidden // heads
    return kv_heads * (head_dim + (_int(config, "v_head_dim") or head_dim))


def _bytes_per_number(config: Mapping[str, Any]) -> int:
    dtype = str(config.get("torch_dtype") or config.get("dtype") or "")
    # Quantised weights work on 16-bit activations whatever the original dtype was.
    quantized = config.get("quantization") or config.get("quantization_config")
    return 4 if dtype.endswith("float32") and not quantized else 2


def _int(config: Mapping[str, Any], *keys: str) -> int | None:
    """The first of `keys` that is a positive whole number, of a size that it may have; a list
    counts with its largest."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, list):  # one a layer
            value = max((v for v in value if isinstance(v, int)), default=None)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST:
            return value
    return None
