"""The Voices pane: what was trained, with the figures of each epoch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engines.voice_files import Voice
from ftui.format import UNKNOWN, date, number, size
from ftui.screens import confirm
from ftui.widgets.list_table import ListTable
from ftui.widgets.pane import Pane

HEADINGS = ("name", "epochs", "best", "eval loss", "words wrong", "speaker", "date", "size")
EMPTY = "No voice yet. Samples with texts become one: s in Voice parameters."


class VoicePanel(Pane, can_focus=True):
    """A table of voices, newest first. Figures are those of the best epoch."""

    DEFAULT_CSS = """
    VoicePanel #voice-empty { display: none; padding: 0 1; }
    VoicePanel.-empty #voice-empty { display: block; }
    VoicePanel.-empty ListTable { display: none; }
    VoicePanel ListTable { height: 1fr; }
    """

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id, classes="pane -empty")
        self.voices: dict[str, Voice] = {}
        self.table = ListTable(HEADINGS, id="voice-list")

    def compose(self) -> ComposeResult:
        yield self.table
        yield Static(Content.styled(EMPTY, "$foreground-muted"), id="voice-empty", markup=False)

    @property
    def voice(self) -> Voice | None:
        chosen = self.table.chosen
        return self.voices.get(chosen) if chosen else None

    def show(self, voices: list[Voice]) -> None:
        self.voices = {voice.name: voice for voice in voices}
        self.set_class(not voices, "-empty")
        self.table.fill([(voice.name, _cells(voice)) for voice in voices])

    def target(self) -> Widget:
        return self.table if self.voices else self

    def do_delete(self) -> None:
        voice = self.voice
        if voice is None:
            return
        voices = self.ftui.tts.voice_jobs.voices

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self.ftui.in_background("delete", partial(voices.delete, voice.name), deleted)

        def deleted(trashed: Path) -> None:
            self.ftui.undo_stack.append((f"{voice.name} is back", lambda: voices.restore(trashed)))
            self.ftui.say(f"{voice.name} is in the trash", "u brings it back.")
            self.post_message(self.DiskChanged())

        self.app.push_screen(confirm.delete("voice", voice.name, "All its epochs go along."), answered)


def _cells(voice: Voice) -> tuple[str, ...]:
    best = voice.epoch() if voice.epochs else None
    heard = best.heard if best else {}
    wrong, alike = heard.get("wer"), heard.get("similarity")
    return (
        voice.name,
        str(len(voice.epochs)),
        UNKNOWN if best is None else str(best.number),
        number(best.eval_loss if best else None, 3),
        UNKNOWN if not isinstance(wrong, int | float) else f"{wrong:.0%}",
        number(alike if isinstance(alike, int | float) else None, 2),
        date(voice.created_at),
        size(voice.size),
    )
