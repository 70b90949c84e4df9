"""What becomes of one recording, in a worker process: pieces that are cut, measured, made even and written."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.config.samples import SampleConfig
from engines.contract.errors import UserError
from engines.contract.run_protocol import stop_requested
from engines.voice.sample_registry import Entry
from tts import checks, speech
from tts.audio import Block, Recording, write
from tts.recordings import Source
from tts.speech import Piece


@dataclass
class Taken:
    """What became of one recording. entries: the pieces, whose files wait in the incoming folder."""

    source: str
    entries: list[Entry] = field(default_factory=list)
    seconds: float = 0.0  # of the recording
    short_seconds: float = 0.0  # of it in pieces that were left out
    skipped: str = ""  # why there is none
    stopped: bool = False  # on the way
    left_out: Counter[str] = field(default_factory=Counter)  # pieces


_read: Any = None  # of a worker: bytes that all of them have read, to be added to


def begin_worker(read: Any) -> None:
    """Make a process ready for `take`. read: a shared number."""
    global _read
    _read = read
    warnings.simplefilter("ignore")


class Stopped(Exception):
    """The import was asked to stop while a recording was read."""


def watched(recording: Recording) -> Iterator[Block]:
    """Its blocks; how far it is, is told on the way. Raises Stopped: hours of sound are not waited for."""
    before = 0
    for block in recording.blocks():
        if stop_requested():
            raise Stopped
        yield block
        if _read is not None:
            with _read.get_lock():
                _read.value += recording.position - before
            before = recording.position


def take(source: Source, folder: Path, config: SampleConfig) -> Taken:
    """Cut, measure and write one recording. Raises OSError where it cannot be written."""
    taken = Taken(source.name)
    recording = Recording(source.file)
    content = sha256_of(source.file)
    lengths = speech.Lengths(
        config.max_duration_sec, config.piece_min_sec, min(config.piece_max_sec, config.max_duration_sec)
    )
    try:
        for piece in speech.pieces(watched(recording), lengths):
            if piece.seconds < config.min_duration_sec:
                taken.left_out["shorter than the shortest"] += 1
                taken.short_seconds += piece.seconds
                continue
            figures = checks.measure(piece)
            prints = {"sound": checks.sound_print(piece.audio)}
            if config.find_speakers:
                figures["speaker_within"], prints["voice"] = _voice(piece)
            audio = checks.denoised(piece.audio) if config.denoise else piece.audio
            file = folder / f"{content[:16]}-{len(taken.entries):04d}.wav"
            write(file, checks.normalized(audio, config.loudness_lufs))
            taken.entries.append(
                {
                    "filename": file.name,
                    "duration_sec": round(piece.seconds, 3),
                    "transcript": "",
                    "transcript_edited": False,
                    "source": {"name": source.name, "sha256": content, "start_sec": round(piece.start, 2)},
                    "checks": figures,
                    "prints": prints,
                }
            )
    except (UserError, Stopped) as error:
        for entry in taken.entries:
            (folder / entry["filename"]).unlink(missing_ok=True)
        skipped = error.cause.removeprefix(f"{source.file.name} ") if isinstance(error, UserError) else ""
        return Taken(source.name, skipped=skipped, stopped=isinstance(error, Stopped))
    taken.seconds = recording.seconds
    for entry in taken.entries if recording.damage else []:
        entry["checks"]["damage"] = recording.damage
    if len(taken.entries) == 1 and source.text:
        taken.entries[0].update(transcript=source.text, transcript_edited=True)
    if not taken.entries:
        taken.skipped = "shorter than the shortest sample" if taken.left_out else "nobody speaks in it"
    return taken


def _voice(piece: Piece) -> tuple[float | None, str]:

    from tts.voice_print import within_and_whole

    within, whole = within_and_whole(piece.spoken())
    return None if within is None else round(within, 3), checks.encoded(whole)


def sha256_of(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
