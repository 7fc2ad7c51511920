"""Model folders made by hand: the right files and headers, weights of zeros that take no disk."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


def write_safetensors(path: Path, tensors: dict[str, int], *, metadata: bool = True) -> None:
    """`tensors`: name → bytes (U8). The data is a hole in the file."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}} if metadata else {}
    end = 0
    for name, size in tensors.items():
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def write_model(folder: Path, *, weights_bytes: int = 1000, **config: Any) -> Path:
    """A folder that `describe` accepts; `config` goes over CONFIG, None removes a key."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {key: value for key, value in (CONFIG | config).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(whole))
    write_safetensors(folder / "model.safetensors", {"w": weights_bytes})
    return folder
