"""The terminal app: its places, its background work, and what it remembers.

Data flows one way. Engine calls that may take time run in threads (`in_background`), come
back as one message, and are handled on the app's own loop. Runs are followed by polling,
in follower.py. Nothing here touches a run's process: quitting never ends a training.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual.app import App, SystemCommand
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen
from textual.worker import get_current_worker

from engines.contract.errors import UserError
from engines.workspace import Workspace
from ftui import actions, settings
from ftui.ascii import AsciiFilter, wanted
from ftui.clean import clean
from ftui.screens.llm import LLMScreen
from ftui.screens.place import Place
from ftui.screens.tts import TTSScreen

if TYPE_CHECKING:
    from engines.llm import LLMEngine
    from engines.tts import TTSEngine

Result = TypeVar("Result")
ERRORS = "ftui-errors.log"


class Finished(Message):
    """Work in the background is done: `then(value)` is called on the app's loop."""

    def __init__(self, then: Callable[[Any], None], value: Any):
        super().__init__()
        self.then = then
        self.value = value


class Failed(Message):
    """Work in the background raised `error`."""

    def __init__(self, error: Exception, then: Callable[[Exception], None] | None):
        super().__init__()
        self.error = error
        self.then = then


def _end_with_the_terminal() -> None:
    """End the process when the terminal is gone (SSH dropped, window closed).

    Textual's writer then waits for ever and its reader spins. Nothing is lost: all state is
    on disk, and trainings belong to their supervisors.
    """
    poller = select.poll()
    poller.register(0, 0)  # a hang-up is reported without being asked for
    poller.poll()
    os._exit(128 + signal.SIGHUP)


def _leave_out_of_collections() -> None:
    """What is loaded now stays for ever: walking through it at each collection takes 70 ms, and keys wait."""
    gc.collect()
    gc.freeze()


