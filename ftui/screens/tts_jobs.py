"""What can be started from the voice screen: taking recordings in, writing them down, training, speaking."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from engines.runs import Run
from ftui import command_line
from ftui.screens.run_jobs import RunJobs

if TYPE_CHECKING:
    from engines.config import JobConfig, SampleConfig, TranscribeConfig, VoiceConfig
    from engines.tts import TTSEngine
    from ftui.screens.tts import TTSScreen


class TTSJobs(RunJobs):
    """The actions that concern more than one pane."""

    screen: TTSScreen

    def __init__(self, screen: TTSScreen):
        super().__init__(screen)
        self._train_after: tuple[str, VoiceConfig] | None = None  # the preparation that a training waits for

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
        from engines.config import SampleConfig
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
        from engines.config import TranscribeConfig

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
        params = self.screen.params
        config = params.form.config if params else None
        if config is None:
            return

        def preparing(run: Run) -> None:
            self._train_after = (run.id, config)
            self.show_run(run)

        self.launch("Preparing", partial(self.tts.voice_jobs.prepare, config), preparing)

    def run_moved(self, run: Run, state: str) -> None:
        waiting = self._train_after
        if waiting is not None and waiting[0] == run.id and state in ("done", "failed", "stopped", "lost"):
            self._train_after = None
            if state == "done":
                self.launch("Starting", partial(self.tts.voice_jobs.train, waiting[1]), self.show_run)
                return
        super().run_moved(run, state)

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
