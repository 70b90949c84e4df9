"""The Voices pane: what was trained, with the figures of each epoch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engines.voice.voice_files import Voice
from ftui.clean import clean, clean_line
from ftui.format import UNKNOWN, date, heard, number, size
from ftui.screens import confirm
from ftui.screens.dialog import TextDialog
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

    def do_epochs(self) -> None:
        """Each epoch with its figures, zero-shot cloning to compare with, and what was heard."""
        if self.voice is not None:
            self.app.push_screen(TextDialog(clean_line(self.voice.name), Content(clean(_epochs(self.voice)))))

    def do_export_voice(self) -> None:
        voice = self.voice
        if voice is None:
            return
        folder = self.ftui.workspace.folder("qwen3-tts", "archives")
        work = partial(self.ftui.tts.voice_jobs.voices.export, voice.name, folder)
        self.ftui.say(f"Writing {voice.name} …")
        self.ftui.in_background(
            "export", work, lambda path: self.ftui.say(f"✓ {path}", "qwen_tts loads what is in it.")
        )

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


def _epochs(voice: Voice) -> str:
    """Two lines for each epoch, one for each sentence that was heard."""
    lines = [f"base model: {voice.card.get('base_model') or UNKNOWN}", ""]
    zero_shot = voice.card.get("zero_shot", {}).get("heard")
    if zero_shot:
        lines += ["zero-shot cloning, to compare with", f"  {heard(zero_shot)}", ""]
    for epoch in voice.epochs:
        mark = "● " if epoch.number == voice.best_epoch else ""
        lines.append(
            f"{mark}epoch {epoch.number}, {date(epoch.created_at)}, held-out loss {number(epoch.eval_loss, 3)}"
        )
        if epoch.heard:
            lines.append(f"  {heard(epoch.heard)}")
        lines += [f"  “{row['text']}” was heard as “{row['heard']}”" for row in epoch.sentences if row.get("heard")]
        lines.append("")
    return "\n".join(lines)


def _cells(voice: Voice) -> tuple[str, ...]:
    best = voice.epoch() if voice.epochs else None
    figures = best.heard if best else {}
    wrong, alike = figures.get("wer"), figures.get("similarity")
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
