"""(old, new) settings → what changed, and what each change costs. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel

from .section import Change
from .settings import Settings


@dataclass(frozen=True)
class SettingsDiff:
    """Names are model names; keys of `changed` are fields of ModelSpec, of `settings` dotted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: dict[str, dict[str, Change]] = field(default_factory=dict)
    settings: dict[str, Change] = field(default_factory=dict)  # outside `models`: "server.port"

    @property
    def needs_restart(self) -> tuple[str, ...]:
        return tuple(key for key, change in self.settings.items() if change == "restart")

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.settings)


def diff(old: Settings, new: Settings) -> SettingsDiff:
    """What a daemon that runs with `old` has to do to run with `new`.

    A rename is a removal and an addition. Order of entries is not a change.
    """
    both = [name for name in new.models if name in old.models]
    changed = {name: _fields(old.models[name], new.models[name]) for name in both}
    settings: dict[str, Change] = {}
    for section in Settings.model_fields:
        if section == "models":
            continue
        before, after = getattr(old, section), getattr(new, section)
        if isinstance(after, BaseModel):
            changes = _fields(before, after)
            settings |= {f"{section}.{key}": change for key, change in changes.items()}
        elif before != after:
            settings[section] = change_class(Settings, section)
    return SettingsDiff(
        added=tuple(name for name in new.models if name not in old.models),
        removed=tuple(name for name in old.models if name not in new.models),
        changed={name: fields for name, fields in changed.items() if fields},
        settings=settings,
    )


def change_class(cls: type[BaseModel], key: str) -> Change:
    """What a change of the field `key` of `cls` costs."""
    extra = cls.model_fields[key].json_schema_extra
    assert isinstance(extra, dict)
    return cast(Change, extra["change"])


def _fields(old: BaseModel, new: BaseModel) -> dict[str, Change]:
    cls = type(new)
    return {
        key: change_class(cls, key)
        for key in cls.model_fields
        if getattr(old, key) != getattr(new, key)
    }
