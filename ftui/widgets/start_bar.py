"""The line above the footer: the command that `s` is about to run, and what to know before."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from ftui.clean import clean_line


class StartBar(Static):
    """`show` draws it; empty parts take no room."""

    DEFAULT_CSS = "StartBar { height: auto; max-height: 4; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__(markup=False, id="start-bar")

    def show(self, command: str, problem: str, warnings: list[str]) -> None:
        lines: list[Content] = []
        if command:
            lines.append(Content.assemble(("s ", "bold $accent"), ("$ ", "$foreground-muted"), clean_line(command)))
        if problem:
            lines.append(Content.styled(f"✗ {clean_line(problem)}", "$text-error"))
        lines += [Content.styled(f"⚠ {clean_line(text)}", "$text-warning") for text in warnings]
        self.display = bool(lines)
        self.update(Content("\n").join(lines))
