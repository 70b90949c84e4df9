"""`ftui adapters …`: which there are, which is active."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from engines.errors import UserError
from ftui import format
from ftui.console import Common, say, say_json, table

adapters = App(name="adapters", help="The trained adapters and the active one.", help_format="plaintext")


@adapters.command(name="list")
def list_adapters(*, common: Common | None = None) -> int:
    """All adapters, the active one marked ●."""
    common = common or Common()
    found = common.engine().adapters.list()
    if common.json:
        say_json([adapter.as_dict() for adapter in found])
        return 0
    rows = [
        [
            "●" if adapter.active else " " if adapter.complete else "✗",
            adapter.name + ("" if adapter.complete else " (incomplete)"),
            adapter.base_model.rsplit("/", 1)[-1],
            adapter.dataset.removesuffix("_dataset.jsonl"),
            format.date(adapter.created_at),
            format.size(adapter.size),
            format.number(adapter.loss, 3),
            format.number(adapter.eval_loss, 3),
        ]
        for adapter in found
    ]
    headings = ["", "name", "base model", "dataset", "date", "size", "loss", "eval loss"]
    table(headings, rows, "no adapter yet; train one: ftui llm train")
    return 0


@adapters.command
def activate(name: str, /, *, common: Common | None = None) -> int:
    """Make an adapter the active one (finetune/adapters/.active)."""
    common = common or Common()
    adapter = common.engine().adapters.activate(name)
    say_json(adapter.as_dict()) if common.json else say(f"● {adapter.name} is active")
    return 0


@adapters.command
def deactivate(*, common: Common | None = None) -> int:
    """Back to the base model: no adapter is active."""
    common = common or Common()
    was = common.engine().adapters.deactivate()
    if common.json:
        say_json({"was": was})
    else:
        say(f"{was} is not active any more" if was else "no adapter was active")
    return 0


@adapters.command
def delete(
    name: str,
    /,
    *,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], help="Delete it even if it is active", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Move an adapter to the trash; `ftui adapters restore NAME` brings it back."""
    common = common or Common()
    registry = common.engine().adapters
    try:
        where = registry.delete(name, even_if_active=yes)
    except UserError as error:
        if error.code == "conflict":
            error.next_step = "Add --yes to delete it all the same, or run `ftui adapters deactivate` first."
        raise
    if common.json:
        say_json({"deleted": name, "trash": str(where)})
    else:
        say(f"{name} is in the trash; bring it back: ftui adapters restore {name}")
    return 0


@adapters.command
def restore(name: str, /, *, common: Common | None = None) -> int:
    """Bring back the adapter of that name that was deleted last."""
    common = common or Common()
    engine = common.engine()
    adapter = engine.adapters.restore(engine.workspace.newest_trashed("adapter", name))
    say_json(adapter.as_dict()) if common.json else say(f"{adapter.name} is back")
    return 0
