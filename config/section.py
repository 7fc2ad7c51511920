"""What every mapping of config.yaml has: fields that explain themselves, and no others."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Change = Literal["live", "reload", "restart"]


def setting(description: str, *, change: Change, unit: str = "", **kwargs: Any) -> Any:
    """A pydantic Field that carries what the documentation, diff and the edit form need."""
    extra: dict[str, JsonValue] = {"change": change, "unit": unit}
    return Field(description=description, json_schema_extra=extra, **kwargs)


class Section(BaseModel):
    """A mapping of config.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_means_default(cls, data: Any) -> Any:
        return without_nulls(cls, data)


def without_nulls(cls: type[BaseModel], data: Any) -> Any:
    """`data` less its known keys whose value is null; unknown keys stay, to be refused."""
    if not isinstance(data, dict):
        return data
    return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}
