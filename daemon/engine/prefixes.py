"""Builds the prefix cache of an engine from what the front said."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from ..protocol.wire import CacheLimits, Load
from .kv.cold.store import ColdStore
from .kv.cold_tier import ColdTier
from .kv.fingerprint import weights_fingerprint
from .kv.hashes import make_salt
from .kv.payload import has_spans
from .kv.prefix_cache import PrefixCache
from .reuse import Reuse
from .runners.text import TextRunner


def build(load: Load, runner: TextRunner, salts: list[bytes]) -> Reuse:
    """A prefix cache over the runner's kind of caches, and a cold tier where there is room."""

    def open_cold(limits: CacheLimits) -> ColdTier:
        store = ColdStore(
            Path(load.cache_directory or ""), limits.cold_bytes, limits.write_budget_bytes
        )
        return ColdTier(store, load.name, spans=has_spans(runner.new_cache()))

    limits = CacheLimits(load.hot_bytes, load.cold_bytes, load.write_budget_bytes)
    can_store = load.cache_directory is not None
    cold = open_cold(limits) if can_store and load.cold_bytes else None
    return Reuse(
        PrefixCache(runner.new_cache(), load.hot_bytes, cold=cold),
        salt=salts.__getitem__,
        open_cold=open_cold if can_store else None,
    )


def salts_of(load: Load) -> list[bytes]:
    """By number of the adapter: what decides the keys and values beside the tokens. Raises
    OSError."""
    always = [weights_fingerprint(Path(folder)) for folder in (load.path, *load.adapters)]
    shared = make_salt(version("mlx-lm"), *always)
    named = [weights_fingerprint(Path(adapter.path)) for adapter in load.named_adapters]
    return [make_salt(shared), *(make_salt(shared, each) for each in named)]
