"""The chat templates that a model's folder brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..protocol.errors import ModelFailed

CONFIG = "tokenizer_config.json"


def chat_templates(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Name ("default", "tool_use" …) → source. `config` is the content of tokenizer_config.json.

    In transformers' order: chat_template.jinja, then the older JSON file, then the config.
    Raises ModelFailed for files that cannot be read.
    """
    templates: dict[str, str] = {}
    for listed in (config.get("chat_template"), read_json(folder / "chat_template.json")):
        if isinstance(listed, dict):
            listed = listed.get("chat_template")
        if isinstance(listed, str):
            templates["default"] = listed
        elif isinstance(listed, list):
            for entry in listed:
                match entry:
                    case {"name": str(name), "template": str(template)}:
                        templates[name] = template
    for file in (folder / "additional_chat_templates").glob("*.jinja"):
        templates[file.stem] = read_text(file)
    file = folder / "chat_template.jinja"
    if file.exists():
        templates["default"] = read_text(file)
    return templates


def read_text(file: Path) -> str:
    """Raises ModelFailed."""
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ModelFailed(f"{file} cannot be read: {error}") from error


def read_json(file: Path) -> dict[str, Any]:
    """The file's object; {} when there is no file. Raises ModelFailed."""
    if not file.exists():
        return {}
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise ModelFailed(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelFailed(f"{file} does not hold a JSON object.")
    return content
