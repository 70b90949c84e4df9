"""`ftui tts voices …`, `say` and `serve`: what the trained voices are, and letting them speak."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from engines.config.voice import VoiceConfig
from engines.contract.errors import EXIT_STOPPED, UserError
from engines.voice.playback import can_be_heard, fetch_command
from engines.voice.voice_files import Voice
from engines.voice.voice_jobs import DEFAULT_PORT
from ftui import format
from ftui.commands import voice_training  # noqa: F401 (its commands belong to `ftui tts` too)
from ftui.commands.tts import tts
from ftui.console import Common, finish, follow, note, say, say_json, table

voices = App(name="voices", help="The trained voices and their epochs.", help_format="plaintext")
tts.command(voices, name="voices")

Name = Annotated[str | None, Parameter(help="A voice's name, or its folder; default: the newest")]
EpochNumber = Annotated[int | None, Parameter(help="Default: the best one")]


@voices.command(name="list")
def list_voices(*, common: Common | None = None) -> int:
    """All voices with their epochs, the best one marked ●."""
    common = common or Common()
    found = common.tts_engine().voice_jobs.voices.list()
    if common.json:
        say_json([voice.as_dict() for voice in found])
        return 0
    lines: list[list[str]] = []
    for voice in found:
        base = str(voice.card.get("base_model") or "").rsplit("/", 1)[-1]
        lines.append(["", voice.name, base, format.date(voice.created_at), format.size(voice.size), "", ""])
        lines += epoch_lines(voice)
    headings = ["", "name", "base model", "date", "size", "eval loss", "heard"]
    table(headings, lines, "no voice yet; train one: ftui tts train")
    return 0


def epoch_lines(voice: Voice) -> list[list[str]]:
    """A line per epoch, and one for zero-shot cloning to compare with."""
    lines = []
    heard = voice.card.get("zero_shot", {}).get("heard")
    if heard:
        lines.append(["", "  zero-shot", "", "", "", "", format.heard(heard)])
    for epoch in voice.epochs:
        mark = "●" if epoch.number == voice.best_epoch else " "
        figures = format.heard(epoch.heard) if epoch.heard else ""
        lines.append(
            [mark, f"  epoch {epoch.number}", "", format.date(epoch.created_at), format.size(epoch.size),
             format.number(epoch.eval_loss, 3), figures]
        )  # fmt: skip
    return lines


@voices.command
def show(name: Name = None, /, *, common: Common | None = None) -> int:
    """One voice: what it was made of, and its epochs."""
    common = common or Common()
    registry = common.tts_engine().voice_jobs.voices
    voice = registry.get(name) if name else registry.choose(None)[0]
    if common.json:
        say_json(voice.as_dict())
        return 0
    dataset = voice.card.get("dataset", {})
    say(f"{voice.name}: {format.path(voice.path)}")
    say(f"base model: {voice.card.get('base_model', format.UNKNOWN)}")
    if dataset:
        say(f"speech:     {format.duration(dataset['seconds'])} in {dataset['clips']} clips")
        say(f"reference:  {dataset['reference']['clip']}: {dataset['reference']['text']}")
    table(["", "epoch", "", "date", "size", "eval loss", "heard"], epoch_lines(voice), "no epoch yet")
    return 0


@voices.command
def compare(
    name: Name = None,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="A folder that is not there yet, or empty")],
    sentence: Annotated[list[str] | None, Parameter(help="May be repeated; default: --preview-sentences")] = None,
    whisper_model: Annotated[str | None, Parameter(help="Listens to them; default: the last one used")] = None,
    common: Common | None = None,
) -> int:
    """All epochs and zero-shot cloning speak the same sentences, into a folder with a page to listen to.

    For example:

      ftui tts voices compare anna -o anna-compared --sentence "How much is it?" --sentence "See you on Monday."
    """
    common = common or Common()
    engine = common.tts_engine()
    registry = engine.voice_jobs.voices
    voice = registry.get(name) if name else registry.choose(None)[0]
    config = engine.last_config(VoiceConfig)
    if whisper_model:
        config = config.model_copy(update={"whisper_model": whisper_model})
    run = engine.voice_jobs.compare(voice, config, output, sentence or [])
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)

    def report(result: dict[str, Any]) -> None:
        for who, heard in result["figures"].items():
            say(f"{who.replace('-', ' '):10}  {format.heard(heard)}")
        say(f"listen:     {Path(result['output']) / 'index.html'}")
        if not can_be_heard():
            say(f"on yours:   {fetch_command(Path(result['output']))}")

    return finish(run, status, progress, as_json=common.json, report=report)


@voices.command
def export(
    name: Name = None,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="A zip file, or a folder for it")] = Path(),
    epoch: EpochNumber = None,
    common: Common | None = None,
) -> int:
    """Write a voice as a zip archive whose folder qwen_tts loads."""
    common = common or Common()
    registry = common.tts_engine().voice_jobs.voices
    voice, chosen = registry.choose(name, epoch)
    target = registry.export(str(voice.path), output, chosen.number)
    size = target.stat().st_size
    say_json({"output": str(target), "bytes": size}) if common.json else say(f"{target} ({format.size(size)})")
    return 0


@voices.command
def delete(name: str, /, *, epoch: EpochNumber = None, common: Common | None = None) -> int:
    """Move a voice, or with --epoch one epoch of it, to the trash; `restore` brings it back."""
    common = common or Common()
    where = common.tts_engine().voice_jobs.voices.delete(name, epoch)
    what = name if epoch is None else f"epoch {epoch} of {name}"
    if common.json:
        say_json({"deleted": what, "trash": str(where)})
    else:
        say(f"{what} is in the trash; bring it back: ftui tts voices restore {where.name.split('-', 2)[2]}")
    return 0


@voices.command
def restore(name: str, /, *, common: Common | None = None) -> int:
    """Bring back a voice that was deleted, or checkpoint-epoch-N."""
    common = common or Common()
    engine = common.tts_engine()
    kind = "epoch" if name.startswith("checkpoint-epoch-") else "voice"
    back = engine.voice_jobs.voices.restore(engine.workspace.newest_trashed(kind, name))
    say_json({"restored": str(back)}) if common.json else say(f"{back} is back")
    return 0


@tts.command(name="say")
def say_text(
    text: Annotated[str, Parameter(help="What to say; - reads standard input")],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="The WAV file to write")],
    voice: Name = None,
    epoch: EpochNumber = None,
    seed: Annotated[int, Parameter(help="The same seed says it the same way")] = 42,
    device: str = "auto",
    common: Common | None = None,
) -> int:
    """Let a voice speak, sentence by sentence, into a file.

    For example:

      ftui tts say "Good morning, how can I help you?" --voice anna -o hello.wav
      ftui tts say - --voice anna --epoch 2 -o book.wav < chapter.txt
    """
    common = common or Common()
    engine = common.tts_engine()
    chosen, which = engine.voice_jobs.voices.choose(voice, epoch)
    words = sys.stdin.read() if text == "-" else text
    run = engine.voice_jobs.say(words, chosen, which, output, seed=seed, device=device)
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)

    def report(result: dict[str, Any]) -> None:
        say(f"{result['output']}: {result['seconds']} s, {chosen.name} epoch {which.number}")
        if not can_be_heard():
            say(f"on your machine: {fetch_command(Path(result['output']))}")

    return finish(run, status, progress, as_json=common.json, report=report)


@tts.command
def serve(
    *,
    port: Annotated[int, Parameter(help="On 127.0.0.1")] = DEFAULT_PORT,
    device: str = "auto",
    kept: Annotated[int, Parameter(help="How many voices stay in memory")] = 1,
    common: Common | None = None,
) -> int:
    """Speech over HTTP as OpenAI's API has it, on this machine alone. Ctrl+C ends it.

    A request names its voice ("anna", or "anna:2" for an epoch), so voices are switched while it runs.

    For example:

      ftui tts serve --port 8020
      curl http://127.0.0.1:8020/v1/audio/speech -H 'Content-Type: application/json'
           -d '{"model": "qwen3-tts", "voice": "anna", "input": "Hello.", "response_format": "wav"}' -o hello.wav
    """
    common = common or Common()
    engine = common.tts_engine()
    run = engine.voice_jobs.serve(port, device, kept=kept)
    if not common.json:
        note(f"http://127.0.0.1:{port}/v1/audio/speech  (Ctrl+C ends it)")
    try:
        status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)
    except UserError as error:
        if error.code != "stopped":
            raise
        return EXIT_STOPPED
    return finish(run, status, progress, as_json=common.json, report=lambda _: say("the server has ended"))
