"""Questions to the Hub, through its own client: what is a model made of, which models are there?

HF_ENDPOINT, HF_TOKEN, a stored token and HF_HUB_OFFLINE are the client's, which reads them when it
is imported; that takes a moment, so it is imported when the first question is asked. All blocking.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from ..protocol.errors import BadRequest, DownloadFailed
from .catalog import HUB_ID
from .explain import explain
from .files import Plan, RemoteFile, is_harmless, make_plan
from .redirects import hub_api

TIMEOUT_S = 20.0
MAX_RESULTS = 100
# Bytes of a number, as safetensors names its type.
_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8}

Format = Literal["mlx", "safetensors"]
Sort = Literal["downloads", "likes", "last_modified", "created_at", "trending_score"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A model on the Hub."""

    id: str
    downloads: int
    likes: int
    updated_ms: int | None
    license: str | None
    gated: bool
    task: str | None
    weights_bytes: int | None  # as the Hub has counted them; None when it has not


def ask_plan(id: str, revision: str | None) -> Plan:
    """The files of a model.

    Raises BadRequest, ModelNotFound, Forbidden, ModelFailed for one without MLX weights, or
    DownloadFailed.
    """
    if not HUB_ID.fullmatch(id) or ".." in id:
        raise BadRequest(
            f"'{id[:200]}' is not a Hub id: it looks like organisation/name.", param="id"
        )
    if revision is not None and not is_harmless(revision):
        raise BadRequest(f"'{revision[:200]}' is not a revision.", param="revision")
    try:
        api = hub_api()
        info = api.model_info(id, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        if info.gated:
            api.auth_check(id)
    except Exception as error:  # the client lets errors of its HTTP library through, too
        raise explain(id, revision, error) from error
    files = [_file(id, sibling) for sibling in info.siblings or ()]
    return make_plan(id, revision, info.sha or "", files)


def _file(id: str, sibling: Any) -> RemoteFile:
    digest = sibling.lfs["sha256"] if sibling.lfs else sibling.blob_id
    if not isinstance(sibling.size, int) or not isinstance(digest, str):
        raise DownloadFailed(f"The Hub says no size and checksum of {sibling.rfilename} of {id}.")
    return RemoteFile(sibling.rfilename, sibling.size, digest)


def ask_search(
    words: str, *, format: Format = "mlx", sort: Sort = "downloads", limit: int = 30
) -> list[Result]:
    """Models whose name has the words; those that were made for MLX, or all in safetensors.

    Raises Forbidden for a token that the Hub refuses, or DownloadFailed.
    """
    try:
        found = hub_api().list_models(
            search=words or None,
            filter=format,
            sort=sort,
            limit=min(limit, MAX_RESULTS),
            expand=[
                *("downloads", "likes", "lastModified", "tags", "gated", "pipeline_tag"),
                "safetensors",
            ],
        )
        return [_result(info) for info in found]
    except Exception as error:
        raise explain("The list of models", None, error) from error


def _result(info: Any) -> Result:
    tags = info.tags or ()
    license = next((tag[8:] for tag in tags if tag.startswith("license:")), None)
    return Result(
        id=info.id,
        downloads=info.downloads or 0,
        likes=info.likes or 0,
        updated_ms=int(info.last_modified.timestamp() * 1000) if info.last_modified else None,
        license=license,
        gated=bool(info.gated),
        task=info.pipeline_tag,
        weights_bytes=_weights_bytes(info.safetensors),
    )


def _weights_bytes(safetensors: Any) -> int | None:
    """From how many numbers there are of each type: {"U32": 1_000_000, "BF16": 30_000}."""
    counts = getattr(safetensors, "parameters", None)
    if not isinstance(counts, dict) or not counts:
        return None
    return sum(count * _bytes_of(dtype) for dtype, count in counts.items())


def _bytes_of(dtype: str) -> int:
    if dtype == "BOOL":
        return 1
    digits = re.search(r"\d+", dtype)
    return _BYTES.get(digits[0], 1) if digits else 1
