"""The names of the panes in one line, where only one of them fits on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from ftui.actions import PANES


class PaneTabs(Static):
    """The current pane is marked ▸ and reversed."""

    DEFAULT_CSS = "PaneTabs { height: 1; text-wrap: nowrap; }"

    class Clicked(Message):
        """The mouse chose `pane`."""

        def __init__(self, pane: str):
            super().__init__()
            self.pane = pane

    def __init__(self, panes: Sequence[str]) -> None:
        super().__init__(markup=False)
        self.panes = panes
        self._ends: list[tuple[int, str]] = []

    def show(self, current: str) -> None:
        content, self._ends = Content(""), []
        for name in self.panes:
            mark, style = ("▸", "bold reverse") if name == current else (" ", "$foreground-muted")
            content += Content.styled(f" {mark} {PANES[name]} ", style)
            self._ends.append((content.cell_length, name))
        self.update(content, layout=False)

    def on_click(self, event: events.Click) -> None:
        pane = next((name for end, name in self._ends if event.x < end), None)
        if pane is not None:
            self.post_message(self.Clicked(pane))
