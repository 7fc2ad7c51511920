"""The models that benchmarks run: random weights in real folders, built where they are missing.

They never end by themselves and write ASCII, so that every server generates what it was asked
for. Built by `tests/tiny.py`, the one place that builds models.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import tiny

SIZES: dict[str, dict[str, Any]] = {
    # For the tests of the scripts.
    "smallest": {"vocab_size": 1024},
    # 0.1 M parameters: for what is counted and not timed.
    "narrow": {
        "vocab_size": 2048,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 65536,
    },
    # 2.0 M parameters: serving overhead dominates.
    "small": {
        "vocab_size": 2048,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 32768,
    },
    # 29 M parameters: the forward pass dominates.
    "medium": {
        "vocab_size": 2048,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 9,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": 32768,
    },
    # 23 M parameters: attention to 4,096 tokens adds 0.4 of what the rest of a chunk of 16 costs,
    # where it is six times the rest in "small" (MLX's softmax is slow on the CPU). Counted in FLOPs
    # it is an eighth in a model of 8 B.
    "wide": {
        "vocab_size": 2048,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 128,
        "max_position_embeddings": 65536,
    },
    # 107 M parameters, 0.43 GB: to read.
    "large": {
        "vocab_size": 2048,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 32768,
    },
}


def folder_of(name: str) -> Path:
    """The folder of one of SIZES (built under the temporary directory), or `name` as a folder.

    Raises FileNotFoundError when it is neither.
    """
    if name in SIZES:
        root = Path(tempfile.gettempdir()) / "fastmlx-bench-models"
        return tiny.build("qwen3", root, endless=True, **SIZES[name])
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{name} is neither a model folder nor one of {', '.join(SIZES)}")
    return folder.resolve()
