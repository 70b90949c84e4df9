"""The voice screen: Samples, Voice parameters, Run and Voices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from textual import on, work
from textual.widget import Widget
from textual.widgets import DataTable

from engines.running.runs import Run
from engines.voice.samples import Sample, Totals
from ftui.actions import TTS, Facts
from ftui.screens.panes import PanesPlace
from ftui.screens.tts_jobs import TTSJobs
from ftui.widgets.pane import Pane
from ftui.widgets.run_panel import RunPanel
from ftui.widgets.sample_panel import SamplePanel
from ftui.widgets.voice_panel import VoicePanel

if TYPE_CHECKING:
    from engines.config.voice import VoiceConfig
    from engines.llm import LLMEngine
    from engines.tts import TTSEngine
    from engines.voice.voice_files import Voice

KINDS = ("samples", "transcribe", "voice-data", "voice", "say", "compare")
NO_RUN = "No run yet. Press o in Samples to add recordings."


@dataclass(frozen=True)
class Lists:
    """One look at the workspace."""

    samples: list[Sample]
    totals: Totals
    voices: list[Voice]
    run: Run | None  # the newest that is active, else the newest


def look(engine: TTSEngine) -> Lists:
    """Read the lists from disk; runs in a thread."""
    samples = engine.samples.list()
    runs = [run for run in engine.runs.list() if run.kind in KINDS]
    newest = next((run for run in runs if run.status().active), None) or next(iter(runs), None)
    return Lists(samples, engine.samples.totals(samples), engine.voice_jobs.voices.list(), newest)


class TTSScreen(PanesPlace):
    """Four panes, as on the language-model screen."""

    NAME = "tts"
    PANES = TTS
    FORM = "voice_params"

    def __init__(self) -> None:
        super().__init__()
        self.jobs = TTSJobs(self)
        self.sample_panel = SamplePanel(id="samples")
        self.run_panel = RunPanel(NO_RUN, id="run")
        self.voice_panel = VoicePanel(id="voices")
        self.lists: Lists | None = None

    def on_mount(self) -> None:
        self.begin_panes()
        self.watch(self.app, "engine", self._begin)

    # --- the engine's answers ---

    def _begin(self, engine: LLMEngine | None) -> None:
        if engine is not None and self.params is None:
            from engines.config.voice import VoiceConfig

            self.ftui.in_background("last", lambda: self.ftui.tts.last_config(VoiceConfig), self._mount_params)
            self.scan()
            self._watch_disk()

    def _mount_params(self, last: Any) -> None:
        from ftui.widgets.config_form import ConfigForm
        from ftui.widgets.form_panel import FormPanel

        form = ConfigForm(type(last), type(last)(), id="voice-form")
        form.values = last.model_dump()
        self.mount_form(FormPanel(form, id="params"))

    def form_changed(self) -> None:
        self.show_reference()
        self.show_start()

    @work(exclusive=True, group="disk")
    async def _watch_disk(self) -> None:
        from engines.changes import changes

        async for _ in changes(self.ftui.workspace):
            self.scan()

    def scan(self) -> None:
        if self.ftui.engine is not None:
            self.ftui.in_background("scan-voice", lambda: look(self.ftui.tts), self._scanned)

    def _scanned(self, lists: Lists) -> None:
        first, self.lists = self.lists is None, lists
        self.sample_panel.show(lists.samples, lists.totals)
        self.voice_panel.show(lists.voices)
        shown = self.run_panel.run
        newer = lists.run is not None and (shown is None or _created(lists.run) > _created(shown))
        if lists.run is not None and newer and not self.facts().run_active:
            self.run_panel.show(lists.run)
        if self.is_current and (first or self.app.focused is None):
            self.call_after_refresh(self.focus_pane)
        self.show_start()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self.lists is not None and self.focused is None:
            self.focus_pane()

    def show_reference(self) -> None:
        """Mark the reference clip in the list, where one was chosen."""
        config = self.params.form.config if self.params else None
        self.sample_panel.mark(cast("VoiceConfig", config).reference if config is not None else "")

    def show_start(self) -> None:
        """The command of `s` in this pane."""
        facts = self.facts()
        shown = facts.samples if self.pane == "samples" else facts.transcribed
        self.start_bar.show(self.jobs.command() if shown else "", facts.problem if shown else "", self.warnings())
        self.show_footer()

    def warnings(self) -> list[str]:
        """What is worth knowing of the speech and the parameters before a training."""
        from engines.voice.voice_estimate import speech_warnings

        config = self.params.form.config if self.params else None
        if self.pane != "voice_params" or config is None or self.lists is None or not self.lists.totals.transcribed:
            return []
        totals = self.lists.totals
        return speech_warnings(totals.seconds, totals.transcribed, cast("VoiceConfig", config))

    def enter(self, pane: str) -> None:
        super().enter(pane)
        self.show_start()

    # --- facts ---

    @property
    def panes(self) -> dict[str, Widget]:
        params: Widget = self.params or self.placeholder
        return {
            "samples": self.sample_panel, "voice_params": params, "voice_run": self.run_panel,
            "voices": self.voice_panel,
        }  # fmt: skip

    def facts(self) -> Facts:
        run, sample, voice, lists = self.run_panel.run, self.sample_panel.sample, self.voice_panel.voice, self.lists
        undo = self.ftui.undo_stack
        return Facts(
            place=self.NAME,
            pane=self.pane,
            loaded=self.ftui.engine is not None,
            busy=self.jobs.busy,
            problem=self.params.form.problem if self.params else "",
            run=run.name if run else None,
            run_kind=run.kind if run else "",
            run_state=self.run_panel.state,
            undo=undo[-1][0] if undo else "",
            searching=bool(self.run_panel.log_view.needle),
            samples=lists.totals.count if lists else 0,
            transcribed=lists.totals.transcribed if lists else 0,
            sample=sample.filename if sample else None,
            voice=voice.name if voice else None,
        )

    def owners(self) -> Iterable[object]:
        return (self.panes[self.pane], self.jobs, self)

    @on(RunPanel.Moved)
    def _run_moved(self, event: RunPanel.Moved) -> None:
        self.show_footer()
        if event.before:
            self.jobs.run_moved(event.run, event.state)
            self.scan()

    @on(Pane.DiskChanged)
    def _disk_changed(self) -> None:
        self.scan()

    @on(DataTable.RowHighlighted)
    def _row_moved(self) -> None:
        self.show_footer()


def _created(run: Run) -> float:
    return float(run.spec.get("created_at", 0))
