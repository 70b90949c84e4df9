"""A search space in YAML: read, checked against the training's parameters, and turned into trials' configs.

    space:
      learning_rate: {type: float, low: 1.0e-5, high: 1.0e-3, log: true}
      num_epochs:    {type: int, low: 1, high: 3}
      lora_rank:     [4, 8, 16]              # a choice
    preset: quick                            # what is not in the space; default standard
    config: {max_seq_length: 512}            # changes of the preset
    sampler: tpe                             # and every other field of SweepConfig

Nothing starts before every name and every bound was checked against TrainConfig.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from engines.config.job import JobConfig, build
from engines.config.sweep import SweepConfig
from engines.config.train import TrainConfig, preset
from engines.contract import estimate
from engines.contract.errors import UserError

MOST_BYTES = 1 << 20
DEFAULT_TRIALS = 12
LARGEST_GRID = 10_000
EXAMPLE = Path(__file__).with_name("sweep_example.yaml")
# Trials that differ in one of these cannot be compared by their losses, or are no question of learning.
INCOMPARABLE = {
    "base_model": "losses of different models count different tokens",
    "eval_share": "losses on different held-out parts cannot be compared",
    "max_seq_length": "a shorter length leaves out other held-out rows",
    "text_template": "losses of different templates count different tokens",
    "loss": "different losses cannot be compared",
    "method": "a full fine-tuning leaves a model, not an adapter",
    "device": "it changes nothing of what is learned",
    "save_steps": "a sweep sets it by its field evaluations",
}


class Span(JobConfig):
    """Numbers from `low` to `high`. points: of a grid."""

    type: Literal["float", "int"]
    low: float
    high: float
    log: bool = False
    points: Annotated[int, Field(ge=0, le=1000)] = 0

    @model_validator(mode="after")
    def _is_a_span(self) -> Span:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low must be below high (got {self.low:g} and {self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range must begin above 0")
        if self.type == "int" and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("an int range needs whole numbers as bounds")
        return self

    def number(self, value: float) -> float | int:
        """`value` inside the bounds; of a float four significant digits, so that it can be read and typed."""
        if self.type == "int":
            return int(min(self.high, max(self.low, round(value))))
        return min(self.high, max(self.low, float(f"{value:.4g}")))

    def place(self, value: float) -> float:
        """Where `value` stands from 0 (low) to 1 (high), on the range's own scale."""
        low, high, here = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return min(1.0, max(0.0, (here - low) / (high - low)))

    def grid(self) -> list[Any]:
        if not self.points and self.type == "int" and not self.log:
            return list(range(int(self.low), int(self.high) + 1))
        count = self.points or 1
        shares = [number / max(1, count - 1) for number in range(count)]
        if self.log:
            raw = [math.exp(math.log(self.low) + share * math.log(self.high / self.low)) for share in shares]
        else:
            raw = [self.low + share * (self.high - self.low) for share in shares]
        return list(dict.fromkeys(map(self.number, raw)))

    def values(self) -> Sequence[Any] | None:
        """All that it can be, if one can run out of them."""
        return range(int(self.low), int(self.high) + 1) if self.type == "int" else None


class Choice(JobConfig):
    """One of a few values."""

    type: Literal["choice"] = "choice"
    choices: Annotated[list[Any], Field(min_length=1)]

    def place(self, value: Any) -> float:
        return self.choices.index(value) / max(1, len(self.choices) - 1) if value in self.choices else 0.0

    def grid(self) -> list[Any]:
        return [found for place, found in enumerate(self.choices) if found not in self.choices[:place]]

    def values(self) -> Sequence[Any] | None:
        return self.grid()