class FtuiApp(App[None]):
    """The app on one workspace."""

    TITLE = "ftui"
    CSS_PATH = "ftui.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {"llm": LLMScreen, "tts": TTSScreen}
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    AUTO_FOCUS = None
    ESCAPE_TO_MINIMIZE = False

    engine: reactive[LLMEngine | None] = reactive(None)
    tts: TTSEngine  # there as soon as `engine` is
    device: reactive[str] = reactive("")
    active_adapter: reactive[str | None] = reactive(None)

    def __init__(self, home: Path | None = None):
        super().__init__()
        self.workspace = Workspace(home)
        self.remembered = settings.load(self.workspace)
        self.undo_stack: list[tuple[str, Callable[[], Any]]] = []  # what is said then, and what undoes
        self.animation_level = "none"
        if wanted():
            self._filters.append(AsciiFilter())

    # --- start and end ---

    def on_mount(self) -> None:
        self._end_on_signals()
        if not self.is_headless:
            Thread(target=_end_with_the_terminal, daemon=True).start()
        if self.remembered.theme in self.available_themes:
            self.theme = self.remembered.theme
        self.switch_mode(self.remembered.place if self.remembered.place in self.MODES else "llm")
        self.call_after_refresh(self._after_first_paint)

    def _end_on_signals(self) -> None:
        """Leave the terminal as it was when we are told to end, or when the terminal is closed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            try:
                loop.add_signal_handler(number, self.exit)
            except (NotImplementedError, RuntimeError, ValueError):
                pass  # not in the main thread

    def _after_first_paint(self) -> None:
        self.in_background("engine", self._load_engine, self._engine_loaded)

    def _load_engine(self) -> LLMEngine:
        from engines.llm import LLMEngine
        from engines.tts import TTSEngine

        self.tts = TTSEngine(self.workspace)
        return LLMEngine(self.workspace)

    def _engine_loaded(self, engine: LLMEngine) -> None:
        self.engine = engine
        self.in_background("device", self._find_device, self._device_found)
        self.in_background("reconcile", engine.runs.reconcile, lambda runs: None)

    def on_form_panel_ready(self) -> None:
        self.call_after_refresh(_leave_out_of_collections)

    def _find_device(self) -> str:
        from engines.running import devices

        gpus = devices.gpus()
        return gpus[0].name if gpus else f"CPU, {devices.cores()} cores"

    def _device_found(self, device: str) -> None:
        self.device = device

    def on_unmount(self) -> None:
        self.remember()

    def remember(self, **changes: Any) -> None:
        """Note what is to be the same at the next start; a disk that is full is no reason to complain."""
        for name, value in changes.items():
            setattr(self.remembered, name, value)
        try:
            settings.save(self.workspace, self.remembered)
        except OSError:
            pass

    def watch_theme(self, theme: str) -> None:
        if self.is_running and self.engine is not None:
            self.remember(theme=theme)

    # --- work that may take time ---

    def in_background(
        self,
        group: str,
        work: Callable[[], Result],
        then: Callable[[Result], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Run `work` in a thread; then `then` on the loop. A newer call of the same group replaces this one."""

        def run() -> None:
            worker = get_current_worker()
            message: Message
            try:
                message = Finished(then, work())
            except Exception as error:  # shown by show_error, never a traceback on the screen
                message = Failed(error, failed)
            if not worker.is_cancelled:
                self.post_message(message)

        self.run_worker(run, thread=True, exclusive=True, group=group, exit_on_error=False)

    def in_daemon(
        self,
        work: Callable[[], Result],
        then: Callable[[Result], None] = lambda _: None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """The same for what may take long and need not end before the app does: no end waits for it."""

        def run() -> None:
            try:
                message: Message = Finished(then, work())
            except Exception as error:
                message = Failed(error, failed)
            self.post_message(message)

        Thread(target=run, daemon=True).start()

    def on_finished(self, message: Finished) -> None:
        if self.is_running:  # not while everything is taken down
            message.then(message.value)

    def on_failed(self, message: Failed) -> None:
        if self.is_running:
            (message.then or self.show_error)(message.error)

    def show_error(self, error: Exception) -> None:
        """A cause and a next step; what was not foreseen goes to a file."""
        if isinstance(error, UserError):
            self.say(error.cause, error.next_step, severity="error")
        else:
            self._write_down(error)
            self.say(f"{type(error).__name__}: {error}", f"The whole story is in {ERRORS}.", severity="error")

    def say(self, text: str, next_step: str = "", *, severity: Any = "information") -> None:
        """A short notice; foreign text in it is harmless."""
        body = clean(f"{text[:600]}\n{next_step[:600]}".strip())
        self.notify(body, severity=severity, markup=False, timeout=8 if severity == "error" else 4)

    def _write_down(self, error: BaseException) -> None:
        try:
            with open(self.workspace.home / ERRORS, "a", encoding="utf-8") as file:
                file.write(time.strftime("%Y-%m-%d %H:%M:%S\n") + "".join(traceback.format_exception(error)))
            os.chmod(self.workspace.home / ERRORS, 0o600)
        except OSError:
            pass

    def _handle_exception(self, error: Exception) -> None:
        """A fault of ours: one line and a file, not a screen full of code. Runs go on."""
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._write_down(error)
        line = f"ftui ended by a fault: {type(error).__name__}: {error}"
        where = f"The whole story is in {self.workspace.home / ERRORS}. Runs go on."
        self._exit_renderables.append(clean(f"{line}\n{where}"))
        self._close_messages_no_wait()

    # --- the palette ---

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        place = next((item for item in self.screen_stack if isinstance(item, Place)), None)
        if place is None:
            return
        for action in actions.ACTIONS:
            if action.name in ("palette", "back") or not actions.valid(action, place.pane):
                continue
            why = clean(action.blocked(place.facts()))
            yield SystemCommand(action.label, f"{action.key}   {why}".strip(), partial(place.press, action.key))
        yield SystemCommand("Theme", "change the colours", self.action_change_theme)

    async def action_quit(self) -> None:
        """ctrl+q is q."""
        if isinstance(self.screen, Place):
            self.screen.press("q")
        else:
            self.exit()
