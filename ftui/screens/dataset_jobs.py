"""What can be done with the datasets of the list: renamed, merged, written for another program."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines import dataset_files
from engines.datasets import Dataset

if TYPE_CHECKING:
    from ftui.screens.llm_jobs import Jobs


class DatasetJobs:
    """The actions `rename`, `merge` and `export`. What takes long happens in the background."""

    def __init__(self, jobs: Jobs):
        self.jobs = jobs

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
                work = partial(dataset_files.merge, self.jobs.engine.datasets, *wish)
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
                work = partial(dataset_files.export, chosen, form, output)
                self.jobs.launch("Writing", work, partial(written, output))

        def written(output: Path, counts: dict[str, int]) -> None:
            left_out = f", {counts['left_out']:,} without turns left out" if counts["left_out"] else ""
            app.say(f"✓ {counts['written']:,} records of {counts['read']:,} rows{left_out}", str(output))

        app.push_screen(ExportScreen(app.workspace.home, chosen.name, Path.cwd()), answered)

    def _show(self, name: str) -> None:
        """The dataset `name` is new in the list, and chosen."""
        self.jobs.screen.wanted_dataset = name
        self.jobs.screen.scan()
