"""Tiny models with random weights, as real MLX folders: the fixture of tests that need an engine.

`build("qwen3", root)` writes what a converted model on the Hub has: config.json, weights with their
index, generation_config.json, a ByteLevel BPE tokenizer and a ChatML template with tools and
thinking. The classes are mlx-lm's own, the numbers float32. Nothing is fetched, and the same
arguments give the same bytes. mlx is imported only when something is built.

Weights are N(0, 2 / fan_in), so that logits are not flat: with mlx-lm's default initialisation the
best and the second token differ by less than rounding, and a greedy test would compare noise.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tiny_tokenizer import VOCAB_SIZE, write_tokenizer

ARCHITECTURES = (
    "llama",
    "mistral",
    "qwen3",
    "qwen3_moe",
    "gemma3_text",
    "qwen3_5",
    "nemotron_h",
    "mamba2",
    "gpt_oss",
    "deepseek_v3",
    "llama4",
)

WINDOW = 16  # of the sliding layers: shorter than the prompts of the tests


def build(
    arch: str,
    root: Path,
    *,
    seed: int = 0,
    vocab_size: int = VOCAB_SIZE,
    shards: int = 1,
    bits: int | None = None,
    endless: bool = False,
    **overrides: Any,
) -> Path:
    """The folder of a tiny model of `arch`, built under `root` unless it is already there.

    `overrides` replace keys of config.json (`hidden_size=128`); `bits` quantises the weights with
    mlx's affine mode; `shards` splits them over files. An `endless` model never ends by itself and
    writes plain ASCII: its end token has the id just beyond the model's vocabulary, so no sampler
    of any server can choose it; it has no markers for thinking and tools.

    Raises ValueError for an unknown architecture.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"no tiny {arch!r}: choose one of {', '.join(ARCHITECTURES)}")
    choice = {
        "seed": seed,
        "vocab_size": vocab_size,
        "shards": shards,
        "bits": bits,
        "endless": endless,
        **overrides,
    }
    key = hashlib.sha256(json.dumps(choice, sort_keys=True).encode()).hexdigest()[:8]
    folder = root / f"tiny-{arch.replace('_', '-')}-{key}"
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".building-", dir=root))
    try:
        eos = write_tokenizer(unfinished, vocab_size=vocab_size, endless=endless)
        config = {**config_of(arch, vocab_size), **overrides, "eos_token_id": eos}
        config["torch_dtype"] = "float32"
        _write_weights(unfinished, config, seed=seed, shards=shards, bits=bits)
        _write_json(unfinished / "config.json", config)
        _write_json(unfinished / "generation_config.json", {"eos_token_id": eos})
        unfinished.chmod(0o755)
        try:
            unfinished.rename(folder)
        except OSError:  # another process was faster; both built the same bytes
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def config_of(arch: str, vocab_size: int = VOCAB_SIZE) -> dict[str, Any]:
    """config.json of a tiny model of `arch`, without `eos_token_id`."""
    common: dict[str, Any] = {
        "model_type": arch,
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    }
    match arch:
        case "llama" | "mistral":
            return common | {"rope_theta": 10_000.0}
        case "qwen3":
            return common | {"rope_theta": 10_000.0, "tie_word_embeddings": True}
        case "qwen3_moe":
            return common | {
                "rope_theta": 10_000.0,
                "num_experts": 4,
                "num_experts_per_tok": 2,
                "decoder_sparse_step": 1,
                "mlp_only_layers": [0],
                "moe_intermediate_size": 64,
                "norm_topk_prob": True,
            }
        case "gemma3_text":
            return common | {
                "num_hidden_layers": 5,
                "query_pre_attn_scalar": 16,
                "sliding_window": WINDOW,
                "sliding_window_pattern": 3,  # layers 0, 1, 3, 4 slide, layer 2 sees everything
            }
        case "qwen3_5":
            text = common | {
                "model_type": "qwen3_5_text",
                "linear_num_value_heads": 4,
                "linear_num_key_heads": 2,
                "linear_key_head_dim": 32,
                "linear_value_head_dim": 32,
                "linear_conv_kernel_dim": 4,
                "full_attention_interval": 2,
            }
            return {"model_type": arch, "vocab_size": vocab_size, "text_config": text}
        case "nemotron_h":
            return common | {
                "hybrid_override_pattern": "M*M-",
                "attention_bias": False,
                "mamba_num_heads": 4,
                "mamba_head_dim": 32,
                "mamba_proj_bias": False,
                "ssm_state_size": 32,
                "conv_kernel": 4,
                "n_groups": 2,
                "mlp_bias": False,
                "layer_norm_epsilon": 1e-5,
                "use_bias": False,
                "use_conv_bias": True,
            }
        case "mamba2":
            return {
                "model_type": arch,
                "vocab_size": vocab_size,
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 4,
                "num_heads": 4,
                "head_dim": 32,
                "state_size": 32,
                "layer_norm_epsilon": 1e-5,
                "conv_kernel": 4,
                "n_groups": 1,
                "use_bias": False,
                "use_conv_bias": True,
                "tie_word_embeddings": True,
                "time_step_limit": [0.0, 1e30],
                "time_step_rank": "auto",
                "max_position_embeddings": 4096,
            }
        case "gpt_oss":
            return common | {
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "sliding_window": WINDOW,
                "rope_theta": 150_000,
                "layer_types": ["sliding_attention", "full_attention"] * 2,
            }
        case "deepseek_v3":
            return common | {
                "num_key_value_heads": 4,
                "moe_intermediate_size": 64,
                "n_shared_experts": 1,
                "n_routed_experts": 4,
                "num_experts_per_tok": 2,
                "routed_scaling_factor": 1.0,
                "kv_lora_rank": 32,
                "q_lora_rank": 32,
                "qk_rope_head_dim": 16,
                "qk_nope_head_dim": 16,
                "v_head_dim": 16,
                "n_group": 1,
                "topk_group": 1,
                "first_k_dense_replace": 1,
                "rope_theta": 10_000.0,
            }
        case "llama4":
            text = common | {
                "model_type": "llama4_text",
                "attention_bias": False,
                "attention_chunk_size": WINDOW,  # of layers 0 to 2; layer 3 sees everything
                "interleave_moe_layer_step": 2,
                "intermediate_size_mlp": 128,
                "num_experts_per_tok": 1,
                "num_local_experts": 4,
                "rope_scaling": None,
                "rope_theta": 10_000.0,
                "use_qk_norm": True,
            }
            return {"model_type": arch, "vocab_size": vocab_size, "text_config": text}
    raise ValueError(f"no tiny {arch!r}")


