"""The Dataset pane: which datasets there are, what is in the chosen one, a look at its dialogs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Static

from engines.data.datasets import Dataset
from engines.running.runs import Run, RunStatus
from ftui import problem_lines
from ftui.clean import clean, clean_line
from ftui.follower import Follower
from ftui.format import count, date, size
from ftui.screens import confirm
from ftui.screens.dialog import TextDialog
from ftui.widgets import dataset_figures, run_figures
from ftui.widgets.list_table import ListTable
from ftui.widgets.pane import Pane
from ftui.widgets.preview import PAGE, Dialogs, Preview


class DatasetPanel(Pane, can_focus=True):
    """A list, the statistics of the chosen row, and a page of its dialogs. Empty: what this machine has."""

    DEFAULT_CSS = """
    DatasetPanel #dataset-list { max-height: 6; }
    DatasetPanel #preparing { height: auto; padding: 0 1; display: none; }
    DatasetPanel #preparing.-shown { display: block; }
    DatasetPanel #statistics { height: auto; padding: 0 1; }
    DatasetPanel Preview { height: 1fr; min-height: 3; padding: 0 1; border-top: solid $foreground 30%; }
    DatasetPanel Preview:focus { border-top: heavy $accent; }
    DatasetPanel.-empty #dataset-list, DatasetPanel.-empty Preview { display: none; }
    DatasetPanel.-reading #dataset-list, DatasetPanel.-reading #statistics { display: none; }
    DatasetPanel.-reading Preview:focus { border-top: none; }
    """

    class Chosen(Message):
        """Another dataset is under the cursor (or none)."""

        def __init__(self, dataset: Dataset | None):
            super().__init__()
            self.dataset = dataset

    class Prepared(Message):
        """A preparation has ended."""

        def __init__(self, run: Run, status: RunStatus):
            super().__init__()
            self.run = run
            self.status = status

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id, classes="pane -empty")
        self.datasets: dict[str, Dataset] = {}
        self.dataset: Dataset | None = None
        self.preparing: Run | None = None
        self.first = 0  # the first dialog of the page
        self.table = ListTable(("name", "dialogs", "size", "date"), id="dataset-list")
        self.preparation = Static("", id="preparing", markup=False)
        self.statistics = Static(Content.styled("looking…", "$foreground-muted"), id="statistics", markup=False)
        self.preview = Preview(id="preview")

    def compose(self) -> ComposeResult:
        yield self.table
        yield self.preparation
        yield self.statistics
        yield self.preview

    # --- the list ---

    def show(self, datasets: list[Dataset]) -> None:
        """The datasets on disk, newest first."""
        self.datasets = {dataset.name: dataset for dataset in datasets}
        self.set_class(not datasets, "-empty")
        if not datasets:
            self._read(False)
        self.table.fill([(item.name, _cells(item)) for item in datasets])
        self._take(self.table.chosen)

    def choose(self, name: str) -> None:
        self.table.choose(name)
        self._take(self.table.chosen)

    @on(DataTable.RowHighlighted)
    def _highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self._take(self.table.chosen)

    def _take(self, name: str | None) -> None:
        dataset = self.datasets.get(name) if name else None
        if dataset == self.dataset and dataset is not None:
            return
        self.dataset = dataset
        if dataset is not None:
            self.statistics.update(dataset_figures.statistics(dataset))
            self._turn_to(0)
            self._name_title()
        self.post_message(self.Chosen(dataset))

    def show_machine(self, content: Content) -> None:
        """What stands here while there is no dataset."""
        if not self.datasets:
            self.statistics.update(content)

    # --- the dialogs ---

    @property
    def reading(self) -> bool:
        """Have the dialogs the whole pane?"""
        return self.has_class("-reading")

    def target(self) -> Widget:
        if self.reading:
            return self.preview
        return self.table if self.datasets else self

    def leave(self) -> bool:
        if self.reading or self.screen.focused is self.preview:
            self._read(False)
            self.screen.set_focus(self.table)
            return True
        return self._forget_failure()

    def _forget_failure(self) -> bool:
        """What was said of a preparation that failed has been read."""
        failed = self.preparing is None and self.preparation.has_class("-failed")
        if failed:
            self.preparation.remove_class("-shown", "-failed")
        return failed

    def do_read(self) -> None:
        self._forget_failure()
        self._read(True)
        self.screen.set_focus(self.preview)

    def _read(self, wanted: bool) -> None:
        self.set_class(wanted, "-reading")
        self._name_title()

    def _name_title(self) -> None:
        """While the list is hidden, the pane says whose dialogs these are, and the way back."""
        name = self.dataset.name if self.reading and self.dataset else ""
        self.border_subtitle = Content(f"{clean_line(name)}, esc goes back" if name else "")

    def do_problems(self) -> None:
        if self.dataset is None:
            return
        found = problem_lines.with_files(self.dataset.report)
        if not found:
            self.ftui.say(f"Of {self.dataset.name} everything was read")
            return
        text = Content("\n").join(Content(clean(line)) for line in found)
        self.app.push_screen(TextDialog(f"What of {clean_line(self.dataset.name)} was not read", text))

    def do_next_page(self) -> None:
        self._turn_to(self.first + PAGE)

    def do_previous_page(self) -> None:
        self._turn_to(max(0, self.first - PAGE))

    def _turn_to(self, first: int) -> None:
        dataset = self.dataset
        if dataset is None or (first and dataset.dialogs is not None and first >= dataset.dialogs):
            return

        def show(dialogs: Dialogs) -> None:
            if dataset is self.dataset and (dialogs or not first):
                self.first = first
                self.preview.show(dialogs, first, dataset.dialogs)

        def gone(_: Exception) -> None:
            self.post_message(self.DiskChanged())  # another face deleted it

        def read() -> Dialogs:
            return self.engine.datasets.preview(dataset, first, PAGE)

        self.ftui.in_background("preview", read, show, gone)

    def do_delete(self) -> None:
        dataset = self.dataset
        if dataset is None:
            return

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self.ftui.in_background("delete", partial(self.engine.datasets.delete, dataset.name), deleted)

        def deleted(trashed: Path) -> None:
            self.ftui.undo_stack.append((f"{dataset.name} is back", lambda: self.engine.datasets.restore(trashed)))
            self.ftui.say(f"{dataset.name} is in the trash", "u brings it back.")
            self.post_message(self.DiskChanged())

        self.app.push_screen(confirm.delete("dataset", dataset.name, "Its report and its parts go along."), answered)

    def show_counting(self, text: str) -> None:
        """How far the counting of tokens is; empty: it has ended."""
        if self.preparing is None:
            self.preparation.set_class(bool(text), "-shown")
            self.preparation.update(text)

    # --- a preparation ---

    @work(exclusive=True, group="prepare-follow")
    async def follow(self, run: Run) -> None:
        """Show how far the preparation is, until it ends."""
        self.preparing = run
        line = self.preparation
        line.add_class("-shown")
        follower = Follower(run)
        async for move in follower.moves():
            line.update(run_figures.head(run, move.status, follower.progress, self.size.width))
            if move.status.ended:
                break
        self.preparing = None
        failed = move.status.state == "failed"
        for name in ("-shown", "-failed"):
            line.set_class(failed, name)
        if failed:
            line.update(run_figures.failure(run, move.status) or "")
        self.post_message(self.Prepared(run, move.status))


def _cells(dataset: Dataset) -> tuple[str, ...]:
    return (dataset.name, count(dataset.dialogs), size(dataset.size), date(dataset.modified_at))
