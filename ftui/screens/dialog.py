"""Boxes in front of a place: a text to read, a question to answer."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap
from typing import ClassVar, TypeVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """A box with a title. Escape closes it without an answer."""

    WIDEST = 100  # characters, with the border; as in the style below

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close", show=False)]
    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog > .box {
        width: 90%; max-width: 100; height: auto; max-height: 90%;
        border: heavy $accent; background: $surface; padding: 0 1;
    }
    """

    @property
    def room(self) -> int:
        """Characters of a line in the box, beside border, padding and scrollbar."""
        return min(self.WIDEST, self.app.size.width * 9 // 10) - 6

    def fit_list(self, table: Widget, below: str) -> None:
        """Let a list be as high as the box can be, but for the line of keys `below` it."""
        highest = self.app.size.height * 9 // 10 - 2  # the border
        table.styles.max_height = max(3, highest - len(wrap(below, self.room)))

    def action_close(self) -> None:
        self.dismiss(None)


class ScrolledDialog(Dialog[Result]):
    """A dialog whose box is a VerticalScroll: j k g G move in it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
        Binding("g", "edge('home')", show=False),
        Binding("G", "edge('end')", show=False),
    ]

    @property
    def box(self) -> VerticalScroll:
        return self.query_one(".box", VerticalScroll)

    def on_mount(self) -> None:
        self.box.focus()

    def action_scroll(self, lines: int) -> None:
        self.box.scroll_relative(y=lines, animate=False)

    def action_edge(self, which: str) -> None:
        self.box.scroll_home(animate=False) if which == "home" else self.box.scroll_end(animate=False)


class TextDialog(ScrolledDialog[None]):
    """A text to read. text: or what draws it for lines of so many characters."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q,enter,question_mark", "close", show=False)]

    def __init__(self, title: str, text: Content | Callable[[int], Content]):
        super().__init__()
        self.heading = title
        self.text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = Content(self.heading)
            box.border_subtitle = Content("esc closes")
            yield Static("", markup=False)

    def on_resize(self) -> None:
        text = self.text if isinstance(self.text, Content) else self.text(self.room)
        self.query_one(".box Static", Static).update(text)


class Question(Dialog[str]):
    """A question with a few answers: (key, words, value). The first one is the default."""

    DEFAULT_CSS = "Question OptionList { border: none; background: transparent; padding: 0; }"

    def __init__(self, title: str, question: Content, answers: list[tuple[str, str, str]]):
        super().__init__()
        self.heading = title
        self.question = question
        self.answers = answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self.heading)
            box.border_subtitle = Content("esc cancels")
            yield Static(self.question, markup=False)
            yield OptionList(*[Option(_answer(key, words), id=value) for key, words, value in self.answers])

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 0
        options.focus()

    def on_key(self, event: events.Key) -> None:
        for key, _, value in self.answers:
            if event.key == key:
                event.stop()
                self.dismiss(value)
        if event.key in ("j", "k"):
            options = self.query_one(OptionList)
            options.action_cursor_down() if event.key == "j" else options.action_cursor_up()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id or "")


def _answer(key: str, words: str) -> Content:
    return Content.assemble((f" {key} ", "bold $accent"), f" {words}")
