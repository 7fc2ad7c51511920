"""Which files of a repository are fetched, and whether their names can be trusted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatch

import msgspec

from ..protocol.errors import DownloadFailed, ModelFailed

# What mlx-lm fetches, without code: models come as data here. And sentence-transformers' layers.
PATTERNS = (
    "*.json",
    "*.jsonl",
    "*.jinja",
    "*.txt",
    "*.model",
    "*.tiktoken",
    "model*.safetensors",
    "*_Dense/model.safetensors",
)
WEIGHTS = "model*.safetensors"
_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MAX_PART = 200  # bytes; file systems take 255, and we append a suffix


class RemoteFile(msgspec.Struct, frozen=True):
    name: str  # within the repository, with slashes
    size_bytes: int
    digest: str  # sha256 of the content for LFS files, else git's sha1; names the blob in the cache


class Plan(msgspec.Struct, frozen=True):
    """What a model is made of, at one commit."""

    model: str  # Hub id
    revision: str | None  # as it was asked for
    commit: str
    files: list[RemoteFile]

    @property
    def blobs(self) -> dict[str, RemoteFile]:
        """Each content once: digest → a file that has it."""
        return {file.digest: file for file in self.files}

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.blobs.values())


def make_plan(model: str, revision: str | None, commit: str, files: Iterable[RemoteFile]) -> Plan:
    """The files that a model needs, of all that its repository has.

    Raises DownloadFailed for a repository whose names would lead out of their folder, ModelFailed
    for one without MLX weights.
    """
    everything = list(files)
    for file in everything:
        if not is_harmless(file.name):
            raise DownloadFailed(
                f"{model} has a file named {file.name[:100]!r}, which would not stay in its "
                "folder. Nothing was fetched."
            )
    for what in (commit, *(file.digest for file in everything)):
        if not _HEX.fullmatch(what):
            raise DownloadFailed(f"The Hub's answer about {model} makes no sense: {what[:80]!r}.")
    wanted = [file for file in everything if any(fnmatch(file.name, each) for each in PATTERNS)]
    if not any(fnmatch(file.name, WEIGHTS) for file in wanted):
        raise ModelFailed(f"{model} has no MLX weights: there is no {WEIGHTS} in it.")
    return Plan(model, revision, commit, wanted)


def is_harmless(name: str) -> bool:
    """Whether a file of this name lies below the folder that it is put into, on every system."""
    return all(
        part not in ("", ".", "..")
        and len(part.encode("utf-8", "replace")) <= _MAX_PART
        and not re.search(r"[\\:\x00-\x1f\ud800-\udfff]", part)
        for part in name.split("/")
    )
