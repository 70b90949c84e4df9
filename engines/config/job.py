"""What all parameter models have in common: how they are made, read and refused."""

from __future__ import annotations

import json
import re
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
