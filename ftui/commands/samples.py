"""`ftui tts samples …`: the recordings that a voice is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from engines.config.samples import SampleConfig
from engines.voice.playback import Player
from engines.voice.samples import RECOMMENDED_SECONDS, Sample, Totals
from engines.voice.transcript_files import read as read_texts
from ftui import format
from ftui.commands.llm import ConfigFile, merged
from ftui.console import Common, finish, follow, say, say_json, table

samples = App(name="samples", help="Recordings of one speaker, and what is said in them.", help_format="plaintext")

SHOWN_SKIPPED = 10
Name = Annotated[str, Parameter(help="A sample's file name; its suffix may be left out")]


@samples.command
def add(
    sources: Annotated[list[Path], Parameter(help="Recordings, folders, zip archives, or a Telegram export")],
    /,
    *,
    config_file: ConfigFile = None,
    flags: Annotated[SampleConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Take recordings in: cut at pauses, 24 kHz, even in loudness, each checked. The originals stay as they are.

    WAV, MP3, OGG (Vorbis, Opus), FLAC, AIFF, M4A, AAC and WebM are known by their content. Of a Telegram export the
    owner's voice notes are taken. A text in NAME.txt beside NAME.wav is its transcript.

    For example:

      ftui tts samples add interview.mp3 ~/recordings
      ftui tts samples add ~/Downloads/ChatExport_2026-01-01
      ftui tts samples add radio.wav --denoise --piece-max-sec 10
    """
    common = common or Common()
    engine = common.tts_engine()
    run = engine.add_samples(sources, merged(SampleConfig(), config_file, flags))
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)

    def report(result: dict[str, Any]) -> None:
        report_import(result)
        say(totals_line(engine.samples.totals()))

    return finish(run, status, progress, as_json=common.json, report=report)


def report_import(result: dict[str, Any]) -> None:
    """What an import did, for people."""
    kept, read = format.duration(result["kept_seconds"]), format.duration(result["read_seconds"])
    say(f"added:    {result['added']} samples, {kept} of speech out of {read}")
    for reason, number in result["left_out"].items():
        say(f"left out: {number} pieces {reason}, {format.duration(result['short_seconds'])} of speech")
    if result["silent_seconds"] >= 1:
        say(f"silence:  {format.duration(result['silent_seconds'])} in which nobody speaks")
    skipped = result["skipped"]
    for name, cause in list(skipped.items())[:SHOWN_SKIPPED]:
        say(f"skipped:  {name}: {cause}")
    if result["skipped_count"] > SHOWN_SKIPPED:
        say(f"skipped:  and {result['skipped_count'] - SHOWN_SKIPPED} more; see the log")


@samples.command(name="list")
def list_samples(*, common: Common | None = None) -> int:
    """All samples with their figures, and what they come to."""
    common = common or Common()
    found = common.tts_engine().samples
    listed = found.list()
    totals = found.totals(listed)
    if common.json:
        say_json({"samples": [sample.as_dict() for sample in listed], "totals": totals.as_dict()})
        return 0
    table(
        ("name", "time", "score", "text", ""),
        [cells(sample) for sample in listed],
        "no sample yet; add some: ftui tts samples add FILES",
    )
    if listed:
        say(totals_line(totals))
    return 0


def cells(sample: Sample) -> list[str]:
    """A row: edited texts are marked ✎, doubtful samples name their first reason."""
    text = ("✎ " if sample.transcript_edited else "") + (sample.transcript or format.UNKNOWN)
    return [
        sample.filename,
        format.seconds(sample.duration_sec),
        format.UNKNOWN if sample.score is None else str(sample.score),
        text if len(text) <= 48 else f"{text[:47]}…",
        sample.reasons[0] if sample.reasons else "",
    ]


def totals_line(totals: Totals) -> str:
    """`12 min 04 s of speech in 140 samples, 30 min recommended; 3 without a text, 2 doubtful`."""
    parts = [
        f"{format.duration(totals.seconds)} of speech in {format.count(totals.count)} samples, "
        f"{format.duration(RECOMMENDED_SECONDS)} recommended"
    ]
    missing = totals.count - totals.transcribed
    if missing:
        parts.append(f"{format.count(missing)} without a text")
    if totals.doubtful:
        parts.append(f"{format.count(totals.doubtful)} doubtful")
    return "; ".join(parts)