# ---- weights


def _write_weights(
    folder: Path, config: dict[str, Any], *, seed: int, shards: int, bits: int | None
) -> None:
    """model.safetensors (or `shards` of them) and its index; `bits` adds "quantization"."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten, tree_unflatten

    # mlx-lm's loader reads a mistral as a llama.
    module = {"mistral": "llama"}.get(config["model_type"], config["model_type"])
    source = importlib.import_module(f"mlx_lm.models.{module}")
    mx.random.seed(seed)  # some classes draw parameters themselves
    # A copy: some classes change the lists and dicts that they are given.
    model = source.Model(source.ModelArgs.from_dict(json.loads(json.dumps(config))))
    drawn = []
    for number, (name, value) in enumerate(tree_flatten(model.parameters())):
        drawn.append((name, _draw(name, value, mx.random.key(seed * 1_000_003 + number))))
    model.update(tree_unflatten(drawn))
    if bits is not None:
        config["quantization"] = {"group_size": 32, "bits": bits, "mode": "affine"}
        nn.quantize(model, group_size=32, bits=bits)
    weights = dict(tree_flatten(model.parameters()))
    mx.eval(weights)

    names = sorted(weights)
    if shards == 1:
        files = {"model.safetensors": names}
    else:
        files = {
            f"model-{number + 1:05d}-of-{shards:05d}.safetensors": names[number::shards]
            for number in range(shards)
        }
    for file, members in files.items():
        part = {name: weights[name] for name in members}
        mx.save_safetensors(str(folder / file), part, metadata={"format": "mlx"})
    index = {
        "metadata": {"total_size": sum(value.nbytes for value in weights.values())},
        "weight_map": {name: file for file, members in files.items() for name in members},
    }
    _write_json(folder / "model.safetensors.index.json", index)


def _draw(name: str, value: Any, key: Any) -> Any:
    """Random numbers in the place of one parameter."""
    import mlx.core as mx

    noise = mx.random.normal(value.shape, key=key)
    if name.endswith("A_log"):
        # Slow decay: with the default initialisation a state-space layer forgets within a few
        # tokens, and a test would not notice a history that was lost.
        return mx.log(mx.linspace(0.02, 0.3, value.size))
    if name.endswith("sinks"):
        return noise
    if value.ndim < 2:
        return value + 0.05 * noise  # norms stay about one, biases about zero
    # Last axis in: Linear and Embedding (out, in), experts (expert, out, in); convolutions are
    # (out, taps, in).
    fan_in = value.shape[-1] * (value.shape[-2] if "conv1d" in name else 1)
    return math.sqrt(2 / fan_in) * noise


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + os.linesep, encoding="utf-8")
