"""Clips made for the tests: a buzzing tone that rises and falls, no two alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import soundfile

SUBJECTS = ("the garden", "a bicycle", "the weather", "a new film", "old maps", "good bread", "the sea", "a train")


def tone(seconds: float, pitch: float, rate: int = 24_000) -> numpy.ndarray:
    """[N], -1 to 1."""
    time = numpy.arange(round(seconds * rate)) / rate
    phase = 2 * numpy.pi * (pitch * time + 8 * numpy.sin(2 * numpy.pi * 0.7 * time))
    return numpy.float32(0.2 * sum(numpy.sin(phase * k) / k for k in range(1, 6)))


def write_clips(folder: Path, count: int, seconds: float = 1.6) -> Path:
    """`count` clips of about `seconds` and CLIPS.jsonl that lists them. Returns the list."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        path = folder / f"clip-{number}.wav"
        soundfile.write(path, tone(seconds + 0.16 * (number % 5), 110 + 7 * number), 24_000)
        text = f"Clip {number} is about {SUBJECTS[number % len(SUBJECTS)]}."
        lines.append(json.dumps({"audio": str(path), "text": text, "score": 90}))
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "clips.jsonl"
