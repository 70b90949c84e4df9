"""The voice engine: everything the TTS screen and `ftui tts` can do.

Each job is a run (see runs.py) of one script in tts/. Nothing here blocks on a job:
a method starts it and returns the run, which any face can follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.config.job import Config, build
from engines.config.samples import SampleConfig, TranscribeConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running import devices
from engines.running.runs import Run, Runs
from engines.setup.environments import Environments
from engines.voice import telegram_notes
from engines.voice.samples import Samples
from engines.voice.voice_jobs import VoiceJobs
from engines.workspace import Workspace, is_real_dir

SLOW_ON_CPU = ("large", "medium", "turbo")


class TTSEngine:
    """The jobs of the voice side, on one workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.runs = Runs(workspace)
        self.samples = Samples(workspace)
        self.environments = Environments(workspace)
        self.voice_jobs = VoiceJobs(self)

    # --- parameters ---

    def last_config(self, model: type[Config]) -> Config:
        """The parameters of the last job of that kind, the defaults where there was none."""
        saved = statefiles.read_object(self.workspace.tts_config)
        try:
            return build(model, {name: value for name, value in saved.items() if name in model.model_fields})
        except UserError:
            return model()

    def remember_config(self, **values: Any) -> None:
        """Note parameters in tts_config.json, beside what else it holds."""
        statefiles.write_json(
            self.workspace.tts_config, {**statefiles.read_object(self.workspace.tts_config), **values}
        )

    # --- samples ---

    def add_samples(self, sources: Sequence[Path | str], config: SampleConfig) -> Run:
        """Start taking in recordings: files, folders, zip archives, or the owner's voice notes of a Telegram export.

        Raises UserError for what is not there, and for an export that does not tell whose it is.
        """
        wanted = [
            telegram_notes.wanted_of(Path(source).expanduser().absolute(), config.owner_name) for source in sources
        ]
        if not wanted:
            raise UserError("usage", "no recording was named", "Name files, folders or zip archives.")
        python = self.environments.require("tts")
        argv = [
            str(python), "-m", "tts.import_samples", str(self.workspace.voice),
            "--files", "{run}/files.json", "--config", "{run}/config.json",
        ]  # fmt: skip
        name = Path(sources[0]).name + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")
        env = self.environments.variables("tts")
        run = self.runs.create("samples", name, argv, config=config.model_dump(), env=env)
        statefiles.write_json(run.folder / "files.json", wanted)
        self.remember_config(**config.model_dump(exclude={"owner_name"}))
        self.runs.start(run)
        return run

    # --- transcripts ---

    def check_transcription(self, config: TranscribeConfig) -> list[str]:
        """What is worth knowing before, as warnings. Raises UserError for what must not start."""
        device = devices.resolve(config.device)
        self.environments.require("tts")
        waiting = [sample for sample in self.samples.list() if sample.waits(again=config.again)]
        if not waiting:
            raise UserError("conflict", "all samples have a transcript", "Add samples, or set `again` to do them anew.")
        if device == "cpu" and config.whisper_model.startswith(SLOW_ON_CPU):
            return [f"Whisper {config.whisper_model} on a CPU is slow: base and small are 5 to 20 times faster"]
        return []

    def transcribe(self, config: TranscribeConfig) -> Run:
        """Start (or queue, if the device is busy) writing down what is said in the samples that have no text yet."""
        self.check_transcription(config)
        device = devices.resolve(config.device)
        argv = [
            str(self.environments.require("tts")), "-m", "tts.transcribe", str(self.workspace.voice),
            "--config", "{run}/config.json",
        ]  # fmt: skip
        run = self.runs.create(
            "transcribe", "samples", argv,
            device=device, config=self.resolved(config).model_copy(update={"device": device}).model_dump(),
            env=self.environments.variables("tts"),
        )  # fmt: skip
        self.remember_config(**config.model_dump(exclude={"again"}))
        self.runs.start(run)
        return run

    def resolved(self, config: TranscribeConfig) -> TranscribeConfig:
        """With the folder of a Whisper that lies in the workspace instead of its name."""
        own = self.workspace.voice / "models" / Path(config.whisper_model).name
        return config.model_copy(update={"whisper_model": str(own)}) if is_real_dir(own) else config
