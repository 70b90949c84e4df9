"""`ftui data …`: the datasets of the workspace."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from ftui import format
from ftui.commands.llm import report_dataset
from ftui.console import Common, say, say_json, table

data = App(name="data", help="The datasets of the workspace.", help_format="plaintext")


@data.command(name="list")
def list_datasets(*, common: Common | None = None) -> int:
    """All datasets, newest first."""
    common = common or Common()
    found = common.engine().datasets.list()
    if common.json:
        say_json([dataset.as_dict() for dataset in found])
        return 0
    rows = [
        [item.name, format.count(item.dialogs), format.size(item.size), format.date(item.modified_at)] for item in found
    ]
    table(["name", "dialogs", "size", "date"], rows, "no dataset yet; make one: ftui llm prepare FILE")
    return 0


@data.command
def show(
    name: str,
    /,
    *,
    first: Annotated[int, Parameter(help="Number of the first dialog shown, from 0")] = 0,
    count: Annotated[int, Parameter(help="How many dialogs")] = 3,
    common: Common | None = None,
) -> int:
    """What a dataset holds: its report and some of its dialogs."""
    common = common or Common()
    datasets = common.engine().datasets
    dataset = datasets.get(name)
    dialogs = datasets.preview(dataset, first, count)
    if common.json:
        say_json({**dataset.as_dict(), "preview": dialogs})
        return 0
    if dataset.report:
        report_dataset(dataset.report)
    for number, messages in enumerate(dialogs, first):
        say(f"\n— dialog {number} —")
        for turn in messages:
            say(f"{turn['role']:>9}: {turn['content']}")
    return 0


@data.command
def delete(name: str, /, *, common: Common | None = None) -> int:
    """Move a dataset to the trash."""
    common = common or Common()
    where = common.engine().datasets.delete(name)
    say_json({"trash": str(where)}) if common.json else say(f"in the trash: {where}")
    return 0
