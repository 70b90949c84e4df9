"""What taking recordings in costs, and how fast they are written down. Runs in the voice environment.

    python -m benchmarks.samples [--clips 1000] [--written 32]

Import: so many different clips spoken by espeak-ng, through the real script with all its
checks; CPU seconds of all its processes, divided by 2, against the length of the sound, and
the largest memory of a process for all of them against a tenth of them. Transcription:
interleaved by eight clips, CPU seconds of our batches against faster-whisper called file by
file with its defaults, and the word error rates of both. Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from benchmarks.terminal import report
from engines.contract import events
from tts import demo_whisper
from tts.demo_speech import RATE, SENTENCES, say
from tts.listening import word_errors
from tts.whisper import Whisper

CORES = 2
LEAST_REAL_TIME = 100.0
MOST_MEMORY_GROWTH = 1.25
LEAST_SPEED_UP = 1.4
MOST_WORSE = 0.02


def write_clips(folder: Path, count: int) -> float:
    """Different clips of two sentences each. Returns their seconds."""
    folder.mkdir()
    variants = product(range(len(SENTENCES)), range(130, 190, 5), range(20, 90, 10))
    frames = 0
    for number, (sentence, speed, pitch) in zip(range(count), variants, strict=False):
        two = f"{SENTENCES[sentence]} {SENTENCES[(sentence + 5) % len(SENTENCES)]}"
        audio = say(two, pitch=pitch, words_per_minute=speed)
        soundfile.write(folder / f"clip-{number:04d}.wav", audio, RATE)
        frames += len(audio)
    return frames / RATE


def take_in(recordings: Path, home: Path) -> tuple[float, float, dict[str, Any]]:
    """(CPU seconds of all imports so far and their workers, largest memory of one of them in MB, what came of it)."""
    files = home.with_suffix(".json")
    files.write_text(json.dumps([str(recordings)]))
    command = [sys.executable, "-m", "tts.import_samples", str(home), "--files", str(files)]
    most = 0.0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            most = max(most, *(memory(pid) for pid in family(process.pid)))
            time.sleep(0.2)
        output.seek(0)
        last = events.parse(output.read().splitlines()[-1])
    if process.returncode or last is None:
        raise SystemExit(f"the import ended with {process.returncode}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, most, last


def family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:
        return [pid]


def memory(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def write_down(count: int, folder: Path) -> dict[str, Any]:
    """CPU seconds and word error rates of both ways, eight clips at a time."""
    whisper = Whisper(str(demo_whisper.make(folder)), "cpu", "int8", "en", 5)
    texts = [SENTENCES[number % len(SENTENCES)] for number in range(count)]
    clips = [
        soxr.resample(say(text, words_per_minute=140 + number % 40), RATE, 16_000) for number, text in enumerate(texts)
    ]
    seconds = {"ours": 0.0, "plain": 0.0}
    heard: dict[str, list[str]] = {"ours": [], "plain": []}
    order = sorted(range(count), key=lambda number: len(clips[number]))
    whisper.transcribe(clips[:2])  # both warm
    for first in range(0, count, 8):
        part = [clips[number] for number in order[first : first + 8]]
        began = time.process_time()
        heard["ours"] += [found.text for found in whisper.transcribe(part)]
        seconds["ours"] += time.process_time() - began
        began = time.process_time()
        heard["plain"] += [" ".join(found.text for found in whisper.model.transcribe(clip)[0]) for clip in part]
        seconds["plain"] += time.process_time() - began
    rates = {}
    for way, found in heard.items():
        counted = np.array([word_errors(texts[number], text) for number, text in zip(order, found, strict=True)]).sum(
            axis=0
        )
        rates[way] = float(counted[0] / counted[1])
    return {"seconds": seconds, "rates": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--written", type=int, default=32)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = write_clips(folder / "few", arguments.clips // 10)
        many = write_clips(folder / "many", arguments.clips)
        few_cpu, few_memory, _ = take_in(folder / "few", folder / "home-few")
        all_cpu, many_memory, _ = take_in(folder / "many", folder / "home-many")
        many_cpu = all_cpu - few_cpu  # children are counted together
        speed, growth = many / (many_cpu / CORES), many_memory / few_memory
        print(f"{arguments.clips} clips, {many:.0f} s of sound: {many_cpu:.0f} s of CPU; {few:.0f} s: {few_cpu:.0f} s")
        found = write_down(arguments.written, folder / "whisper")
    ratio = found["seconds"]["plain"] / found["seconds"]["ours"]
    worse = found["rates"]["ours"] - found["rates"]["plain"]
    print(f"word error rate: ours {found['rates']['ours']:.3f}, plain {found['rates']['plain']:.3f}")
    sys.exit(
        report(
            [
                (
                    "import and checks",
                    f"{speed:.0f} times real time",
                    f"{LEAST_REAL_TIME:.0f}",
                    speed >= LEAST_REAL_TIME,
                ),
                (
                    "memory, ten times the clips",
                    f"{growth:.2f} times",
                    f"{MOST_MEMORY_GROWTH}",
                    growth <= MOST_MEMORY_GROWTH,
                ),
                ("transcription", f"{ratio:.1f} times faster", f"{LEAST_SPEED_UP}", ratio >= LEAST_SPEED_UP),
                ("word error rate", f"{worse:+.3f}", f"+{MOST_WORSE}", worse <= MOST_WORSE),
            ]
        )
    )


if __name__ == "__main__":
    main()
