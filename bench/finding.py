"""What was found out about one model file of mlx-lm: data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Finding:
    """What the engine can do with a file. Where `reason` says why not, the rest is not known."""

    file: str
    model: bool = True  # whether the file has a model at all
    text_part: bool = False  # of a multimodal model, of which only the text part runs
    loads: bool = False
    batches: str = "–"  # "one forward", "group by group", "row by row"
    mixes: bool = False  # a chunk of a prompt takes part in a decode step
    packs: bool = False  # several short prompts in one prefill
    prefix: str = "–"  # where a prefix can be taken up: "any token", "checkpoint", "no"
    exact: bool | None = None
    compared: int = 0  # tokens, up to the first tie that went the other way
    reason: str = ""
    seconds: float = 0.0
