"""All actions, from the one table, with the reason where one cannot be done now."""

from __future__ import annotations

from textual.content import Content

from ftui import actions
from ftui.actions import Action, Facts
from ftui.clean import clean_line
from ftui.screens.dialog import TextDialog
from ftui.widgets.action_footer import key_name

WHOLE = {actions.LLM: "Language model", actions.TTS: "Voice", actions.ALL: "Language model and voice"}


class HelpScreen(TextDialog):
    """The help as a box to read."""

    def __init__(self, facts: Facts):
        super().__init__("Keys", text(facts))


def text(facts: Facts) -> Content:
    """Every action once, grouped by where it is valid."""
    groups: dict[str, list[Action]] = {}
    for action in actions.ACTIONS:
        groups.setdefault(_where(action), []).append(action)
    lines: list[Content] = []
    for where, members in groups.items():
        lines.append(Content.styled(where, "bold"))
        lines += [_line(action, facts) for action in members]
        lines.append(Content(""))
    return Content("\n").join(lines)


def _where(action: Action) -> str:
    if not action.panes:
        return "Everywhere"
    if action.panes in WHOLE:
        return WHOLE[action.panes]
    return "In " + " and ".join(actions.PANES[pane] for pane in action.panes)


def _line(action: Action, facts: Facts) -> Content:
    why = action.blocked(facts) if actions.valid(action, facts.pane) else ""
    note = f"   ({clean_line(why)})" if why else ""
    key = f"  {key_name(action.key):>9}  "
    return Content.assemble((key, "bold $text-accent"), action.label, (note, "$foreground-muted"))
