"""What every place of the app has: a header, a footer, keys from the one table, a smallest size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from ftui import actions
from ftui.actions import Facts
from ftui.typing_keys import is_typed
from ftui.widgets.action_footer import ActionFooter
from ftui.widgets.header import Header

if TYPE_CHECKING:
    from ftui.app import FtuiApp

SMALLEST = (80, 24)


class Place(Screen[None]):
    """A place carries out actions by `do_<name>`, its own or those of `owners`."""

    # With priority a key is dealt with before the next one is looked at, however quickly they come.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key, f"press({key!r})", show=False, priority=True) for key in actions.KEYS
    ]
    NAME = ""
    pane = ""
    # Without this the whole screen is drawn again whenever the focus moves; what is in focus draws itself.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def __init__(self) -> None:
        super().__init__()
        self.footer = ActionFooter()

    @property
    def ftui(self) -> FtuiApp:
        return cast("FtuiApp", self.app)

    def compose(self) -> ComposeResult:
        yield Header(self.NAME, self.ftui.workspace.home)
        with Container(id="body"):
            yield from self.content()
        yield Static("", id="too-small", markup=False)
        yield self.footer

    def content(self) -> Iterable[Widget]:
        return ()

    def facts(self) -> Facts:
        return Facts(place=self.NAME, pane=self.pane, loaded=self.ftui.engine is not None)

    def owners(self) -> Iterable[object]:
        """Who may carry out an action, first come first."""
        return (self,)

    def show_footer(self) -> None:
        self.footer.show(self.facts())

    # --- keys ---

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that somebody types into a field are no actions."""
        return action != "press" or not is_typed(self.focused, str(parameters[0]))

    def action_press(self, key: str) -> None:
        self.press(key)

    def on_action_footer_clicked(self, event: ActionFooter.Clicked) -> None:
        self.press(event.key)

    def press(self, key: str) -> None:
        """Do what `key` means here, or say why not."""
        action = actions.find(key, self.pane)
        if action is None:
            self.ftui.say(actions.elsewhere(key, self.pane))
            return
        why = action.blocked(self.facts())
        if why:
            self.ftui.say(why, severity="warning")
            return
        for owner in self.owners():
            method = getattr(owner, f"do_{action.name}", None)
            if method is not None:
                method()
                break
        self.show_footer()

    def do_llm(self) -> None:
        self.go("llm")

    def do_tts(self) -> None:
        self.go("tts")

    def go(self, place: str) -> None:
        self.app.switch_mode(place)
        self.ftui.remember(place=place)

    def do_help(self) -> None:
        from ftui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self.facts()))

    def do_palette(self) -> None:
        self.app.action_command_palette()

    def do_quit(self) -> None:
        self.app.exit()

    # --- size ---

    def on_resize(self, event: events.Resize) -> None:
        small = event.size.width < SMALLEST[0] or event.size.height < SMALLEST[1]
        self.set_class(small, "-too-small")
        if small:
            self.query_one("#too-small", Static).update(
                f"ftui needs a terminal of {SMALLEST[0]} × {SMALLEST[1]} characters.\n"
                f"This one has {event.size.width} × {event.size.height}: make it larger, or press q to quit."
            )

    def on_screen_resume(self) -> None:
        self.show_footer()
