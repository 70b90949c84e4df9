"""The demo of voices: the whole pipeline once, offline, without a GPU, in a workspace of its own.

Speech made by espeak-ng, a small Whisper, the tiny model of the real architecture with random weights. Each step is a
run; what is there already is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engines.config.samples import SampleConfig, TranscribeConfig
from engines.config.voice import TINY_VOICE_MODEL, VoiceConfig
from engines.running.runs import Run
from engines.tts import TTSEngine
from engines.workspace import Workspace

FOLDER = "voice-demo"
NAME = "demo"
TEXT = "Good morning. This is the tiny model."
TRUTH = (
    "The tiny model has random weights: what it says is noise, however well it is trained. A voice needs a real base "
    "model, Qwen/Qwen3-TTS-12Hz-1.7B-Base (about 4.5 GB), a GPU with 12 GB for LoRA, and best 30 minutes of speech."
)


@dataclass(frozen=True)
class Step:
    """run: None where it was done before."""

    title: str
    run: Run | None


def demo_engine(engine: TTSEngine) -> TTSEngine:
    """An engine on the demo's own workspace below the other's, so that its samples stay apart."""
    demo = TTSEngine(Workspace(engine.workspace.home / FOLDER))
    demo.environments.choose("tts", engine.environments.python("tts"))
    return demo


def output(demo: TTSEngine) -> Path:
    return demo.workspace.home / "demo.wav"


def config(demo: TTSEngine) -> VoiceConfig:
    return VoiceConfig(
        voice_name=NAME,
        whisper_model=str(_whisper(demo)),
        language="en",
        base_model=TINY_VOICE_MODEL,
        learning_rate=3e-3,
        num_epochs=2,
        gradient_accumulation_steps=2,
        gradient_checkpointing=False,
        preview_sentences=["Good morning."],
        device="cpu",
    )


def steps(demo: TTSEngine) -> Iterator[Step]:
    """Start one step after the other; ask for the next one when a step's run has ended well."""
    jobs = demo.voice_jobs
    recordings = demo.workspace.home / "recordings"
    spoken = any(recordings.glob("*.wav"))
    yield Step("speech by espeak-ng", None if spoken else _script(demo, "tts.demo_speech", recordings, "--count", "10"))
    ready = (_whisper(demo) / "model.bin").is_file()
    yield Step("a small Whisper", None if ready else _script(demo, "tts.demo_whisper", _whisper(demo)))

    for text in recordings.glob("*.txt"):
        text.unlink()  # Whisper shall find out what is said
    samples = demo.samples.list()
    yield Step("recordings become samples", None if samples else demo.add_samples([recordings], SampleConfig()))
    silent = any(not sample.transcript for sample in demo.samples.list())
    settings = TranscribeConfig(whisper_model=str(_whisper(demo)), language="en", device="cpu")
    yield Step("Whisper writes down what is said", demo.transcribe(settings) if silent else None)

    prepared = (jobs.dataset_folder(NAME) / "dataset.json").is_file()
    yield Step("reference clip, held-out part, codes", None if prepared else jobs.prepare(config(demo)))
    yield Step("training of 2 epochs, each of which speaks", _training(demo))
    voice, epoch = jobs.voices.choose(NAME)
    spoken = output(demo).is_file()
    yield Step("the voice speaks", None if spoken else jobs.say(TEXT, voice, epoch, output(demo), device="cpu"))


def _whisper(demo: TTSEngine) -> Path:
    return demo.workspace.folder("qwen3-tts", "models") / "whisper-base"


def _script(demo: TTSEngine, module: str, *arguments: str | Path) -> Run:
    argv = [str(demo.environments.require("tts")), "-m", module, *map(str, arguments)]
    run = demo.runs.create("demo", module.rpartition(".")[2], argv, env=demo.environments.variables("tts"))
    demo.runs.start(run)
    return run


def _training(demo: TTSEngine) -> Run | None:
    """A new training, or the interrupted one that goes on; None if there is the voice already."""
    jobs = demo.voice_jobs
    runs = demo.runs.list("voice")
    if runs and runs[0].status().state == "done" and any(voice.epochs for voice in jobs.voices.list()):
        return None
    if runs and runs[0].status().state != "done":
        if not runs[0].status().active:
            jobs.resume(runs[0])
        return runs[0]
    return jobs.train(config(demo), name=jobs.voices.free_name(NAME))
