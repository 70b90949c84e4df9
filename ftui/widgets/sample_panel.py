"""The Samples pane: recordings with their scores and texts, one of them to look at below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Static

from engines.voice.playback import Player, can_be_heard, fetch_command
from engines.voice.samples import RECOMMENDED_SECONDS, Sample, Totals
from engines.voice.transcript_files import read as read_texts
from engines.voice.waveform import peaks
from ftui.format import UNKNOWN, count, duration, seconds
from ftui.widgets.list_table import ListTable
from ftui.widgets.pane import Pane
from ftui.widgets.sample_view import draw

VIEWS = {
    "all": lambda sample: True,
    "doubtful": lambda sample: bool(sample.reasons),
    "without a text": lambda sample: not sample.transcript,
    "with uncertain words": lambda sample: bool(sample.uncertain_words) and not sample.transcript_edited,
}
TEXT_WIDTH = 60


class SamplePanel(Pane, can_focus=True):
    """A list, its totals, and the chosen sample. Empty: what to do first."""

    DEFAULT_CSS = """
    SamplePanel #sample-totals { height: auto; padding: 0 1; }
    SamplePanel #sample-list { height: 1fr; }
    SamplePanel #sample-view { height: 1fr; min-height: 6; max-height: 12; padding: 0 1; }
    SamplePanel #sample-view { border-top: solid $foreground 30%; }
    SamplePanel.-empty #sample-list, SamplePanel.-empty #sample-view { display: none; }
    """

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id, classes="pane -empty")
        self.samples: dict[str, Sample] = {}
        self.view = "all"
        self.reference = ""  # the file name of the clip that gives the voice its speaker, if one was chosen
        self.player = Player()
        self.table = ListTable(("name", "time", "score", "text"), id="sample-list")
        self.totals = Static(Content.styled("looking…", "$foreground-muted"), id="sample-totals", markup=False)
        self.look = Static("", markup=False)
        self._shown: Sample | None = None

    def compose(self) -> ComposeResult:
        yield self.totals
        yield self.table
        with VerticalScroll(id="sample-view", can_focus=False):
            yield self.look

    def on_unmount(self) -> None:
        self.player.stop()

    # --- the list ---

    @property
    def sample(self) -> Sample | None:
        chosen = self.table.chosen
        return self.samples.get(chosen) if chosen else None

    def show(self, samples: list[Sample], totals: Totals) -> None:
        """The samples on disk, with what they come to."""
        self.samples = {sample.filename: sample for sample in samples}
        self.set_class(not samples, "-empty")
        self._fill()
        self.totals.update(totals_line(totals, self.view, self.table.row_count) if samples else FIRST)

    def _fill(self) -> None:
        shown = [sample for sample in self.samples.values() if VIEWS[self.view](sample)]
        self.table.fill([(sample.filename, _cells(sample, self.reference)) for sample in shown])
        self._look()

    def mark(self, reference: str) -> None:
        """Another reference clip."""
        if reference != self.reference:
            self.reference = reference
            self._fill()

    @on(DataTable.RowHighlighted)
    def _highlighted(self) -> None:
        self._look()

    def on_resize(self) -> None:
        self._shown = None
        self._look()

    def _look(self) -> None:
        """Draw the chosen sample when its wave is read."""
        sample = self.sample
        if sample == self._shown:
            return
        self._shown = sample
        width = max(10, self.query_one("#sample-view").scrollable_content_region.width)
        if sample is None:
            self.look.update("")
            return

        def show(wave: list[float]) -> None:
            if sample is self.sample:
                self.look.update(draw(sample, wave))

        self.ftui.in_background("wave", partial(peaks, sample.path, width), show)

    def target(self) -> Widget:
        return self.table if self.samples else self

    def leave(self) -> bool:
        """Back to all samples; end what plays."""
        if self.player.stop():
            return True
        if self.view == "all":
            return False
        self.view = "all"
        self._refill()
        return True

    # --- actions ---

    def do_view(self) -> None:
        """All, the doubtful ones, those without a text, those with uncertain words."""
        names = list(VIEWS)
        self.view = names[(names.index(self.view) + 1) % len(names)]
        self._refill()

    def _refill(self) -> None:
        self._fill()
        totals = self.ftui.tts.samples.totals(self.samples.values())
        self.totals.update(totals_line(totals, self.view, self.table.row_count))

    def do_play(self) -> None:
        if self.sample is not None:
            file = self.sample.path

            def failed(error: Exception) -> None:
                if not can_be_heard():
                    self.app.copy_to_clipboard(fetch_command(file))  # a long line, which a box would break
                    self.ftui.say("There is no sound on this machine. Copied, for yours:", fetch_command(file))
                else:
                    self.ftui.show_error(error)

            self.ftui.in_background("play", partial(self.player.play, file), lambda _: None, failed)

    def do_edit_text(self) -> None:
        from ftui.screens.sample_dialogs import EditTextScreen

        sample = self.sample
        if sample is None:
            return
        chosen = sample

        def answered(text: str | None) -> None:
            if text is not None and text != chosen.transcript:
                work = partial(self.ftui.tts.samples.set_transcript, chosen.filename, text)
                self.ftui.in_background("edit", work, written)

        def written(before: Sample) -> None:
            back = partial(self.ftui.tts.samples.put_back, [before])
            self.ftui.undo_stack.append((f"{before.filename} has its text back", back))
            self.post_message(self.DiskChanged())

        self.app.push_screen(EditTextScreen(chosen), answered)

    def do_replace(self) -> None:
        from ftui.screens.sample_dialogs import TwoLinesScreen

        def answered(wish: tuple[str, str] | None) -> None:
            if wish is not None:
                self.ftui.in_background("edit", partial(self.ftui.tts.samples.replace, *wish), replaced)

        def replaced(before: Sequence[Sample]) -> None:
            if before:
                back = partial(self.ftui.tts.samples.put_back, before)
                self.ftui.undo_stack.append((f"{len(before)} transcripts are as they were", back))
            self.ftui.say(f"✎ {len(before)} transcripts changed", "u takes it back." if before else "")
            self.post_message(self.DiskChanged())

        self.app.push_screen(TwoLinesScreen(), answered)

    def do_take_texts(self) -> None:
        """Transcripts that somebody wrote: of the samples, or of the recordings they were made of."""
        from ftui.screens.open_file import OpenFileScreen

        def answered(path: Path | None) -> None:
            if path is not None:
                self.ftui.in_background("texts", lambda: samples.set_transcripts(read_texts(path)), written)

        def written(found: tuple[Sequence[Sample], Sequence[str]]) -> None:
            before, unknown = found
            if before:
                back = partial(samples.put_back, before)
                self.ftui.undo_stack.append((f"{len(before)} transcripts are as they were", back))
            names = f"{len(unknown)} names are of no sample: {', '.join(unknown[:3])}. " if unknown else ""
            self.ftui.say(f"✎ {len(before)} texts written", f"{names}{'u takes it back.' if before else ''}")
            self.post_message(self.DiskChanged())

        samples = self.ftui.tts.samples
        heading = "Transcripts: a CSV or JSONL file, or NAME|TEXT lines (LJSpeech's metadata.csv)"
        self.app.push_screen(OpenFileScreen(Path.cwd(), heading), answered)

    def do_rename_sample(self) -> None:
        from ftui.screens.sample_dialogs import OneLineScreen

        sample = self.sample
        if sample is None:
            return
        before = sample.filename

        def answered(name: str | None) -> None:
            if name is not None:
                self.ftui.in_background("rename", partial(self.ftui.tts.samples.rename, before, name), renamed)

        def renamed(now: Sample) -> None:
            back = partial(self.ftui.tts.samples.rename, now.filename, before)
            self.ftui.undo_stack.append((f"{before} has its name back", back))
            self.post_message(self.DiskChanged())

        self.app.push_screen(OneLineScreen(f"New name of {before}", sample.path.stem), answered)

    def do_export_samples(self) -> None:
        from ftui.screens.sample_dialogs import OneLineScreen

        def answered(folder: str | None) -> None:
            if folder is not None:
                target = Path(folder).expanduser().absolute()
                work = partial(self.ftui.tts.samples.export, target)
                self.ftui.in_background("export", work, lambda path: self.ftui.say(f"✓ written: {path}"))

        heading = "A new folder for all samples and metadata.csv (LJSpeech)"
        self.app.push_screen(OneLineScreen(heading, str(Path.cwd() / "samples")), answered)

    def do_delete(self) -> None:
        """To the trash, from where `u` brings it back."""
        sample = self.sample
        if sample is None:
            return
        samples = self.ftui.tts.samples

        def deleted(trashed: Path) -> None:
            self.ftui.undo_stack.append((f"{sample.filename} is back", lambda: samples.restore(trashed)))
            self.ftui.say(f"{sample.filename} is in the trash", "u brings it back.")
            self.post_message(self.DiskChanged())

        self.ftui.in_background("delete", partial(samples.delete, sample.filename), deleted)


FIRST = Content.assemble(
    ("No samples yet. Press a key:\n\n", "bold"),
    (" o ", "bold $text-accent"),
    "add recordings of one speaker: files, a folder, a zip archive, a Telegram export\n",
    (" D ", "bold $text-accent"),
    "run the demo: speech by espeak-ng, a tiny model of random weights\n\n",
    ("Long ones are cut at pauses, each piece is checked. 10 to 30 minutes of clean speech make a voice.\n"
     "The originals are only read.", "$foreground-muted"),
)  # fmt: skip


def totals_line(totals: Totals, view: str, shown: int) -> Content:
    """`12 min 04 s of 30 min recommended · 140 samples · 3 without a text · 2 doubtful`."""
    enough = totals.seconds >= RECOMMENDED_SECONDS
    missing = totals.count - totals.transcribed
    parts = [
        f" of {RECOMMENDED_SECONDS / 60:.0f} min recommended · {count(totals.count)} samples",
        f" · {count(missing)} without a text" if missing else "",
        f" · {count(totals.doubtful)} doubtful" if totals.doubtful else "",
    ]
    line = Content.assemble((duration(totals.seconds), "bold $text-success" if enough else "bold"), "".join(parts))
    if view != "all":
        line += Content.styled(f"\nshown: {count(shown)} {view} (v: next view, esc: all)", "$text-accent")
    return line


def _cells(sample: Sample, reference: str) -> tuple[str, ...]:
    mark = "✎ " if sample.transcript_edited else "? " if sample.uncertain_words else ""
    warned = "⚠ " if sample.reasons else ""
    text = mark + (sample.transcript or UNKNOWN)
    star = "★ " if reference in (sample.filename, sample.path.stem) else ""
    return (
        star + sample.filename,
        seconds(sample.duration_sec),
        warned + (UNKNOWN if sample.score is None else str(sample.score)),
        text if len(text) <= TEXT_WIDTH else f"{text[: TEXT_WIDTH - 1]}…",
    )
