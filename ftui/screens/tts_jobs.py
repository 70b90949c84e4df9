"""What can be started from the voice screen: taking recordings in, writing them down, training, speaking."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.content import Content

from engines.running.runs import Run
from engines.voice.playback import can_be_heard, fetch_command
from ftui import command_line, voice_facts
from ftui.clean import clean_line
from ftui.screens.dialog import TextDialog
from ftui.screens.run_jobs import RunJobs

if TYPE_CHECKING:
    from engines.config.job import JobConfig
    from engines.config.samples import SampleConfig, TranscribeConfig
    from engines.config.voice import VoiceConfig
    from engines.tts import TTSEngine
    from engines.voice.voice_demo import Step
    from ftui.screens.tts import TTSScreen

SHOWN_ROWS = 10


def draw(found: dict[str, Any]) -> Content:
    """A pre-flight."""
    lines = [
        Content.assemble((f"{title:<10} ", "$foreground-muted"), clean_line(text))
        for title, text in voice_facts.preflight(found)
    ]
    lines += [Content.styled(f"⚠ {clean_line(text)}", "$text-warning") for text in found["warnings"]]
    lines += [Content.styled(f"✗ {clean_line(f'{a}. {b}')}", "$text-error") for a, b in found["refusals"]]
    return Content("\n").join(lines)


def look_at_rows(tts: TTSEngine, name: str) -> Content:
    """A dataset as text. Raises UserError where there is none yet."""
    figures = tts.voice_jobs.dataset(name)
    lines = [
        Content.assemble((f"{title:<10} ", "$foreground-muted"), clean_line(text))
        for title, text in voice_facts.dataset(figures)
    ]
    for part, words in (("train", "To train on"), ("eval", "Held out")):
        rows = tts.voice_jobs.rows(name, part, 0, SHOWN_ROWS)
        lines += [Content(""), Content.styled(f"{words}, the first {len(rows)}", "bold")] if rows else []
        for file, text, frames in map(voice_facts.row, rows):
            lines += [
                Content(clean_line(text)),
                Content.styled(f"  {clean_line(f'{file}, {frames}')}", "$foreground-muted"),
            ]
    return Content("\n").join(lines)


class TTSJobs(RunJobs):
    """The actions that concern more than one pane."""

    screen: TTSScreen

    def __init__(self, screen: TTSScreen):
        super().__init__(screen)
        self._train_after: tuple[str, VoiceConfig] | None = None  # the preparation that a training waits for
        self._demo: Iterator[Step] | None = None  # the steps that are left
        self._demo_run = ""  # the id of the step that is under way

    @property
    def tts(self) -> TTSEngine:
        return self.ftui.tts

    def show_run(self, run: Run) -> None:
        self.screen.run_panel.show(run)
        self.screen.go_to("voice_run")

    def resume(self, run: Run) -> object:
        return self.tts.voice_jobs.resume(run) if run.kind == "voice" else self.runs.start(run)

    # --- samples ---

    def do_add_samples(self) -> None:
        from ftui.screens.open_file import OpenFileScreen

        heading = "Add recordings: a file, a zip archive, or a folder (ctrl+s)"
        self.screen.app.push_screen(OpenFileScreen(Path.cwd(), heading), self._recordings_chosen)

    def _recordings_chosen(self, path: Path | None) -> None:
        from engines.config.samples import SampleConfig
        from ftui.screens.parameters import ParametersScreen

        if path is None:
            return
        chosen, home = path, self.ftui.workspace.home
        command = partial(command_line.tts, home, ["samples", "add", str(chosen)])

        def answered(config: JobConfig | None) -> None:
            if config is not None:
                work = partial(self.tts.add_samples, [chosen], cast("SampleConfig", config))
                self.launch("Adding", work, self.show_run)

        self.screen.app.push_screen(ParametersScreen(f"Add {chosen.name}", SampleConfig(), command), answered)

    def do_transcribe(self) -> None:
        from engines.config.samples import TranscribeConfig

        self.ftui.in_background("last", partial(self.tts.last_config, TranscribeConfig), self._ask_how)

    def _ask_how(self, last: TranscribeConfig) -> None:
        from ftui.screens.parameters import ParametersScreen

        command = partial(command_line.tts, self.ftui.workspace.home, ["transcribe"])

        def answered(config: JobConfig | None) -> None:
            if config is not None:
                work = partial(self.tts.transcribe, cast("TranscribeConfig", config))
                self.launch("Writing down", work, self.show_run)

        self.screen.app.push_screen(ParametersScreen("Write down what is said", last, command), answered)

    # --- voices ---

    def command(self) -> str:
        params, home = self.screen.params, self.ftui.workspace.home
        if self.screen.pane == "samples":
            return command_line.tts(home, ["transcribe"], {})
        if self.screen.pane != "voice_params" or params is None or params.form.problem:
            return ""
        values = params.form.differences
        return " && ".join(command_line.tts(home, [verb], values) for verb in ("prepare", "train"))

    def do_train_voice(self) -> None:
        """Prepare the dataset of all samples with texts (what was done is not done again), then train."""
        config = self._config()
        if config is None:
            return

        def preparing(run: Run) -> None:
            self._train_after = (run.id, config)
            self.show_run(run)

        self.launch("Preparing", partial(self.tts.voice_jobs.prepare, config), preparing)

    def do_check_voice(self) -> None:
        """Steps, memory, disk, time, and what speaks against a training with these parameters."""
        config = self._config()
        if config is not None:
            work = partial(self.tts.voice_jobs.preflight, config)
            self.ftui.in_background("check-voice", work, lambda found: self._read("Before the training", draw(found)))

    def do_rows(self) -> None:
        """The prepared dataset's figures, and its first clips as they are trained."""
        config = self._config()
        if config is not None:
            work = partial(look_at_rows, self.tts, config.voice_name)
            title = f"What will be trained: {config.voice_name}"
            self.ftui.in_background("rows", work, lambda text: self._read(title, text))

    def do_reference(self) -> None:
        """The chosen sample gives the voice its speaker; once more: the best one does, as preparing chooses it."""
        sample, params, config = self.screen.sample_panel.sample, self.screen.params, self._config()
        if sample is None or params is None or config is None:
            return
        name = "" if config.reference == sample.filename else sample.filename
        params.form.fill(params.form.base, config.model_copy(update={"reference": name}))
        self.ftui.in_background("remember", partial(self.tts.remember_config, reference=name), lambda _: None)
        self.screen.show_reference()
        words = f"★ {name} is the reference clip" if name else "The best clip will be the reference"
        self.ftui.say(words, "It counts from the next preparation on.")

    def _config(self) -> VoiceConfig | None:
        params = self.screen.params
        return params.form.config if params else None

    def _read(self, title: str, text: Content) -> None:
        self.screen.app.push_screen(TextDialog(clean_line(title), text))

    def run_moved(self, run: Run, state: str) -> None:
        if run.id == self._demo_run and self._go_on_with_demo(state):
            return
        waiting = self._train_after
        if waiting is not None and waiting[0] == run.id and state in ("done", "failed", "stopped", "lost"):
            self._train_after = None
            if state == "done":
                self.launch("Starting", partial(self.tts.voice_jobs.train, waiting[1]), self.show_run)
                return
        if run.kind in ("say", "compare") and state == "done":
            page = "/index.html" if run.kind == "compare" else ""
            how = "Listen to it." if can_be_heard() else f"On your machine: {fetch_command(Path(run.spec['output']))}"
            self.ftui.say(f"✓ {run.name}: {run.spec['output']}{page}", how)
            return
        if run.kind == "samples" and state == "done":
            added = run.result().get("added", 0)
            self.ftui.say(f"✓ {added} samples added from {run.name}", "In Samples, s writes down what is said.")
            return
        super().run_moved(run, state)

    def do_compare(self) -> None:
        """All epochs and zero-shot cloning speak the preview sentences, into a folder of the workspace."""
        voice, config = self.screen.voice_panel.voice, self._config()
        if voice is None or config is None:
            return
        folder = self.ftui.workspace.folder("qwen3-tts", "compared")
        output = folder / f"{voice.name}-{len(list(folder.glob('*'))) + 1:03d}"
        self.launch("Comparing", partial(self.tts.voice_jobs.compare, voice, config, output, []), self.show_run)

    # --- the demo ---

    def do_voice_demo(self) -> None:
        """The whole way with a tiny model, in a workspace of its own; what is there already is not done again."""
        from engines.voice import voice_demo

        self._demo = voice_demo.steps(voice_demo.demo_engine(self.tts))
        self._next_step()

    def _next_step(self) -> None:
        steps = self._demo

        def work() -> Step | None:
            return next((step for step in steps or () if step.run is not None), None)

        self.launch("The demo", work, self._show_step)

    def _show_step(self, step: Step | None) -> None:
        from engines.voice import voice_demo

        if step is not None and step.run is not None:
            self._demo_run = step.run.id
            self.show_run(step.run)
            return
        self._demo, self._demo_run = None, ""
        spoken = voice_demo.output(voice_demo.demo_engine(self.tts))
        self.ftui.say(f"✓ The demo's voice spoke: {spoken}", voice_demo.TRUTH)

    def _go_on_with_demo(self, state: str) -> bool:
        """After a step: the next one, or the end where it failed. True if there is no more to say of the step."""
        if state == "done":
            self._next_step()
            return True
        if state in ("failed", "stopped", "lost"):
            self._demo, self._demo_run = None, ""
        return False

    # --- speaking ---

    def do_say(self) -> None:
        from ftui.screens.sample_dialogs import OneLineScreen

        voice = self.screen.voice_panel.voice
        if voice is None:
            return
        chosen = voice

        def answered(text: str | None) -> None:
            if text is not None:
                folder = self.ftui.workspace.folder("qwen3-tts", "spoken")
                output = folder / f"{chosen.name}-{len(list(folder.glob('*.wav'))) + 1:03d}.wav"
                work = partial(self.tts.voice_jobs.say, text, chosen, chosen.epoch(), output)
                self.launch("Speaking", work, self.show_run)

        self.screen.app.push_screen(OneLineScreen(f"What shall {chosen.name} say?", ""), answered)
