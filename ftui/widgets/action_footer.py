"""The last line: at most seven actions that make sense where the focus is."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from ftui import actions
from ftui.actions import Facts

NAMES = {"escape": "esc"}


class ActionFooter(Static):
    """`show` draws the actions of a pane. One that cannot be done stands in brackets, dimmed."""

    DEFAULT_CSS = "ActionFooter { height: 1; background: $panel; padding: 0 1; text-wrap: nowrap; }"

    class Clicked(Message):
        """The mouse did what `key` does."""

        def __init__(self, key: str):
            super().__init__()
            self.key = key

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._shown: Content | None = None
        self._keys: list[tuple[int, str]] = []  # (column behind the words, key)

    def show(self, facts: Facts) -> None:
        content, self._keys = Content(""), []
        for action in actions.for_footer(facts.pane):
            key = key_name(action.key)
            if action.blocked(facts):
                content += Content.styled(f"({key}) {action.short} ", "dim")
            else:
                content += Content.assemble((f" {key} ", "bold $text-accent"), f"{action.short}  ")
            self._keys.append((content.cell_length, action.key))
        if self._shown is None or not content.is_same(self._shown):
            self._shown = content
            self.update(content, layout=False)

    def on_click(self, event: events.Click) -> None:
        column = event.x - 1
        key = next((key for end, key in self._keys if column < end), None)
        if key is not None:
            self.post_message(self.Clicked(key))


def key_name(key: str) -> str:
    return NAMES.get(key, key)
