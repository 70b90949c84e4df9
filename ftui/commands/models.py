"""`ftui models …`: the base models on this machine."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from engines.contract.errors import EXIT_OK
from ftui import format
from ftui.console import Common, finish, follow, say, say_json, table
from ftui.model_table import HEADINGS, rows

models = App(name="models", help="Base models: which are here, and more from the hub.", help_format="plaintext")


@models.command(name="list")
def list_models(*, common: Common | None = None) -> int:
    """The base models of the workspace and of the hub's cache, then known ones that can be fetched.

    With --json only those that are here.
    """
    common = common or Common()
    found = common.engine().models.list()
    if common.json:
        say_json([model.as_dict() for model in found])
        return EXIT_OK
    table(list(HEADINGS), [list(cells) for cells in rows(found)], "")
    return EXIT_OK


@models.command
def download(
    name: Annotated[str, Parameter(help="owner/name on the hub")],
    /,
    *,
    revision: Annotated[str, Parameter(help="Branch, tag or commit")] = "main",
    common: Common | None = None,
) -> int:
    """Fetch a base model, with progress. Once it is here, trainings need no network.

    For example:

      ftui models download Qwen/Qwen2.5-0.5B-Instruct
    """
    common = common or Common()
    engine = common.engine()
    run = engine.download(name, revision)
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)

    def report(result: dict[str, Any]) -> None:
        say(f"{result['model']}: {format.size(result['bytes'])} in {format.path(result['folder'])}")
        say(f"use it: ftui llm train --base-model {result['model']}")

    return finish(run, status, progress, as_json=common.json, report=report)


@models.command
def delete(name: str, /, *, common: Common | None = None) -> int:
    """Move a model of the workspace to the trash; `ftui models restore NAME` brings it back."""
    common = common or Common()
    where = common.engine().models.delete(name)
    say_json({"trash": str(where)}) if common.json else say(f"in the trash: {where}")
    return EXIT_OK


@models.command
def restore(name: str, /, *, common: Common | None = None) -> int:
    """Bring a deleted model back from the trash."""
    common = common or Common()
    workspace = common.engine().workspace
    back = workspace.restore(workspace.newest_trashed("model", name))
    say_json({"path": str(back)}) if common.json else say(f"back: {back}")
    return EXIT_OK
