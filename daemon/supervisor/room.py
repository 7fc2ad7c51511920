"""Who gets the memory: the ledger and the eviction policy, applied to models."""

from __future__ import annotations

from ..protocol.errors import ModelFailed, Overloaded
from .eviction import Holder, choose, explain
from .memory import Ledger, readable
from .model import Model


class Room:
    """Memory of all engines together. Says who has to go; the supervisor makes them go."""

    def __init__(self, limit_bytes: int) -> None:
        self.ledger: Ledger[Model] = Ledger(limit_bytes)

    def reserve(self, model: Model, need_bytes: int, *, evict: bool) -> list[Model]:
        """Book `need_bytes` for `model`; returns the idle models that must be dismissed for it.

        Decides and books in one go, without awaiting: two models that start at once never get the
        same bytes. Who was dismissed before and is still going is not counted, so wait for `going`
        before the bytes are used.

        Raises ModelFailed when it can never fit, Overloaded when it does not now; without `evict`
        also when it would only fit in the place of another.
        """
        limit = self.ledger.limit_bytes
        if need_bytes > limit:
            raise ModelFailed(
                f"{model.name} needs {readable(need_bytes)} of memory, which is more than the "
                f"limit of {readable(limit)} for all models (memory.limit)."
            )
        models, holders = self._holders(model)
        if not evict:
            holders = [h._replace(kept_by=h.kept_by or "loaded") for h in holders]
        chosen = choose(holders, need_bytes, limit)
        if chosen is None:
            soonest = min((m.retry_after_s() for m in models), default=1.0)
            message = explain(model.name, need_bytes, limit, holders)
            raise Overloaded(message, retry_after_s=soonest)
        self.ledger.reserve(model, need_bytes)
        return [models[i] for i in chosen]

    def going(self) -> list[Model]:
        """Models whose engines are being ended."""
        return [model for model in self.ledger.holders() if model.is_going]

    def overdue(self) -> list[Model]:
        """Idle models to dismiss because the limit is now exceeded."""
        models, holders = self._holders(None)
        chosen = choose(holders, 0, self.ledger.limit_bytes)
        if chosen is None:  # too much is in use: at least all that can go
            chosen = [i for i, holder in enumerate(holders) if holder.kept_by is None]
        return [models[i] for i in chosen]

    def spare(self, asking: Model | None) -> Model | None:
        """The idle model that was used longest ago, for one that runs and is short of memory, or
        for other programs."""
        models, holders = self._holders(asking)
        if self.going():
            return None  # first see what that gives
        idle = [i for i, holder in enumerate(holders) if holder.kept_by is None]
        return models[min(idle, key=lambda i: holders[i].last_used)] if idle else None

    def _holders(self, asking: Model | None) -> tuple[list[Model], list[Holder]]:
        counted = self.ledger.counted
        models = [m for m in self.ledger.holders() if m is not asking and not m.is_going]
        return models, [Holder(m.name, counted(m), m.last_used, m.kept_by) for m in models]