@samples.command
def show(name: Name, /, *, common: Common | None = None) -> int:
    """One sample: its file, checks and text."""
    common = common or Common()
    sample = common.tts_engine().samples.get(name)
    if common.json:
        say_json(sample.as_dict())
        return 0
    say(f"{sample.filename}   {format.seconds(sample.duration_sec)}   {sample.path}")
    say(f"score:  {format.UNKNOWN if sample.score is None else f'{sample.score} of 100'}")
    for reason in sample.reasons:
        say(f"  - {reason}")
    say(f"text:   {sample.transcript or format.UNKNOWN}{' (edited)' if sample.transcript_edited else ''}")
    return 0


@samples.command
def play(name: Name, /, *, common: Common | None = None) -> int:
    """Play a sample with the player that is installed (FTUI_PLAYER names another); over SSH say how to fetch it."""
    common = common or Common()
    sample = common.tts_engine().samples.get(name)
    player = Player()
    player.play(sample.path)
    try:
        player.wait()
    finally:
        player.stop()
    if common.json:
        say_json({"played": str(sample.path)})
    return 0


@samples.command
def edit(
    name: Name, text: Annotated[str, Parameter(help="What is said in it")], /, *, common: Common | None = None
) -> int:
    """Write down by hand what is said in a sample; a transcription never replaces it.

    For example:

      ftui tts samples edit interview-003 "We open at nine."
    """
    common = common or Common()
    registry = common.tts_engine().samples
    registry.set_transcript(name, text)
    sample = registry.get(name)
    say_json(sample.as_dict()) if common.json else say(f"✎ {sample.filename}: {sample.transcript}")
    return 0


@samples.command
def texts(
    file: Annotated[Path, Parameter(help="CSV, JSONL or NAME|TEXT lines")], /, *, common: Common | None = None
) -> int:
    """Take over transcripts that exist: by the names of samples, or of the recordings they were made of.

    For example:

      ftui tts samples texts ~/LJSpeech-1.1/metadata.csv
    """
    common = common or Common()
    found = common.tts_engine().samples
    changed, unknown = found.set_transcripts(read_texts(file.expanduser()))
    if common.json:
        say_json({"changed": [sample.filename for sample in changed], "unknown": unknown})
        return 0
    say(f"✎ {len(changed)} texts written")
    if unknown:
        say(f"{len(unknown)} names are of no sample: {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}")
    return 0


@samples.command
def replace(
    find: Annotated[str, Parameter(help="Whole words, in any case")],
    by: Annotated[str, Parameter(help="What stands there instead")],
    /,
    *,
    match_case: Annotated[bool, Parameter(help="Only in the very same case", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Find and replace in all transcripts; what changes counts as edited.

    For example:

      ftui tts samples replace "Quen" "Qwen"
    """
    common = common or Common()
    changed = common.tts_engine().samples.replace(find, by, match_case=match_case)
    if common.json:
        say_json({"changed": [sample.filename for sample in changed]})
    else:
        say(f"✎ {len(changed)} transcripts changed")
    return 0


@samples.command
def rename(name: Name, new: Annotated[str, Parameter(help="Its new name")], /, *, common: Common | None = None) -> int:
    """Give a sample another name."""
    common = common or Common()
    sample = common.tts_engine().samples.rename(name, new)
    say_json(sample.as_dict()) if common.json else say(f"{name} is {sample.filename} now")
    return 0


@samples.command
def delete(names: Annotated[list[str], Parameter(help="Samples to delete")], /, *, common: Common | None = None) -> int:
    """Move samples to the trash; their texts go and come with them."""
    common = common or Common()
    registry = common.tts_engine().samples
    for sample in [registry.get(name) for name in names]:
        registry.delete(sample.filename)
        if not common.json:
            say(f"{sample.filename} is in the trash; back: ftui tts samples restore {sample.filename}")
    if common.json:
        say_json({"deleted": names})
    return 0


@samples.command
def restore(
    name: Annotated[str, Parameter(help="The file name of a deleted sample")], /, *, common: Common | None = None
) -> int:
    """Bring a deleted sample back."""
    common = common or Common()
    engine = common.tts_engine()
    sample = engine.samples.restore(engine.workspace.newest_trashed("sample", name))
    say_json(sample.as_dict()) if common.json else say(f"{sample.filename} is back")
    return 0


@samples.command
def export(
    target: Annotated[Path, Parameter(help="A folder that is not there yet")], /, *, common: Common | None = None
) -> int:
    """Copy all samples with their texts in the layout of LJSpeech (wavs/, metadata.csv)."""
    common = common or Common()
    engine = common.tts_engine()
    written = engine.samples.export(target.expanduser().absolute())
    say_json({"folder": str(written)}) if common.json else say(f"written: {written}")
    return 0
