"""`ftui tts transcribe`: what is said in the samples, written down by Whisper."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from engines.config.samples import TranscribeConfig
from ftui import format
from ftui.commands.llm import ConfigFile, merged
from ftui.console import Common, finish, follow, note, say, say_json


def transcribe(
    *,
    config_file: ConfigFile = None,
    detach: Annotated[bool, Parameter(help="Return at once; the run goes on by itself", negative="")] = False,
    flags: Annotated[TranscribeConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Write down what is said in the samples that have no text yet. What you edited is never touched.

    A model by name comes from the Hugging Face hub, once; a folder is used as it is.

    For example:

      ftui tts transcribe --language ru
      ftui tts transcribe --whisper-model small --language en --spell-numbers
      ftui tts transcribe --whisper-model ~/models/faster-whisper-base --again
    """
    common = common or Common()
    engine = common.tts_engine()
    config = merged(engine.last_config(TranscribeConfig), config_file, flags)
    if not common.json:
        for warning in engine.check_transcription(config):
            note(f"! {warning}")
    run = engine.transcribe(config)
    if detach:
        say_json(run.as_dict()) if common.json else say(f"started {run.id}")
        return 0
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)
    return finish(run, status, progress, as_json=common.json, report=report_transcription)


def report_transcription(result: dict[str, Any]) -> None:
    """What a transcription did, for people."""
    languages = result["languages"]
    counted = (f"{code} ({format.count(number)})" for code, number in languages.items())
    language = f" in {', '.join(languages if len(languages) == 1 else counted)}" if languages else ""
    sure = "" if result["confidence"] is None else f", {result['confidence']:.0%} sure"
    say(f"written:   {format.count(result['written'])} texts{language}{sure}")
    if result["with_uncertain_words"]:
        say(f"doubtful:  {format.count(result['with_uncertain_words'])} have uncertain words: ftui tts samples list")
