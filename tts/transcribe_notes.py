"""Write down voice notes of a chat export, each once: what was heard is kept by the content of the file.

    python -m tts.transcribe_notes --files LIST.json --output TEXTS.json --cache FOLDER [--config CONFIG.json]

LIST holds paths; TEXTS gets `{path: text}`, without those that cannot be read or in which
nobody speaks. CONFIG holds the parameters of `TranscribeConfig`. Started by
finetune/heard_notes.py, whose run it belongs to; a stop ends it with what it has.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import soxr

from engines.config.job import load
from engines.config.samples import TranscribeConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested
from tts import speech
from tts.audio import SAMPLE_RATE, Recording, Samples
from tts.whisper import RATE, Whisper

LENGTHS = speech.Lengths(whole=28.0, shortest=5.0, longest=28.0)
TOGETHER = 16  # notes whose pieces are sorted by length


class Cache:
    """Texts by the content of a file, the model and the language."""

    def __init__(self, folder: Path, config: TranscribeConfig):
        self.folder = statefiles.make_private_dir(folder)
        self.way = re.sub(r"[^\w.-]+", "_", f"{name_of(config.whisper_model)}-{config.language}")

    def file(self, note: Path) -> Path:
        with open(note, "rb") as opened:
            return self.folder / f"{hashlib.file_digest(opened, 'sha256').hexdigest()}-{self.way}.json"


def name_of(model: str) -> str:
    """A name on the hub as it is; of a folder its name and what tells its model from others in folders of that name."""
    weights = Path(model) / "model.bin"
    if not weights.is_file():
        return model
    status = weights.stat()
    told = f"{weights.resolve()} {status.st_size} {status.st_mtime_ns}"
    return f"{Path(model).name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def texts_of(notes: list[Path], cache: Cache, config: TranscribeConfig) -> dict[str, str]:
    """What is said in each note."""
    texts: dict[str, str] = {}
    new: list[tuple[Path, Path]] = []
    for note in notes:
        try:
            kept = cache.file(note)
        except OSError as error:
            emit("warning", text=f"{note.name}: {error.strerror}")
            continue
        known = statefiles.read_json(kept)
        if isinstance(known, dict):
            texts[str(note)] = str(known.get("text", ""))
        else:
            new.append((note, kept))
    emit("progress", done=len(texts), total=len(notes), unit="voice notes")
    for done, (note, text) in enumerate(heard(new, config), len(texts) + 1):
        texts[str(note)] = text
        emit("progress", done=done, total=len(notes), unit="voice notes")
    return {note: text for note, text in texts.items() if text}


def heard(new: list[tuple[Path, Path]], config: TranscribeConfig) -> Iterator[tuple[Path, str]]:
    """Write down notes that nobody has heard yet, and keep it."""
    if not new:
        return
    emit("phase", name="load", text=f"Loading Whisper {config.whisper_model}")
    whisper = Whisper(config.whisper_model, config.device, config.compute_type, config.language, config.beam_size)
    emit("phase", name="voice", text=f"Writing down {len(new)} voice notes")
    for first in range(0, len(new), TOGETHER):
        if stop_requested():
            return
        part = new[first : first + TOGETHER]
        pieces = [(number, audio) for number, (note, _) in enumerate(part) for audio in read(note)]
        found: dict[int, str] = {}
        order = sorted(range(len(pieces)), key=lambda place: len(pieces[place][1]))
        for start in range(0, len(order), config.decode_batch):
            places = order[start : start + config.decode_batch]
            answers = whisper.transcribe([pieces[place][1] for place in places])
            found |= {place: answer.text for place, answer in zip(places, answers, strict=True)}
        for number, (note, kept) in enumerate(part):
            text = " ".join(found[place] for place, (owner, _) in enumerate(pieces) if owner == number).strip()
            statefiles.write_json(kept, {"text": text})
            yield note, text


def read(note: Path) -> list[Samples]:
    """The speech in a note at 16 kHz, in pieces that Whisper can take."""
    try:
        cut = speech.pieces(Recording(note).blocks(), LENGTHS)
        return [soxr.resample(piece.audio, SAMPLE_RATE, RATE) for piece in cut]
    except UserError as error:
        emit("warning", text=error.cause)
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    config = load(TranscribeConfig, arguments.config)
    notes = [Path(name) for name in statefiles.load_json(arguments.files)]
    statefiles.write_json(arguments.output, texts_of(notes, Cache(arguments.cache, config), config))


if __name__ == "__main__":
    run_script(main)
