"""Model servers: which there are, started, stopped, adopted; and what is run after each activation."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from engines.contract.errors import UserError
from engines.running.runs import Run
from ftui.clean import clean_line
from ftui.screens.ask_text import AskText
from ftui.screens.dialog import Dialog
from ftui.server_table import HEADINGS, cells
from ftui.widgets.list_table import ListTable

if TYPE_CHECKING:
    from engines.config.serve import ServeConfig
    from engines.servers.server import ServerState
    from engines.servers.serving import Serving
    from ftui.app import FtuiApp

KEYS = "s starts one · x stops · a adopts one that runs · f forgets it · w: what is run after activations"
NONE = "No model server runs. They follow the active adapter."
REFRESH_SECONDS = 1.0


class ServersScreen(Dialog[Run]):
    """Asks the servers again once a second while it is open. Closes with the run of a server whose log is wanted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,V", "close", show=False),
        Binding("j", "move('cursor_down')", show=False),
        Binding("k", "move('cursor_up')", show=False),
        Binding("s", "start", show=False),
        Binding("x", "stop", show=False),
        Binding("a", "adopt", show=False),
        Binding("f", "forget", show=False),
        Binding("w", "command", show=False),
    ]
    DEFAULT_CSS = """
    ServersScreen > .box { max-width: 120; }
    ServersScreen #server-keys, ServersScreen #server-command { color: $foreground-muted; height: auto; }
    """

    def __init__(self, serving: Serving):
        super().__init__()
        self.serving = serving
        self.states: dict[str, ServerState] = {}
        self.on_activate: list[str] = []

    @property
    def ftui(self) -> FtuiApp:
        return cast("FtuiApp", self.app)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content("Model servers")
            box.border_subtitle = Content("enter shows the log, esc closes")
            yield Static("asking them…", id="no-servers", markup=False)
            yield ListTable(HEADINGS)
            yield Static("", id="server-command", markup=False)
            yield Static(KEYS, id="server-keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(ListTable).focus()
        self._look()

    def on_resize(self) -> None:
        self.fit_list(self.query_one(ListTable), f"{KEYS} {self._command_line}")

    def _look(self) -> None:
        def look() -> tuple[list[ServerState], list[str]]:
            return [self.serving.state(server) for server in self.serving.servers()], self.serving.on_activate()

        if self.is_attached:
            self.ftui.in_background("servers", look, self._show)

    def _show(self, found: tuple[list[ServerState], list[str]]) -> None:
        if not self.is_attached:
            return
        states, self.on_activate = found
        self.states = {state.server.name: state for state in states}
        self.query_one("#no-servers", Static).update(NONE)
        self.query_one("#no-servers").display = not states
        self.query_one(ListTable).fill([(state.server.name, cells(state)) for state in states])
        self.query_one("#server-command", Static).update(Content(clean_line(self._command_line)))
        self.set_timer(REFRESH_SECONDS, self._look)  # not sooner: one that is gone takes seconds to be asked

    @property
    def _command_line(self) -> str:
        return f"after each activation: {shlex.join(self.on_activate)}" if self.on_activate else ""

    @property
    def chosen(self) -> ServerState | None:
        return self.states.get(self.query_one(ListTable).chosen or "")

    def _do(self, work: Callable[[], Any], said: Callable[[Any], str]) -> None:
        def done(value: Any) -> None:
            self.ftui.say(said(value))
            self._look()

        self.ftui.in_background("server", work, done)

    def action_move(self, how: str) -> None:
        getattr(self.query_one(ListTable), f"action_{how}")()

    # --- those started here ---

    def action_start(self) -> None:
        from ftui.screens.start_server import StartServerScreen

        self.ftui.push_screen(StartServerScreen(self.ftui.workspace.home), self._start)

    def _start(self, config: ServeConfig | None) -> None:
        if config is None:
            return

        def start() -> str:
            run = self.serving.start(config)
            self.serving.wait_until_ready(run)
            return f"● {run.name} answers at {run.spec['url']}/v1"

        self.ftui.say(f"Starting the {config.kind} server …")
        self.ftui.in_background("start-server", start, self.ftui.say)

    def action_stop(self) -> None:
        if self.chosen is not None:
            server = self.chosen.server
            self._do(
                lambda: self.serving.stop(server), lambda _: f"■ {server.name} answers what it is asked, then ends"
            )

    @on(DataTable.RowSelected)
    def _log(self) -> None:
        if self.chosen is None:
            return
        server = self.chosen.server
        if server.run is None:
            self.ftui.say(f"{server.name} was not started here", "Its log is where it was started.")
        else:
            self.dismiss(server.run)

    # --- others ---

    def action_adopt(self) -> None:
        from engines.servers.server_clients import check_url

        def answered(url: str | None) -> None:
            if url is not None:
                self._do(lambda: self.serving.adopt(url), lambda server: f"{server.name} follows the active adapter")

        hint = "Its address on this machine: the light server, vLLM or llama-server; see docs/serving.md for its flags."
        self.ftui.push_screen(AskText("Adopt a server that runs", hint, "http://127.0.0.1:", check_url), answered)

    def action_forget(self) -> None:
        if self.chosen is not None:
            server = self.chosen.server
            self._do(
                lambda: self.serving.forget(server), lambda _: f"{server.name} is not followed any more; it runs on"
            )

    def action_command(self) -> None:
        def answered(text: str | None) -> None:
            if text is not None:
                self._do(
                    lambda: self.serving.set_on_activate(_words(text)),
                    lambda _: "It is run after each activation" if text else "Nothing is run after an activation",
                )

        hint = (
            "A program with its arguments; empty: none. It finds FTUI_ADAPTER, FTUI_ADAPTER_PATH and FTUI_BASE_MODEL "
            "set. If it fails, the adapter before is active again. No shell reads it; for one: sh -c '…'."
        )
        dialog = AskText("Run after each activation", hint, shlex.join(self.on_activate), _words)
        self.ftui.push_screen(dialog, answered)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError("usage", f"the quotes do not match: {error}", "Close them.") from None
