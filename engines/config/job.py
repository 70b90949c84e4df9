"""What all parameter models have in common: how they are made, read and refused."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.contract.errors import UserError

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a model or a dataset


class JobConfig(BaseModel):
    """Base of all parameter models: unknown names are an error, not a silence, and a number is a finite one."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


Config = TypeVar("Config", bound=JobConfig)


def unit(name: str) -> dict[str, Any]:
    return {"unit": name}


def only_for(*kinds: str) -> dict[str, Any]:
    """Of a field that only some kinds of a job have, named by the field `kind`; the others are refused with it."""
    return {"only_for": list(kinds)}


def refuse_foreign(config: JobConfig, given: Collection[str] = ()) -> None:
    """Raises UserError where a field is set that this kind of job does not have. given: set, be it to the default."""
    kind = getattr(config, "kind", None)
    for name, field in type(config).model_fields.items():
        extra = field.json_schema_extra
        kinds = extra.get("only_for") if isinstance(extra, dict) else None
        is_set = name in given or getattr(config, name) != field.default
        if isinstance(kinds, list) and kind not in kinds and is_set:
            flag = f"--{name.replace('_', '-')}"
            has_it = " and ".join(map(str, kinds))
            raise UserError("usage", f"{flag} is for {has_it}, not for {kind}", "Leave it out, or choose another kind.")


def build(model: type[Config], values: dict[str, Any]) -> Config:
    """Validate `values` into `model`; every wrong field in one UserError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError("usage", explain(error), "Correct the named parameters.") from None


def load(model: type[Config], path: Path | None) -> Config:
    """The parameters of a JSON file, or the defaults. Raises UserError."""
    if path is None:
        return model()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise UserError("usage", f"{path.name} is not a JSON object with parameters", 'Write {"field": value, …}.')
    return build(model, values)


def explain(error: ValidationError) -> str:
    """One line for all that pydantic found: `lora_rank: must be … (got 0)`."""
    parts = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "value"
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{field}: {message[:1].lower()}{message[1:]} (got {str(item['input'])[:60]!r})")
    return "; ".join(parts)
