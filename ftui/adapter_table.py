"""The table of adapters in both faces: its columns, its order, its filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from engines.contract.errors import UserError
from engines.weights.adapters import Adapter
from ftui import format
from ftui.command_line import as_text

# Parameters of a training that its adapter's card shows; all are in `ftui adapters show --json`.
MAIN = (
    "lora_rank", "lora_alpha", "target_modules", "learning_rate", "num_epochs", "max_steps", "batch_size",
    "gradient_accumulation_steps", "max_seq_length", "text_template",
)  # fmt: skip
MARK = ""  # the heading of the first column: ● active, ✗ incomplete


@dataclass(frozen=True)
class Column:
    """heading, a cell's text, what it is ordered by (None: unknown, always last), and whether large comes first."""

    heading: str
    text: Callable[[Adapter], str]
    value: Callable[[Adapter], Any]
    descending: bool = False


def _dataset(adapter: Adapter) -> str:
    return adapter.dataset.removesuffix(".jsonl").removesuffix("_dataset")


def _base(adapter: Adapter) -> str:
    return PurePath(adapter.base_model).name


COLUMNS = (
    Column("name", lambda a: a.name + ("" if a.complete else " (incomplete)"), lambda a: a.name.lower()),
    Column("dataset", _dataset, lambda a: _dataset(a).lower() or None),
    Column("loss", lambda a: format.number(a.loss, 3), lambda a: a.loss),
    Column("eval loss", lambda a: format.number(a.eval_loss, 3), lambda a: a.eval_loss),
    Column("date", lambda a: format.date(a.created_at), lambda a: a.created_at, True),
    Column("size", lambda a: format.size(a.size), lambda a: a.size, True),
    Column("base model", _base, lambda a: _base(a).lower() or None),
    Column("tags", lambda a: " ".join(a.tags), lambda a: " ".join(a.tags).lower() or None),
)
SORTS = tuple(column.heading.replace(" ", "-") for column in COLUMNS)
DEFAULT_SORT = "date"
HEADINGS = (MARK, *(column.heading for column in COLUMNS))


def cells(adapter: Adapter) -> tuple[str, ...]:
    mark = "●" if adapter.active else " " if adapter.complete else "✗"
    return (mark, *(column.text(adapter) for column in COLUMNS))


def last_cells(adapter: Adapter) -> tuple[str, ...]:
    """Those of the columns that a narrow pane does not show: base model and tags."""
    return cells(adapter)[-2:]


def arranged(adapters: Sequence[Adapter], sort: str = DEFAULT_SORT, words: str = "") -> list[Adapter]:
    """Those whose name, dataset, base model, tags or notes hold every one of `words`, in the order of a column."""
    if sort not in SORTS:
        raise UserError("usage", f"there is no column {sort}", f"Columns: {', '.join(SORTS)}.")
    column = COLUMNS[SORTS.index(sort)]
    wanted = words.lower().split()
    found = [adapter for adapter in adapters if all(word in _searched(adapter) for word in wanted)]
    known = [adapter for adapter in found if column.value(adapter) is not None]
    unknown = [adapter for adapter in found if column.value(adapter) is None]
    return sorted(known, key=column.value, reverse=column.descending) + unknown


def _searched(adapter: Adapter) -> str:
    texts = (adapter.name, adapter.dataset, _base(adapter), *adapter.tags, adapter.notes)
    return "\n".join(texts).lower()


def _parameters(config: dict[str, Any]) -> str:
    """The main ones of a training, by their titles."""
    if not config:
        return ""
    from engines.config.train import TrainConfig

    shown = {TrainConfig.model_fields[name].title: config[name] for name in MAIN if config.get(name)}
    texts = {title: " ".join(value) if isinstance(value, list) else as_text(value) for title, value in shown.items()}
    return ", ".join(f"{title} {text}" for title, text in texts.items())


def _training(figures: dict[str, float]) -> str:
    """What is known of a training beside its losses, which have lines of their own."""
    words = {
        "steps": lambda value: f"{format.count(value)} steps",
        "taken_step": lambda value: f"weights of step {format.count(value)}",
        "tokens_per_second": lambda value: f"{value:.0f} tokens/s",
        "seconds": format.duration,
        "memory": lambda value: f"{format.size(value)} of memory",
    }
    others = [name for name in figures if name not in (*words, "loss", "eval_loss")]
    told = [say(figures[name]) for name, say in words.items() if name in figures]
    return ", ".join([*told, *(f"{name.replace('_', ' ')} {figures[name]:g}" for name in others)])


def card(adapter: Adapter) -> list[tuple[str, str]]:
    """The whole card as titles and values; what is not known is left out."""
    base = (
        f"{adapter.base_model} (fingerprint {adapter.base_identity})" if adapter.base_identity else adapter.base_model
    )
    dataset = _dataset(adapter)
    if adapter.dataset_fingerprint:
        dataset += f" (fingerprint {adapter.dataset_fingerprint[:16]})"
    rows = [
        ("base model", base),
        ("dataset", dataset),
        ("run", adapter.run),
        ("rank", str(adapter.rank or "")),
        ("loss", format.number(adapter.loss) if adapter.loss is not None else ""),
        ("eval loss", format.number(adapter.eval_loss) if adapter.eval_loss is not None else ""),
        ("training", _training(adapter.figures)),
        ("parameters", _parameters(adapter.config)),
        ("size", format.size(adapter.size)),
        ("date", format.date(adapter.created_at)),
        ("tags", " ".join(adapter.tags)),
        ("notes", adapter.notes),
        ("folder", format.path(adapter.path)),
    ]
    state = "active" if adapter.active else "" if adapter.complete else "incomplete: it cannot be activated"
    return [row for row in [("state", state), *rows] if row[1]]
