"""What is kept for clients beside their requests: how much, how long, and the way to the store."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from ..protocol.errors import BadRequest, Overloaded
from ..store.database import StoreUnavailable
from ..store.fullness import FULL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Concatenate, ParamSpec, TypeVar

    from sqlalchemy import Connection

    from ..tasks.front import Front

    P = ParamSpec("P")
    T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_METADATA = 16  # pairs
LONGEST_NAME, LONGEST_VALUE = 64, 512  # characters; all as OpenAI's


class Keeping:
    """For one front."""

    def __init__(self, front: Front) -> None:
        self._front = front

    @property
    def keeps(self) -> bool:
        return self._limit > 0

    @property
    def _limit(self) -> int:
        return self._front.config.settings.responses.keep

    @property
    def _oldest_ms(self) -> int:
        age_s = self._front.config.settings.responses.max_age
        return 0 if math.isinf(age_s) else int((time.time() - age_s) * 1000)

    async def _keep(self, keep: Callable[..., bool], kept: Any, what: str) -> bool:
        """Whether it is on disk now; when it cannot be written, the log says why."""
        try:
            if await self._front.store.change(
                keep, kept, limit=self._limit, oldest_ms=self._oldest_ms
            ):
                return True
            why = FULL
        except StoreUnavailable as error:
            why = str(error)
        log.warning("%s is not kept: %s", what, why)
        return False

    async def _read(
        self,
        query: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Raises Overloaded."""
        try:
            return await self._front.store.read(query, *args, **kwargs)
        except StoreUnavailable as error:
            raise Overloaded(str(error), retry_after_s=1) from error

    async def _change(
        self,
        change: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Raises Overloaded."""
        try:
            return await self._front.store.change(change, *args, **kwargs)
        except StoreUnavailable as error:
            raise Overloaded(str(error), retry_after_s=1) from error


def check_metadata(metadata: dict[str, Any] | None) -> dict[str, str]:
    """What a client calls a thing that is kept. Raises BadRequest."""
    if len(metadata or ()) > MAX_METADATA:
        raise BadRequest(
            f"metadata: at most {MAX_METADATA} entries are accepted.", param="metadata"
        )
    for name, value in (metadata or {}).items():
        if not isinstance(value, str):
            raise BadRequest(f"metadata.{name[:100]} must be a string.", param="metadata")
        if len(name) > LONGEST_NAME or len(value) > LONGEST_VALUE:
            raise BadRequest(
                f"metadata: names have at most {LONGEST_NAME} characters, values {LONGEST_VALUE}.",
                param="metadata",
            )
    return metadata or {}
