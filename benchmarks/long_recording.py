"""A recording of hours taken in: time, memory, and whether every second of it is accounted for.

    .venv-tts/bin/python -m benchmarks.long_recording [--hours 3] [--suffix flac]

Sentences by espeak-ng with pauses of 0.3 to 3 s between them, and two minutes without anybody every half hour,
written as one file whose plan is known. It goes through the real import with all checks. Looked at: the largest memory
of a process against that of a recording of a tenth, CPU against the length of the sound, whether kept, left out and
silent seconds make the whole, whether pieces overlap, and how much of the planned speech lies in no piece. Ends with 1
where a goal is missed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.samples import take_in
from benchmarks.terminal import report
from engines.voice.sample_registry import SampleRegistry
from tts.demo_speech import RATE, SENTENCES, say

LEAST_REAL_TIME = 50.0  # by one process: a recording is read by one
MOST_MEMORY_GROWTH = 1.25
LONGEST_SECONDS = 15.0
MOST_LOST = 0.001  # of the planned speech
SOUND = 0.01  # amplitude that counts as speech in the plan
EDGE_SECONDS = 0.15  # the faint first and last sounds of a sentence may stay outside

Span = tuple[float, float]


def write_recording(path: Path, seconds: float) -> list[Span]:
    """Returns where somebody speaks."""
    chance = random.Random(3)
    noise = np.random.default_rng(3)
    spoken = [say(text, pitch=40 + 5 * number % 30) for number, text in enumerate(SENTENCES)]
    plan: list[Span] = []
    frames, next_break = 0, 1800.0
    with soundfile.SoundFile(path, "w", RATE, 1) as file:

        def write(audio: np.ndarray) -> int:
            hiss = noise.normal(0, 0.0005, len(audio)).astype(np.float32)
            file.write(np.clip(audio + hiss, -1, 1))
            return len(audio)

        while frames < seconds * RATE:
            sentence = chance.choice(spoken)
            loud = np.flatnonzero(np.abs(sentence) > SOUND)
            plan.append(((frames + int(loud[0])) / RATE, (frames + int(loud[-1])) / RATE))
            frames += write(sentence)
            pause = chance.uniform(0.3, 3.0)
            if frames / RATE > next_break:
                pause, next_break = 120.0, next_break + 1800.0
            frames += write(np.zeros(int(pause * RATE), np.float32))
    return plan


def lost_seconds(plan: list[Span], pieces: list[Span]) -> float:
    """Of the planned speech, edges left out, what lies in no piece."""
    lost = 0.0
    for begin, end in plan:
        begin, end = begin + EDGE_SECONDS, end - EDGE_SECONDS
        inside = sum(max(0.0, min(end, b) - max(begin, a)) for a, b in pieces if a < end and b > begin)
        lost += max(0.0, end - begin - inside)
    return lost


def pieces_of(home: Path) -> list[Span]:
    entries = SampleRegistry(home).entries()
    return sorted(
        (entry["source"]["start_sec"], entry["source"]["start_sec"] + entry["duration_sec"]) for entry in entries
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--suffix", default="flac", help="of the file: flac, wav, mp3, ogg")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short, long = folder / f"short.{arguments.suffix}", folder / f"long.{arguments.suffix}"
        seconds = arguments.hours * 3600
        write_recording(short, seconds / 10)
        plan = write_recording(long, seconds)
        short_cpu, short_memory, _ = take_in(short, folder / "home-short")
        all_cpu, memory, result = take_in(long, folder / "home-long")
        pieces = pieces_of(folder / "home-long")
    read, kept, left_out = result["read_seconds"], result["kept_seconds"], result["short_seconds"]
    speech = sum(end - begin for begin, end in plan)
    overlap = sum(max(0.0, one[1] - other[0]) for one, other in pairwise(pieces))
    lost = lost_seconds(plan, pieces) / speech
    longest = max(end - begin for begin, end in pieces)
    unaccounted = abs(read - kept - left_out - result["silent_seconds"])
    cpu = all_cpu - short_cpu
    print(f"{read:.0f} s in {len(pieces)} pieces: kept {kept:.0f} s, too short {left_out:.1f} s, "
          f"silence {result['silent_seconds']:.0f} s; {cpu:.0f} s of CPU, {memory:.0f} MB "
          f"({short_memory:.0f} MB for a tenth)")  # fmt: skip
    sys.exit(
        report(
            [
                ("times real time, by one process", f"{read / cpu:.0f}", f"{LEAST_REAL_TIME:.0f}",
                 read / cpu >= LEAST_REAL_TIME),
                ("memory, ten times as long", f"{memory / short_memory:.2f} times", f"{MOST_MEMORY_GROWTH}",
                 memory <= MOST_MEMORY_GROWTH * short_memory),
                ("seconds in no account", f"{unaccounted:.1f}", "0.2", unaccounted <= 0.2),
                ("seconds in two pieces", f"{overlap:.2f}", f"{len(pieces) * 0.01:.0f}", overlap <= len(pieces) * 0.01),
                ("speech in no piece", f"{lost:.3%}", f"{MOST_LOST:.1%}", lost <= MOST_LOST),
                ("longest piece", f"{longest:.2f} s", f"{LONGEST_SECONDS}", longest <= LONGEST_SECONDS + 0.01),
            ]
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
