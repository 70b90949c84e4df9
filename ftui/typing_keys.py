"""Which keys belong to the field that somebody types into, and which are actions all the same."""

from __future__ import annotations

from textual.widget import Widget
from textual.widgets import Input, OptionList

LEAVING = ("tab", "shift+tab", "escape")


class EndsWithEnter:
    """Mark of a widget whose line of text is left with enter like with escape."""


def is_typed(focused: Widget | None, key: str) -> bool:
    """Does the widget in focus want `key` for itself?"""
    if isinstance(focused, OptionList):  # the list of a choice
        return key not in ("tab", "shift+tab")
    if not isinstance(focused, Input) or key in LEAVING:
        return False
    return key != "enter" or not any(isinstance(node, EndsWithEnter) for node in focused.ancestors)
