"""A model folder is somebody else's: what in it must not be opened, and what leads out of it.

The Hub's cache links the files of a snapshot to blobs of the same repository. Weights may lie
anywhere, as files: people keep them on other disks, and they are numbers. All other files are texts
that end up in prompts, so a link from them to another place of this machine is refused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..protocol.errors import ModelFailed

MAX_FILES = 10_000
# Of texts, which are read as a whole: a hundred times what honest ones have.
_SMALL, _LARGE = 16 << 20, 128 << 20
MAX_BYTES = {
    "tokenizer_config.json": _SMALL,
    "generation_config.json": _SMALL,
    "chat_template.json": _SMALL,
    "chat_template.jinja": _SMALL,
    "tokenizer.json": _LARGE,
    "model.safetensors.index.json": _LARGE,
}
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MAX_PARTS = 10_000
# num_hidden_layers, n_layer, num_local_experts, num_attention_heads …; a block_size may be large.
_OF_PARTS = re.compile(r"(num|n)_(\w+_)?(layer|expert|block|head|group|stage)s?(_\w+)?|depth")
_MODEL_TYPE = re.compile(r"[\w.-]{1,100}")


def check_files(folder: Path) -> None:
    """Raises ModelFailed for a link that leads out, for what is neither file nor folder (to read a
    pipe would wait for ever), and for texts that fill the memory."""
    home = folder.resolve()
    # …/models--org--name/snapshots/COMMIT
    home = home.parent.parent if home.parent.name == "snapshots" else home
    seen = 0
    for place, folders, names in os.walk(folder):
        for name in folders:
            _check_link(Path(place) / name, home)
        for name in names:
            seen += 1
            if seen > MAX_FILES:
                raise ModelFailed(f"{folder} has more than {MAX_FILES} files: it is no model.")
            file = Path(place) / name
            try:
                found = file.stat()
            except OSError:
                continue  # a link to nothing: what needs the file says so
            if not stat.S_ISREG(found.st_mode):
                raise ModelFailed(f"{file} is not a regular file.")
            if (most := MAX_BYTES.get(name)) is not None and found.st_size > most:
                raise ModelFailed(f"{file} is larger than {most >> 20} MiB.")
            if not name.endswith(".safetensors"):
                _check_link(file, home)


def _check_link(path: Path, home: Path) -> None:
    if path.is_symlink() and not (target := path.resolve()).is_relative_to(home):
        raise ModelFailed(
            f"{path} links to {target}, which is outside of the model's folder. Put a copy of it "
            "there."
        )


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises ModelFailed for a model that brings code of its own, which is never run, and for one
    of so many parts that making them would fill the memory before a weight is read."""
    if config.get("model_file") is not None:
        raise ModelFailed(
            f"{folder} wants to run a program of its own (model_file in its config.json). fastmlx "
            "never runs code that comes with a model."
        )
    if (absurd := _absurd(config)) is not None:
        raise ModelFailed(f"{folder / 'config.json'} says {absurd}, which no model has.")
    if not _MODEL_TYPE.fullmatch(str(config["model_type"])):
        raise ModelFailed(f"{folder / 'config.json'} names no model_type that there could be.")


def _absurd(config: Mapping[str, Any]) -> str | None:
    """A number of layers, experts and the like that there cannot be."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            if (found := _absurd(value)) is not None:
                return found
        elif isinstance(value, int) and abs(value) > MAX_PARTS and _OF_PARTS.fullmatch(key):
            return f"that {key[:100]} is more than {MAX_PARTS:,}"
    return None


def no_weights(folder: Path, pattern: str) -> ModelFailed:
    """What to say of a folder without them."""
    pickles = sorted(each.name for each in folder.iterdir() if each.suffix in PICKLES)
    if not pickles:
        return ModelFailed(f"{folder} has no weights: there is no {pattern} in it.")
    return ModelFailed(
        f"{folder} has its weights as pickles ({', '.join(pickles[:3])}). Those are programs, and "
        "fastmlx never runs them: convert them to safetensors where you trust them."
    )
