"""What the four panes of the language-model screen have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, cast

from textual.containers import Vertical
from textual.geometry import Region
from textual.message import Message
from textual.widget import Widget

if TYPE_CHECKING:
    from engines.llm import LLMEngine
    from ftui.app import FtuiApp

MOVES = {  # what a widget may call the move
    "down": ("action_cursor_down", "action_scroll_down"),
    "up": ("action_cursor_up", "action_scroll_up"),
    "top": ("action_first", "action_scroll_home"),
    "bottom": ("action_last", "action_scroll_end"),
}


class Pane(Vertical):
    """A pane carries out the actions that are its own, by `do_<name>`."""

    DEFAULT_CSS = "Pane { height: 1fr; }"

    class DiskChanged(Message):
        """This pane changed something on disk: look again."""

    @property
    def ftui(self) -> FtuiApp:
        return cast("FtuiApp", self.app)

    @property
    def engine(self) -> LLMEngine:
        assert self.ftui.engine is not None  # actions are blocked until it is loaded
        return self.ftui.engine

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """A pane draws its frame alone, for what is inside draws itself; so a move of the focus costs little."""
        if repaint and not (regions or layout or recompose):
            width, height = self.size
            regions = (
                Region(-1, -1, width + 2, 1),
                Region(-1, height, width + 2, 1),
                Region(-1, -1, 1, height + 2),
                Region(width, -1, 1, height + 2),
            )
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def target(self) -> Widget:
        """The widget that takes the keys when the pane is entered."""
        raise NotImplementedError

    def leave(self) -> bool:
        """One level out. False if this pane has no level left."""
        return False

    def move(self, where: str) -> None:
        """down, up, top or bottom, for the widget in focus."""
        focused = self.app.focused
        widget = focused if focused is not None and self in focused.ancestors else self.target()
        for name in MOVES[where]:
            method = getattr(widget, name, None)
            if method is not None:
                method()
                return
