"""A checkpoint of train.py → the shipped folder: `python -m fastmlx.daemon.demo.export OUT`."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]  # an extra
from safetensors.torch import save_file  # pyright: ignore[reportMissingImports]  # an extra
from tokenizers import Tokenizer

from . import MODEL_DIR
from .network import Shape

CARD = """# builtin:demo

The small model that ships with fastmlx: a toy that proves an installation. Qwen3 architecture,
{parameters:,} parameters, trained from nothing by `daemon/demo/train.py` on the text that
`daemon/demo/corpus` generates. It knows itself, fastmlx, small sums, copying, JSON and tool
calls, and nothing else.
"""


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--to", type=Path, default=MODEL_DIR)
    options = parser.parse_args()
    export(options.out, options.to)


def export(trained: Path, folder: Path) -> None:
    """Write the model in the form that mlx-lm and transformers load."""
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    shape = Shape(vocab_size=tokenizer.get_vocab_size())
    end = tokenizer.token_to_id("<|im_end|>")
    pad = tokenizer.token_to_id("<|endoftext|>")
    state = torch.load(trained / "checkpoint.pt")["model"]
    weights = {f"model.{name}": weight.bfloat16().contiguous() for name, weight in state.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "mlx"})
    (folder / "model.safetensors").chmod(0o644)
    template = (MODEL_DIR / "chat_template.jinja").read_text(encoding="utf-8")
    _write(
        folder / "config.json",
        {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            **shape.as_dict(),
            "attention_bias": False,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": end,
            "pad_token_id": pad,
            "torch_dtype": "bfloat16",
        },
    )
    _write(
        folder / "generation_config.json",
        {"eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": False},
    )
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.max_position_embeddings,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
            "clean_up_tokenization_spaces": False,
            "chat_template": template,
        },
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    parameters = sum(weight.numel() for weight in weights.values())
    (folder / "README.md").write_text(CARD.format(parameters=parameters), encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{parameters:,} parameters, {size:,} bytes in the folder")


def _write(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
