"""What becomes of one recording, in a worker process: pieces that are cut, measured, made even and written."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from engines.config import SampleConfig
from engines.contract.errors import UserError
from engines.voice.sample_registry import Entry
from tts import checks, speech
from tts.audio import Recording, write
from tts.recordings import Source
from tts.speech import Piece


@dataclass
class Taken:
    """What became of one recording. entries: the pieces, whose files wait in the incoming folder."""

    source: str
    entries: list[Entry] = field(default_factory=list)
    seconds: float = 0.0
    skipped: str = ""  # why there is none
    left_out: Counter[str] = field(default_factory=Counter)  # pieces


def take(source: Source, folder: Path, config: SampleConfig) -> Taken:
    """Cut, measure and write one recording. Raises OSError where it cannot be written."""
    taken = Taken(source.name)
    recording = Recording(source.file)
    content = sha256_of(source.file)
    lengths = speech.Lengths(
        config.max_duration_sec, config.piece_min_sec, min(config.piece_max_sec, config.max_duration_sec)
    )
    try:
        for piece in speech.pieces(recording.blocks(), lengths):
            if piece.seconds < config.min_duration_sec:
                taken.left_out["shorter than the shortest"] += 1
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
    except UserError as error:
        taken.skipped = error.cause.removeprefix(f"{source.file.name} ")
        taken.entries.clear()
        return taken
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
