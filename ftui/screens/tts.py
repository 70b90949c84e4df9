"""The place for voices: what is coming, in plain words. Nothing here pretends to work."""

from __future__ import annotations

from collections.abc import Iterable

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ftui.screens.place import Place

COMING = (
    ("Voice samples", "record or import speech, and write down what is said in it"),
    ("Datasets", "cut the samples into sentences for training"),
    ("Training", "fine-tune a Qwen3-TTS voice on them"),
    ("Speaking", "let the voice read a text, before and after"),
)


class TTSScreen(Place):
    """Says that voices are not here yet."""

    NAME = "tts"
    pane = "tts"

    def content(self) -> Iterable[Widget]:
        text = Content.assemble(
            ("Voice is not available yet.\n\n", "bold"),
            "This screen will be the place to make a voice of your own:\n\n",
            *[Content.assemble("  · ", (f"{title:<15}", "bold"), f"{words}\n") for title, words in COMING],
            "\nUntil then, press 1 for the language model.",
        )
        yield Vertical(Static(text, markup=False), classes="message")
