"""What the Hub's client raises → an error in words for the user, and whether to try again."""

from __future__ import annotations

import errno

from ..protocol.errors import (
    BadRequest,
    DownloadFailed,
    FastMLXError,
    Forbidden,
    ModelNotFound,
)

_PASSING = {408, 425, 429}  # and all 5xx


def explain(id: str, revision: str | None, error: Exception) -> FastMLXError:
    """For a request about `id` that failed for good."""
    if isinstance(error, FastMLXError):
        return error
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, HFValidationError):
        return BadRequest(f"'{id}' is not a Hub id: it looks like organisation/name.", param="id")
    if isinstance(error, OfflineModeIsEnabled):
        return DownloadFailed(f"{id} was not asked for: HF_HUB_OFFLINE forbids to use the network.")
    if isinstance(error, GatedRepoError):  # a RepositoryNotFoundError, too
        return Forbidden(
            f"{id} is only for those whom its owner admitted: ask for access on its page, then set "
            "HF_TOKEN or run `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelNotFound(
            f"There is no model {id} on the Hub, or it is private and HF_TOKEN is not set."
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFound(f"{id} has no revision {revision}.")
    status = _status(error)
    if status in (401, 403):
        return Forbidden(f"The Hub refuses {id} (status {status}): look at HF_TOKEN.")
    if status == 429:
        return DownloadFailed(f"{id} could not be fetched: the Hub has had too many requests.")
    if status is not None:
        return DownloadFailed(f"{id} could not be fetched: the Hub answered with status {status}.")
    reason = str(error).strip() or type(error).__name__
    return DownloadFailed(f"{id} could not be fetched: {reason.splitlines()[0]}")


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed in a moment."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return False
    status = _status(error)
    if status is not None:
        return status in _PASSING or status >= 500
    return getattr(error, "errno", None) != errno.ENOSPC


def retry_after_s(error: Exception) -> float | None:
    """What the server asks for."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return None


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
