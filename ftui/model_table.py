"""Base models as rows of a table, for both faces: those that are here, then known ones that can be fetched."""

from __future__ import annotations

from collections.abc import Iterable

from engines.config.families import family_of
from engines.weights.known_models import KNOWN
from engines.weights.models import BaseModel
from ftui import format

HEADINGS = ("model", "parameters", "dtype", "size", "where")


def rows(here: Iterable[BaseModel]) -> list[tuple[str, str, str, str, str]]:
    """One row of cells for each, in the order of HEADINGS."""
    here = list(here)
    names = {model.name for model in here}
    return [
        *((model.name, count(model.parameters), model.dtype or format.UNKNOWN, format.size(model.size),
           with_needs(format.path(model.path), *family_of(model.kind).packages)) for model in here),
        *((known.name, count(known.parameters), known.dtype, format.size(known.size),
           with_needs("hub", *["HF_TOKEN"] * known.gated, *family_of(known.model_type).packages))
          for known in KNOWN if known.name not in names),
    ]  # fmt: skip


def with_needs(where: str, *needs: str) -> str:
    """needs: a variable that opens a gated model, packages that a family wants beside ours."""
    return f"{where}: needs {', '.join(needs)}" if needs else where


def count(parameters: float) -> str:
    """A number of parameters, as models are called by it."""
    if not parameters:
        return format.UNKNOWN
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"
