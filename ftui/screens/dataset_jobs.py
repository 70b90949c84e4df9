"""What can be done with the datasets of the list: counted, renamed, merged, written for another program."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.data import exports, merging
from engines.data.datasets import Dataset
from ftui.format import size
from ftui.screens.dialog import TextDialog
from ftui.widgets.token_view import draw_counts

if TYPE_CHECKING:
    from ftui.screens.llm_jobs import Jobs


class DatasetJobs:
    """The actions `count`, `rename`, `merge` and `export`. What takes long happens in the background."""

    def __init__(self, jobs: Jobs):
        self.jobs = jobs

    def do_count(self) -> None:
        """With the base model and the length of the form; it says how far it is in the pane."""
        panel, app, form = self.jobs.screen.dataset_panel, self.jobs.ftui, self.jobs.screen.params
        if panel.dataset is None or form is None or form.form.config is None:
            return

        def progress(done: int, total: int) -> None:
            text = f"counting tokens: {done / max(1, total):.0%} of {size(total)}"
            app.call_from_thread(panel.show_counting, text)

        def counted(found: dict[str, Any]) -> None:
            panel.show_counting("")
            app.push_screen(TextDialog("All tokens, counted", draw_counts(found)))

        def failed(error: Exception) -> None:
            panel.show_counting("")
            app.show_error(error)

        panel.show_counting("counting tokens: reading the tokenizer")
        from engines.data import looks

        work = partial(looks.count_tokens, self.jobs.engine, panel.dataset, form.form.config, progress)
        app.in_background("count", work, counted, failed)

    def do_rename(self) -> None:
        from ftui.screens.dataset_dialogs import RenameScreen

        panel, app = self.jobs.screen.dataset_panel, self.jobs.ftui
        dataset = panel.dataset
        if dataset is None:
            return
        before = dataset.name

        def answered(name: str | None) -> None:
            if name is not None:
                app.in_background("rename", partial(self.jobs.engine.datasets.rename, before, name), renamed)

        def renamed(now: Dataset) -> None:
            back = partial(self.jobs.engine.datasets.rename, now.name, before)
            app.undo_stack.append((f"{before} has its name back", back))
            app.say(f"{before} is now {now.name}", "u takes it back.")
            self._show(now.name)

        app.push_screen(RenameScreen(app.workspace.home, before, set(panel.datasets)), answered)

    def do_merge(self) -> None:
        from ftui.screens.dataset_dialogs import MergeScreen

        panel, app = self.jobs.screen.dataset_panel, self.jobs.ftui
        if panel.dataset is None:
            return

        def answered(wish: tuple[list[str], str] | None) -> None:
            if wish is not None:
                app.say("Merging…")
                work = partial(merging.merge, self.jobs.engine.datasets, *wish)
                self.jobs.launch("Merging", work, partial(merged, wish[1]))

        def merged(name: str, report: dict[str, Any]) -> None:
            delete = partial(self.jobs.engine.datasets.delete, name)
            app.undo_stack.append((f"{name} is in the trash; what it was merged of is as it was", delete))
            app.say(f"✓ {name}: {report['rows']['written']:,} rows of {report['source']}", "u takes it back.")
            self._show(name)

        app.push_screen(MergeScreen(app.workspace.home, panel.dataset.name, list(panel.datasets)), answered)

    def do_export(self) -> None:
        from ftui.screens.dataset_dialogs import ExportScreen

        app, dataset = self.jobs.ftui, self.jobs.screen.dataset_panel.dataset
        if dataset is None:
            return
        chosen = dataset

        def answered(wish: tuple[str, Path] | None) -> None:
            if wish is not None:
                form, output = wish
                work = partial(exports.export, chosen, form, output)
                self.jobs.launch("Writing", work, partial(written, output))

        def written(output: Path, counts: dict[str, Any]) -> None:
            text = f"✓ {counts['written']:,} records of {counts['read']:,} rows: {output}"
            notes = exports.notes(counts)
            app.say(text, "; ".join(notes), severity="warning" if notes else "information")

        app.push_screen(ExportScreen(app.workspace.home, chosen.name, Path.cwd()), answered)

    def _show(self, name: str) -> None:
        """The dataset `name` is new in the list, and chosen."""
        self.jobs.screen.wanted_dataset = name
        self.jobs.screen.scan()
