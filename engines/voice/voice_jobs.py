"""From samples to a voice that speaks: preparing, training, speaking, comparing, serving. Part of the voice engine.

Each job is a run of one script in tts/, as in tts.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.config.voice import TINY_FOLDER, TINY_VOICE_MODEL, VoiceConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running import devices
from engines.running.runs import Run, RunStatus
from engines.voice import voice_preflight
from engines.voice.samples import Sample
from engines.voice.voice_files import Epoch, Voice
from engines.voice.voices import Voices
from engines.workspace import check_name, is_real_dir

if TYPE_CHECKING:
    from engines.tts import TTSEngine

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
DEFAULT_PORT = 8020


class VoiceJobs:
    """The jobs on an engine's workspace."""

    def __init__(self, engine: TTSEngine):
        self.engine = engine
        self.workspace = engine.workspace
        self.runs = engine.runs
        self.voices = Voices(engine.workspace, self._trained_elsewhere)

    def _trained_elsewhere(self) -> list[Path]:
        outputs = [Path(run.spec["output"]) for run in self.runs.list("voice") if run.spec.get("output")]
        return [path for path in outputs if path.parent != self.voices.folder]

    # --- dataset ---

    def dataset_folder(self, name: str) -> Path:
        return self.workspace.folder("qwen3-tts", "datasets") / check_name(name, "a voice")

    def dataset(self, name: str) -> dict[str, Any]:
        """The figures of a prepared dataset. Raises UserError if there is none."""
        figures = statefiles.read_object(self.dataset_folder(name) / "dataset.json")
        if not figures:
            raise UserError("not_found", f"the voice {name} has no dataset yet", "Make it: ftui tts prepare.")
        return figures

    def rows(self, name: str, part: str = "train", first: int = 0, count: int = 10) -> list[dict[str, Any]]:
        """Rows as they will be trained: audio, text, number of frames. part: train or eval."""
        self.dataset(name)
        found = []
        with open(self.dataset_folder(name) / f"{part}.jsonl", encoding="utf-8") as file:
            for number, line in enumerate(file):
                if first <= number < first + count:
                    row = json.loads(line)
                    codes = row.pop("audio_codes")
                    found.append({"audio": row["audio"], "text": row["text"], "frames": len(codes), "codes": codes[:2]})
        return found

    def prepare(self, config: VoiceConfig) -> Run:
        """Start making the dataset of all transcribed samples; what was done before is not done again."""
        samples = [sample for sample in self.engine.samples.list() if sample.transcript]
        if not samples:
            raise UserError("not_ready", "no sample has a transcript yet", "Run `ftui tts transcribe`.")
        model = self.base_model(config)
        output = self.dataset_folder(config.voice_name)
        argv = [
            str(self.engine.environments.require("tts")), "-m", "tts.prepare_data", "--clips", "{run}/clips.jsonl",
            "--model", model, "--output", str(output), "--config", "{run}/config.json",
        ]  # fmt: skip
        run = self._create("voice-data", config.voice_name, argv, config, device=config.device)
        lines = "".join(json.dumps(_clip(sample), ensure_ascii=False) + "\n" for sample in samples)
        statefiles.write_bytes(run.folder / "clips.jsonl", lines.encode("utf-8", "surrogateescape"))
        self.engine.remember_config(**config.model_dump())
        self.runs.start(run)
        return run

    def base_model(self, config: VoiceConfig) -> str:
        """The folder or hub name that a script loads. Raises UserError for what cannot be one."""
        wanted = config.base_model
        if wanted == TINY_VOICE_MODEL:
            return str(self.workspace.folder("qwen3-tts", "models") / TINY_FOLDER)
        in_workspace = self.workspace.models / Path(wanted).name
        for path in (Path(wanted).expanduser(), *((in_workspace,) if "/" not in wanted else ())):
            if path.is_dir():
                if not any(path.glob("*.safetensors")):
                    raise UserError(
                        "bad_input", f"the model folder {path} has no weights (*.safetensors)", "Fetch it again."
                    )
                return str(path.resolve())
        if not HUB_NAME.fullmatch(wanted) or wanted.startswith("."):
            raise UserError(
                "not_found", f"there is no base model {wanted}", "Name a folder, a hub name (owner/name) or tiny."
            )
        return wanted

    # --- training ---

    def preflight(self, config: VoiceConfig) -> dict[str, Any]:
        """All that can be known before a training starts, see voice_preflight.py."""
        return voice_preflight.preflight(self, config)

    def check(self, config: VoiceConfig) -> list[str]:
        """What is worth knowing before a training starts, as warnings. Raises UserError for what must not start."""
        return voice_preflight.check(self, config)

    def output_root(self, config: VoiceConfig, *, existing: bool = False) -> Path:
        """The folder of voices that a training writes into; existing: the nearest one above it that is there."""
        root = Path(config.output_dir).expanduser().absolute() if config.output_dir else self.voices.folder
        while existing and not root.is_dir():
            root = root.parent
        return root

    def train(self, config: VoiceConfig, *, name: str | None = None) -> Run:
        """Start (or queue, if the device is busy) the training of a voice from its prepared dataset."""
        self.check(config)
        check_name(config.voice_name, "a voice")
        taken = {run.spec.get("voice") for run in self.runs.list("voice") if run.status().active}
        root = self.output_root(config)
        if name and (name in taken or (root / check_name(name, "a voice")).exists()):
            raise UserError("conflict", f"there is a voice {name} already", "Choose another name, or delete that one.")
        voice = self.voices.free_name(name or config.voice_name, root)
        while voice in taken:
            voice = f"{voice}-2"
        argv = [
            str(self.engine.environments.require("tts")), "-m", "tts.sft_12hz",
            "--dataset", str(self.dataset_folder(config.voice_name)), "--model", self.base_model(config),
            "--checkpoints", "{run}/checkpoints", "--output", str(root / voice), "--name", voice,
            "--config", "{run}/config.json", "--whisper", self.whisper(config),
        ]  # fmt: skip
        seconds = self.dataset(config.voice_name)["seconds"]
        run = self._create(
            "voice", voice, argv, config, device=config.device, voice=voice, output=str(root / voice),
            speech_seconds=seconds,
        )  # fmt: skip
        self.engine.remember_config(**config.model_dump())
        self.runs.start(run)
        return run

    def whisper(self, config: VoiceConfig) -> str:
        """The Whisper model that listens: a folder of the workspace, any folder, or a name."""
        own = self.workspace.voice / "models" / Path(config.whisper_model).name
        return str(own) if is_real_dir(own) else config.whisper_model

    def training_run(self, run_id: str | None = None) -> Run:
        """The run named, else the training that runs, else the newest one. Raises UserError if there is none."""
        if run_id:
            return self.runs.get(run_id, "voice")
        run = self.runs.newest("voice", active=True) or self.runs.newest("voice")
        if run is None:
            raise UserError("not_found", "no voice has been trained yet", "Start with `ftui tts train`.")
        return run

    def resume(self, run: Run) -> RunStatus:
        """Go on with a training from its newest point."""
        if run.status().state == "done":
            raise UserError("conflict", f"{run.name} is finished", "Start a new training.")
        self.engine.environments.require("tts")
        return self.runs.start(run)

    # --- speaking ---

    def say(self, text: str, voice: Voice, epoch: Epoch, output: Path, *, seed: int = 42, device: str = "auto") -> Run:
        """Start speaking `text` into the WAV file `output`, sentence by sentence."""
        if not text.strip():
            raise UserError("usage", "there is nothing to say", "Give a text.")
        target = output.expanduser().absolute()
        if not target.parent.is_dir():
            raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
        argv = [
            str(self.engine.environments.require("tts")), "-m", "tts.synthesize", "--voice", str(epoch.path),
            "--text", "{run}/text.txt", "--output", str(target), "--speed", str(voice.speed),
            "--seed", str(seed), "--device", device,
        ]  # fmt: skip
        run = self._create("say", f"{voice.name} epoch {epoch.number}", argv, None, device=device, output=str(target))
        statefiles.write_bytes(run.folder / "text.txt", text.encode("utf-8", "replace"))
        self.runs.start(run)
        return run

    def compare(self, voice: Voice, config: VoiceConfig, output: Path, sentences: list[str]) -> Run:
        """Start speaking the same sentences with all epochs and zero-shot, into a folder with a page to listen to."""
        if not voice.epochs:
            raise UserError("not_ready", f"the voice {voice.name} has no epoch yet", "Train it first.")
        target = output.expanduser().absolute()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError("conflict", f"{target} is not empty", "Name a new folder.")
        argv = [
            str(self.engine.environments.require("tts")), "-m", "tts.compare", "--voice", str(voice.path),
            "--sentences", "{run}/sentences.json", "--output", str(target), "--config", "{run}/config.json",
            "--whisper", self.whisper(config),
        ]  # fmt: skip
        run = self._create("compare", voice.name, argv, config, device=config.device, output=str(target))
        statefiles.write_json(run.folder / "sentences.json", sentences or config.preview_sentences)
        self.runs.start(run)
        return run

    def serve(self, port: int = DEFAULT_PORT, device: str = "auto", *, kept: int = 1) -> Run:
        """Start the server of all voices on 127.0.0.1. kept: how many voices stay in memory."""
        argv = [
            str(self.engine.environments.require("tts")), "-m", "tts.serve", "--voices", str(self.voices.folder),
            "--port", str(port), "--device", device, "--kept", str(kept),
        ]  # fmt: skip
        run = self._create("tts-serve", f"port {port}", argv, None, port=port)
        self.runs.start(run)
        return run

    def _create(
        self,
        kind: str,
        name: str,
        argv: list[str],
        config: VoiceConfig | None,
        device: str | None = None,
        **details: Any,
    ) -> Run:
        """A run; `device` None locks none."""
        chosen = devices.resolve(device) if device else None
        values = {**config.model_dump(), "device": chosen} if config else None
        env = self.engine.environments.variables("tts")
        return self.runs.create(kind, name, argv, device=chosen, config=values, env=env, **details)


def _clip(sample: Sample) -> dict[str, Any]:
    return {"audio": str(sample.path), "text": sample.transcript, "score": sample.score}
