"""The first line: where we are, on what, with which adapter."""

from __future__ import annotations

from pathlib import Path

from textual.content import Content
from textual.widgets import Static

from ftui.clean import clean_line
from ftui.format import path

PLACES = {"llm": "1 LLM", "tts": "2 Voice"}


class Header(Static):
    """One line, drawn again when one of its parts changed."""

    DEFAULT_CSS = "Header { height: 1; background: $panel; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, place: str, home: Path):
        super().__init__(markup=False)
        self.place = place
        self.home = home

    def on_mount(self) -> None:
        for name in ("device", "active_adapter"):
            self.watch(self.app, name, self._draw)

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        device = getattr(self.app, "device", "") or "…"
        adapter = getattr(self.app, "active_adapter", None)
        style = {True: "bold reverse", False: "$foreground-muted"}
        places = [(f" {label} ", style[name == self.place]) for name, label in PLACES.items()]
        left = Content.assemble(("ftui ", "bold $accent"), *places)
        right = clean_line(f"{path(self.home)} · {device} · " + (f"● {adapter}" if adapter else "base model"))
        room = max(0, self.size.width - left.cell_length - 1)
        text = Content(right).truncate(room, ellipsis=True)
        self.update(Content.assemble(left, " " * max(1, room - text.cell_length + 1), text), layout=False)
