"""An adapter's card: what of it can be believed. It may come from anybody, or have been edited by hand.

    name, created_at            Unix seconds
    base_model, base_identity   path or name on the hub; see engines/contract/fingerprints.py
    dataset                     name, path, fingerprint, rows
    run, config, figures        of the training: its id, the parameters of TrainConfig, numbers
    notes, tags                 its owner's

A face shows what is left here as it is, and `--json` prints it.
"""

from __future__ import annotations

from typing import Any

from engines.workspace import NAME

LONGEST_NOTE = 2000
LONGEST_PATH = 4096
LONGEST_VALUE = 10_000  # of a parameter, as text
MOST_TAGS = 20
MOST_FIGURES = 50
LARGEST = 1e18  # of a figure
YEAR_10000 = 253_402_300_800  # dates beyond have no common form


def believed(card: dict[str, Any]) -> dict[str, Any]:
    """The fields that are of their kind and size; a field of another kind is left out, a longer text is cut with …"""
    found: dict[str, Any] = {
        "created_at": _date(card.get("created_at")),
        "base_model": text(card.get("base_model"), LONGEST_PATH),
        "base_identity": _name(card.get("base_identity")),
        "dataset": _dataset(card.get("dataset")),
        "run": _name(card.get("run")),
        "config": _config(card.get("config")),
        "figures": _figures(card.get("figures")),
        "notes": text(card.get("notes"), LONGEST_NOTE),
        "tags": _tags(card.get("tags")),
    }
    return {name: value for name, value in found.items() if value not in (None, "", {}, [])}


def text(value: Any, most: int) -> str:
    """A text of at most so many characters; empty for what is none."""
    if not isinstance(value, str):
        return ""
    return value if len(value) <= most else f"{value[: most - 1]}…"


def _name(value: Any) -> str:
    return value if isinstance(value, str) and NAME.fullmatch(value) else ""


def _number(value: Any) -> float | None:
    """Finite numbers alone: others are no JSON, and no format knows them."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) < LARGEST else None


def _date(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and 0 < number < YEAR_10000 else None


def _dataset(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    found = {
        "name": text(value.get("name"), 200), "path": text(value.get("path"), LONGEST_PATH),
        "fingerprint": _name(value.get("fingerprint")), "rows": _number(value.get("rows")),
    }  # fmt: skip
    return {key: item for key, item in found.items() if item not in (None, "")}


def _figures(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    numbers = {name: _number(number) for name, number in list(value.items())[:MOST_FIGURES] if _name(name)}
    return {name: number for name, number in numbers.items() if number is not None}


def _tags(value: Any) -> list[str]:
    tags = value[: 10 * MOST_TAGS] if isinstance(value, list) else []
    return list(dict.fromkeys(tag for tag in tags if _name(tag)))[:MOST_TAGS]


def _config(value: Any) -> dict[str, Any]:
    """The parameters of a training that TrainConfig would take, as they stand there."""
    if not isinstance(value, dict) or not value:
        return {}
    from pydantic import ValidationError  # takes a while; who has no such card does without it

    from engines.config.train import TrainConfig

    kept = {name: item for name, item in value.items() if len(str(item)) <= LONGEST_VALUE}
    try:
        TrainConfig.model_validate(kept)
    except ValidationError as error:
        wrong = {item["loc"][0] for item in error.errors(include_url=False) if item["loc"]}
        kept = {name: item for name, item in kept.items() if name not in wrong}
    return kept
