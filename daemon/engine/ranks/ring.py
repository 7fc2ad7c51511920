"""The group of mx.distributed: its ring backend, and mlx-lm's own sharding over it.

https://ml-explore.github.io/mlx/build/html/usage/distributed.html
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from ..kv.ragged import kinds
from .split import fault


def free_port() -> int:
    """A TCP port of this machine that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Ring:
    """This rank's place in the group."""

    def __init__(self, rank: int, addresses: tuple[str, ...], mode: str) -> None:
        """Returns when all ranks have met. Raises RuntimeError."""
        # MLX reads its place from the environment, and the addresses from a file.
        with tempfile.NamedTemporaryFile("w", suffix=".json") as hosts:
            json.dump([[address] for address in addresses], hosts)
            hosts.flush()
            os.environ["MLX_RANK"] = str(rank)
            os.environ["MLX_HOSTFILE"] = hosts.name
            self._group = mx.distributed.init(strict=True, backend="ring")
        self._rank = rank
        self._mode = mode

    def split(self, model: nn.Module, config: dict[str, Any]) -> None:
        """Leaves this rank's part of the model, unread. Raises ValueError."""
        inner = getattr(model, "model", None)
        pipelines, shards = hasattr(inner, "pipeline"), hasattr(model, "shard")
        why = fault(config, self._mode, self._group.size(), shards=shards, pipelines=pipelines)
        if why is not None:
            raise ValueError(why)
        try:
            if self._mode == "tensor":
                model.shard(self._group)  # type: ignore[operator]
            else:
                inner.pipeline(self._group)  # type: ignore[union-attr]
                _evaluate_in_order(inner)  # type: ignore[arg-type]
        except AssertionError as error:
            raise ValueError(f"the model cannot be split: {error}") from error
        if self._mode == "pipeline" and not self.alike(sorted({*kinds(make_prompt_cache(model))})):
            raise ValueError(
                "the parts of this pipeline would keep different kinds of caches; "
                "use mode tensor or other numbers of processes"
            )

    def first(self, tokens: mx.array) -> mx.array:
        """Rank 0's tokens on every rank: machines of different kinds round differently."""
        # Zeros that depend on the tokens: everywhere this comes after the layers' own collectives.
        own = tokens if self._rank == 0 else tokens * 0
        return mx.distributed.all_sum(own, group=self._group)

    def alike(self, words: list[str]) -> bool:
        """Whether all ranks have the same words here."""
        digest = hashlib.sha256("\n".join(words).encode()).digest()
        number = int.from_bytes(digest[:3])
        every = mx.distributed.all_gather(mx.array([number]), group=self._group)
        return bool(mx.all(every == number).item())


def _evaluate_in_order(inner: nn.Module) -> None:
    """Every forward of a pipeline is submitted at once and as a whole.

    Its sends and receives must happen on all ranks in the same order, also where a caller wants
    only the caches (prefill) or makes several forwards before it evaluates any. mlx-lm ties the
    send to the keys of the last layer's cache for that, which a ragged batch does not have; a None
    behind the caches keeps it from looking there.
    """

    class Ordered(type(inner)):
        def __call__(self, inputs: mx.array, cache: Any = None, *args: Any, **named: Any) -> Any:
            if cache is not None:
                cache = [*cache, None]
            hidden = super().__call__(inputs, cache, *args, **named)
            mx.async_eval(hidden)
            return hidden

    inner.__class__ = Ordered
