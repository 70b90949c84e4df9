"""Write down what is said in the voice samples.

    python -m tts.transcribe HOME [--config CONFIG.json]

HOME is a workspace's `qwen3-tts` folder; CONFIG holds the parameters of `TranscribeConfig`.
Only samples without a transcript are done (with `again` all), and never one that a person
has edited, not even while this runs. Texts are written after each batch, so a run that
ends early has lost nothing; another one goes on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from engines.config.job import load
from engines.config.samples import TranscribeConfig
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.voice.sample_registry import Entry, SampleRegistry
from tts.audio import Recording
from tts.whisper import RATE, Heard, Whisper

LONGEST_SECONDS = 30.0


def wanted(entries: list[Entry], config: TranscribeConfig) -> list[Entry]:
    """What is to be done, short ones first: clips of like length go together."""
    found = [
        entry
        for entry in entries
        if not entry.get("transcript_edited") and (config.again or not entry.get("transcript"))
    ]
    return sorted(found, key=lambda entry: entry.get("duration_sec") or 0.0)


def read(path: Path) -> np.ndarray:
    """A sample at 16 kHz, at most 30 s of it. Raises UserError."""
    import soxr

    from tts.audio import SAMPLE_RATE

    audio = np.concatenate([block.audio for block in Recording(path).blocks()])
    return soxr.resample(audio[: int(LONGEST_SECONDS * SAMPLE_RATE)], SAMPLE_RATE, RATE)


class Transcription:
    """One run over one list of samples."""

    def __init__(self, registry: SampleRegistry, config: TranscribeConfig):
        self.registry = registry
        self.config = config
        self.done = self.written = self.uncertain = 0
        self.confidences: list[float] = []
        self.languages: Counter[str] = Counter()  # samples

    def run(self, todo: list[Entry]) -> None:
        """Write all of them down."""
        emit("phase", name="load", text=f"Loading Whisper {self.config.whisper_model}")
        whisper = Whisper(
            self.config.whisper_model, self.config.device, self.config.compute_type, self.config.language,
            self.config.beam_size,
        )  # fmt: skip
        emit("phase", name="transcribe", text=f"Writing down {len(todo)} samples")
        emit("progress", done=0, total=len(todo), unit="samples")
        for first in range(0, len(todo), self.config.decode_batch):
            if stop_requested():
                break
            self._batch(whisper, todo[first : first + self.config.decode_batch])
            emit("progress", done=self.done, total=len(todo), unit="samples")

    def _batch(self, whisper: Whisper, entries: list[Entry]) -> None:
        names, clips = [], []
        for entry in entries:
            try:
                clips.append(read(self.registry.folder / entry["filename"]))
                names.append(entry["filename"])
            except (UserError, OSError) as error:
                emit("warning", text=f"{entry['filename']}: {error}")
        self.done += len(entries)
        if clips:
            self._write(dict(zip(names, whisper.transcribe(clips), strict=True)))

    def _write(self, heard: dict[str, Heard]) -> None:
        def change(entries: list[Entry]) -> None:
            for entry in entries:
                found = heard.get(entry["filename"])
                if found is None or entry.get("transcript_edited"):
                    continue
                entry.update(
                    transcript=self._spelled(found), transcript_edited=False, language=found.language,
                    confidence=found.confidence, uncertain_words=found.uncertain,
                )  # fmt: skip
                self.written += 1
                self.uncertain += bool(found.uncertain)
                self.confidences.append(found.confidence)
                self.languages[found.language] += 1

        self.registry.update(change)

    def _spelled(self, found: Heard) -> str:
        if not self.config.spell_numbers:
            return found.text
        from tts.numbers import spelled

        return spelled(found.text, found.language)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    work = Transcription(SampleRegistry(arguments.home), load(TranscribeConfig, arguments.config))
    todo = wanted(work.registry.entries(), work.config)
    if todo:
        work.run(todo)
    confidence = sum(work.confidences) / len(work.confidences) if work.confidences else None
    write_result(
        "stopped" if stop_requested() else "done",
        written=work.written,
        languages=dict(work.languages.most_common()),
        confidence=confidence and round(confidence, 3),
        with_uncertain_words=work.uncertain,
    )


if __name__ == "__main__":
    run_script(main)