Range = Span | Choice


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep does."""

    space: dict[str, Range]
    base: TrainConfig
    config: SweepConfig

    @property
    def wanted(self) -> int:
        """How many trials were asked for."""
        return self.config.trials or (self._grid_size if self.config.sampler == "grid" else DEFAULT_TRIALS)

    @property
    def trials(self) -> int:
        """How many trials there will be: none is tried twice, so not more than there are combinations."""
        if self.config.sampler == "grid":
            return min(self._grid_size, self.wanted)
        values = self._all_values()
        return self.wanted if values is None else min(self.wanted, math.prod(map(len, values)))

    @property
    def _grid_size(self) -> int:
        return math.prod(len(found.grid()) for found in self.space.values())

    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the grid, the last parameter changing fastest."""
        return [
            dict(zip(self.space, values, strict=True))
            for values in itertools.product(*(found.grid() for found in self.space.values()))
        ]

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Every combination there is, if one can run out of them; else nothing."""
        for chosen in itertools.product(*self._all_values() or [()]):
            yield dict(zip(self.space, chosen, strict=True))

    def _all_values(self) -> list[Sequence[Any]] | None:
        """Of each parameter; None if one of them has no end of values."""
        found = [values for values in (one.values() for one in self.space.values()) if values is not None]
        return found if len(found) == len(self.space) else None

    def trial_config(self, values: Mapping[str, Any], rows: int) -> TrainConfig:
        """The parameters of a trial on `rows` training rows, evaluated `evaluations` times. Raises UserError."""
        config = build(TrainConfig, {**self.base.model_dump(), **values})
        steps = estimate.optimizer_steps(rows, config)
        return config.model_copy(update={"save_steps": max(1, math.ceil(steps / self.config.evaluations))})

    def as_dict(self) -> dict[str, Any]:
        return {
            "space": {name: found.model_dump() for name, found in self.space.items()},
            "base": self.base.model_dump(),
            "sweep": self.config.model_dump(),
        }


def plan_of(document: Mapping[str, Any]) -> Plan:
    """The plan that `as_dict` has written down."""
    return Plan(
        {name: _range(name, found) for name, found in document["space"].items()},
        build(TrainConfig, document["base"]),
        build(SweepConfig, document["sweep"]),
    )


def read(path: Path) -> dict[str, Any]:
    """The document of a YAML file. Raises UserError."""
    try:
        with open(path, "rb") as file:
            document = yaml.safe_load(file.read(MOST_BYTES))
    except OSError as error:
        raise UserError(
            "not_found", f"{path} cannot be read: {error.strerror}", "`ftui sweeps example > space.yaml` makes one."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        first = " ".join(str(error).split())[:200]
        raise UserError("bad_input", f"{path.name} is not YAML: {first}", "See `ftui sweeps example`.") from None
    if not isinstance(document, dict):
        raise UserError("bad_input", f"{path.name} holds no mapping", "See `ftui sweeps example`.")
    return document


def make_plan(document: Mapping[str, Any], flags: Mapping[str, Any] | None = None) -> Plan:
    """Check a document; `flags` win over its fields. Raises UserError that names what is wrong."""
    known = {"space", "preset", "config", *SweepConfig.model_fields}
    for name in document:
        if name not in known:
            raise UserError(
                "usage", f"a sweep has no field {name!r}{_like(str(name), known)}", "See `ftui sweeps example`."
            )
    changes, ranges = document.get("config") or {}, document.get("space") or {}
    if not isinstance(ranges, dict) or not ranges:
        raise UserError(
            "usage", "the search space is empty", "Write parameters under `space:`; see `ftui sweeps example`."
        )
    if not isinstance(changes, dict):
        raise UserError("usage", "`config` is no mapping of parameters", "Write config: {name: value}.")
    for name in [*changes, *ranges]:
        _check_name(str(name))
    base = build(TrainConfig, preset(str(document.get("preset") or "standard")).model_dump() | changes)
    settings = {name: document[name] for name in SweepConfig.model_fields if name in document}
    config = build(SweepConfig, settings | dict(flags or {}))
    plan = Plan({name: _range(name, found) for name, found in ranges.items()}, base, config)
    _check_values(plan)
    return plan


def _check_name(name: str) -> None:
    if name not in TrainConfig.model_fields:
        like = _like(name, TrainConfig.model_fields)
        raise UserError("usage", f"training has no parameter {name!r}{like}", "All of them: docs/parameters.md.")


def _like(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, [str(item) for item in known], 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _range(name: str, found: Any) -> Range:
    """One entry of the space: a list of choices, or a mapping. Raises UserError with its name."""
    if isinstance(found, list):
        found = {"type": "choice", "choices": found}
    if not isinstance(found, dict):
        raise UserError(
            "usage", f"{name}: {found!r} is neither a list nor a range", "Write [4, 8] or {low: 1, high: 3}."
        )
    try:
        if "choices" in found:
            return build(Choice, found)
        whole = TrainConfig.model_json_schema()["properties"][name].get("type") == "integer"
        return build(Span, {"type": "int" if whole else "float", **found})
    except UserError as error:
        raise UserError("usage", f"{name}: {error.cause}", "See `ftui sweeps example`.") from None


def _check_values(plan: Plan) -> None:
    """Every bound and choice must be a value that training takes."""
    for name, found in plan.space.items():
        if name in INCOMPARABLE:
            raise UserError("usage", f"{name} cannot be swept: {INCOMPARABLE[name]}", "Set it under `config:`.")
        kind = TrainConfig.model_json_schema()["properties"][name].get("type")
        if isinstance(found, Span) and (
            kind not in ("number", "integer") or (kind, found.type) == ("integer", "float")
        ):
            raise UserError(
                "usage", f"{name} is no {found.type} parameter", "Give it choices: [a, b], or whole numbers."
            )
        ends = [found.number(found.low), found.number(found.high)] if isinstance(found, Span) else found.choices
        for value in ends:
            build(TrainConfig, {**plan.base.model_dump(), name: value})
        if plan.config.sampler == "grid" and isinstance(found, Span) and not found.points and len(found.grid()) == 1:
            raise UserError(
                "usage", f"{name}: a grid needs points or choices", "Add points: 4, or give it choices: [a, b]."
            )
    if plan.config.sampler == "grid" and math.prod(len(f.grid()) for f in plan.space.values()) > LARGEST_GRID:
        raise UserError("usage", f"the grid has more than {LARGEST_GRID} points", "Use sampler: random or tpe.")
    if plan.base.method != "lora":
        raise UserError("usage", f"method cannot be swept over: {INCOMPARABLE['method']}", "Set method: lora.")
    if plan.config.objective == "eval_loss" and not plan.base.eval_share:
        raise UserError("usage", "eval_loss needs a held-out part", "Set eval_share above 0, or objective: loss.")
