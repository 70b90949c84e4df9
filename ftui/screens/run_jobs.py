"""What every place with runs can do: start something, stop, resume, look at all runs, undo, copy, leave."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from engines.running.runs import Run, Runs
from ftui.screens import confirm
from ftui.screens.dialog import TextDialog

if TYPE_CHECKING:
    from ftui.app import FtuiApp
    from ftui.screens.panes import PanesPlace

LONGEST_CAUSE = 120  # characters in a notice
STOP_GRACE_SECONDS = 60.0


class RunJobs:
    """The actions around runs. Each engine call that may take time is in the background."""

    def __init__(self, screen: PanesPlace):
        self.screen = screen
        self.busy = ""  # what is being started just now

    @property
    def ftui(self) -> FtuiApp:
        return self.screen.ftui

    @property
    def runs(self) -> Runs:
        assert self.ftui.engine is not None  # actions are blocked until it is loaded
        return self.ftui.engine.runs

    def launch(self, what: str, work: Any, then: Any) -> None:
        """Start something; until the engine has answered nothing else is started."""
        self.busy = f"{what}: wait a moment"

        def done(value: Any) -> None:
            self.busy = ""
            then(value)
            self.screen.show_footer()

        def failed(error: Exception) -> None:
            self.busy = ""
            self.ftui.show_error(error)
            self.screen.show_footer()

        self.ftui.in_background("launch", work, done, failed)

    # --- what a place decides ---

    def command(self) -> str:
        """What `s` does, as a command; empty if it cannot be done."""
        raise NotImplementedError

    def run_to_stop(self) -> Run | None:
        """The run that `x` stops."""
        return self.screen.run_panel.run

    def resume(self, run: Run) -> object:
        """Go on with a run; in a thread."""
        raise NotImplementedError

    def show_run(self, run: Run) -> None:
        """Show a run in the Run pane, and go there."""
        raise NotImplementedError

    def running(self) -> Run | None:
        """What goes on when the app is left."""
        return self.screen.run_panel.run if self.screen.facts().run_active else None

    def again(self) -> dict[str, Callable[[Run], Run]]:
        """How a run of this place is repeated or extended, by these words; in a thread."""
        return {}

    # --- runs ---

    def do_stop(self) -> None:
        run = self.run_to_stop()
        if run is not None:
            trains = run.kind in ("train", "voice")
            what = "it saves a checkpoint, then ends" if trains else "it ends soon"
            self.ftui.in_background(
                "stop", lambda: self._ask_to_stop(run), lambda _: self.ftui.say(f"Stopping {run.name}: {what}")
            )

    def _ask_to_stop(self, run: Run) -> None:
        self.runs.request_stop(run, STOP_GRACE_SECONDS)

    def do_resume(self) -> None:
        run = self.screen.run_panel.run
        if run is not None:
            self.launch("Resuming", lambda: self.resume(run), lambda _: self.show_run(run))

    def do_runs(self) -> None:
        from ftui.screens.runs import RunsScreen

        def chosen(run: Run | None) -> None:
            if run is not None:
                self.show_run(run)

        self.screen.app.push_screen(RunsScreen(self.runs, self.again()), chosen)

    def run_moved(self, run: Run, state: str) -> None:
        """The run that is shown has another state."""
        if state == "done":
            self.ftui.say(f"✓ {run.name} is done")
        elif state in ("failed", "lost"):
            cause = shorten(run.status().cause or state, LONGEST_CAUSE, placeholder="…")
            self.ftui.say(f"✗ {run.name}: {cause}", "The Run pane says what to do.", severity="error")

    # --- the machine, the clipboard, the trash ---

    def do_machine(self) -> None:
        from ftui.widgets.machine import report

        assert self.ftui.engine is not None

        def show(found: dict[str, Any]) -> None:
            self.screen.app.push_screen(TextDialog("This machine", report(found)))

        self.ftui.in_background("doctor", self.ftui.engine.doctor, show)

    def do_copy(self) -> None:
        self.screen.app.copy_to_clipboard(self.command())
        self.ftui.say("Copied", self.command())

    def do_undo(self) -> None:
        words, restore = self.ftui.undo_stack.pop()

        def restored(_: object) -> None:
            self.ftui.say(words)
            self.screen.scan()

        self.ftui.in_background("undo", restore, restored)

    # --- leaving ---

    def do_quit(self) -> None:
        """Leave at once, or ask what shall become of a run; it goes on in any case but one."""
        run = self.running()
        if run is None:
            self.screen.app.exit()
            return
        chosen = run

        def answered(answer: str | None) -> None:
            if answer == "detach":
                self.screen.app.exit()
            elif answer == "stop":
                self.ftui.in_background("stop", lambda: self._ask_to_stop(chosen), lambda _: self.screen.app.exit())

        self.screen.app.push_screen(confirm.leave(run.name), answered)
