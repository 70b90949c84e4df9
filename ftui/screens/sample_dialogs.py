"""What is asked about samples: what is said in one, a new name, what to find and what to put in its place."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static, TextArea

from engines.voice.samples import Sample
from ftui.clean import clean_line
from ftui.screens.dialog import Dialog
from ftui.widgets.sample_view import spoken

Result = TypeVar("Result")


class EditTextScreen(Dialog[str]):
    """Answers with the text. Uncertain words stand marked above the field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", show=False, priority=True),
    ]
    DEFAULT_CSS = """
    EditTextScreen TextArea { height: 5; padding: 0; }
    EditTextScreen TextArea, EditTextScreen TextArea:focus { border: none; }
    EditTextScreen .said { height: auto; max-height: 6; margin: 0 0 1 0; }
    """

    def __init__(self, sample: Sample):
        super().__init__()
        self.sample = sample
        self.field = TextArea(clean_line(sample.transcript), soft_wrap=True, tab_behavior="focus")

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(f"What is said in {clean_line(self.sample.filename)}")
            box.border_subtitle = Content("enter keeps it, esc cancels")
            if self.sample.uncertain_words:
                yield Static(spoken(self.sample), classes="said", markup=False)
            yield self.field

    def on_mount(self) -> None:
        self.field.focus()
        self.field.move_cursor(self.field.document.end)

    def action_take(self) -> None:
        self.dismiss(" ".join(self.field.text.split()))


class TwoLinesScreen(Dialog[tuple[str, str]]):
    """Find and replace: answers with both lines."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "take", show=False, priority=True)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content("Find and replace in all transcripts")
            box.border_subtitle = Content("tab next line, enter replaces whole words, esc cancels")
            yield Input(placeholder="find", id="find-words")
            yield Input(placeholder="replace by", id="replace-by")

    def on_mount(self) -> None:
        self.query_one("#find-words").focus()

    def action_take(self) -> None:
        find, by = (field.value for field in self.query(Input))
        if find.strip():
            self.dismiss((find, by))


class OneLineScreen(Dialog[str]):
    """One line of text."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "take", show=False, priority=True)]

    def __init__(self, heading: str, value: str):
        super().__init__()
        self.heading = heading
        self.value = value

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(clean_line(self.heading))
            box.border_subtitle = Content("enter does it, esc cancels")
            yield Input(clean_line(self.value))

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def action_take(self) -> None:
        if self.query_one(Input).value.strip():
            self.dismiss(self.query_one(Input).value.strip())
