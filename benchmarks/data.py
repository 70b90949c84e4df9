"""What preparing datasets costs, beside the plain conversion of `benchmarks.telegram`.

    python -m benchmarks.data [--megabytes 200] [--runs 3]

Interleaved, CPU seconds, medians: a Telegram export plain, and with redaction and exact
duplicates; the same export at several sizes, for memory and for growth; JSONL of each
format; and the time that `ftui data inspect` takes. Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.telegram import LATIN, measure, write_export
from benchmarks.terminal import report

MOST_FOR_CLEANING = 1.6
MOST_MEGABYTES = 64.0
MOST_MEMORY_GROWTH = 1.25
MOST_CPU_GROWTH = 2.15
LEAST_ROWS_SPEED = 100.0  # MB of JSONL per CPU second
LONGEST_INSPECTION = 1.0  # seconds


def write_jsonl(path: Path, megabytes: float, kind: str) -> None:
    """Rows of a format: dialogs of two to six turns or a question with its answer; now and then a line break."""
    random_ = random.Random(11)
    words = [*LATIN.split(), "\n"]

    def text(least: int, most: int) -> str:
        return " ".join(random_.choices(words, k=random_.randint(least, most))).lstrip() + "."

    with open(path, "w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1e6:
            file.write(json.dumps(row_of(kind, text, 2 * random_.randint(1, 3))) + "\n")


def row_of(kind: str, text: Callable[[int, int], str], turns: int) -> dict[str, object]:
    """text: of at least and at most so many words."""
    said = [(number % 2, text(10, 60)) for number in range(turns)]
    match kind:
        case "messages":
            return {"messages": [{"role": ("user", "assistant")[by], "content": words} for by, words in said]}
        case "sharegpt":
            return {"conversations": [{"from": ("human", "gpt")[by], "value": words} for by, words in said]}
        case "from/value":
            return {"messages": [{"from": ("user", "assistant")[by], "value": words} for by, words in said]}
        case "vertex":
            return {"contents": [{"role": ("user", "model")[by], "parts": [{"text": words}]} for by, words in said]}
        case "instructions":
            return {"instruction": text(20, 40), "input": "", "output": text(200, 400)}
        case "with a system prompt":
            return {"system": text(10, 20), "instruction": text(10, 60), "input": "", "output": text(10, 60)}
        case "prompt/completion":
            return {"prompt": text(10, 60), "completion": text(10, 60)}
        case "input/output text":
            return {"input_text": text(10, 60), "output_text": text(10, 60)}
        case "labels":
            return {"text": text(40, 120), "label": text(1, 1)}
        case _:
            return {"text": text(200, 400)}


KINDS = (
    "messages", "sharegpt", "from/value", "vertex", "instructions", "with a system prompt", "prompt/completion",
    "input/output text", "labels", "text",
)  # fmt: skip


def prepare(source: Path, folder: Path, **config: object) -> list[str]:
    parameters = folder / f"{'-'.join(config) or 'plain'}.json"
    parameters.write_text(json.dumps({"processes": 1, **config}))
    output = folder / "out.jsonl"
    return [
        sys.executable, "-m", "finetune.prepare_dataset", str(source), str(output), "--config", str(parameters)
    ]  # fmt: skip


def medians(commands: dict[str, list[str]], runs: int) -> dict[str, tuple[float, float]]:
    """CPU seconds and the largest peak in MB of each, run in turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(measure(command))
    return {
        name: (statistics.median(cpu for cpu, _ in values), max(peak for _, peak in values))
        for name, values in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        return compare(Path(place), arguments.megabytes, arguments.runs)


def compare(folder: Path, megabytes: float, runs: int) -> int:
    sizes = {"a tenth": megabytes / 10, "whole": megabytes, "twice": megabytes * 2}
    sources = {name: folder / f"{name}.json" for name in sizes}
    for name, size in sizes.items():
        write_export(sources[name], size)
    rows = {kind: folder / f"{kind.replace('/', ' ')}.jsonl" for kind in KINDS}
    for kind, path in rows.items():
        write_jsonl(path, megabytes / 2, kind)
    commands = {name: prepare(path, folder) for name, path in (sources | rows).items()}
    commands["cleaned"] = prepare(sources["whole"], folder, redact=True, drop_duplicates=True)
    found = medians(commands, runs)
    cleaning = found["cleaned"][0] / found["whole"][0]
    growth = found["twice"][0] / found["whole"][0]
    memory = found["twice"][1] / found["a tenth"][1]
    speeds = {kind: rows[kind].stat().st_size / 1e6 / found[kind][0] for kind in rows}
    command = [sys.executable, "-m", "finetune.inspect_dataset", str(sources["twice"])]
    inspected = statistics.median(_seconds(command) for _ in range(runs))
    large = sources["twice"].stat().st_size / 1e6
    return report(
        [
            ("redaction and exact duplicates, against plain", f"{cleaning:.2f}", f"{MOST_FOR_CLEANING}",
             cleaning <= MOST_FOR_CLEANING),
            (f"CPU at {large:.0f} MB against half of it", f"{growth:.2f}", f"{MOST_CPU_GROWTH}",
             growth <= MOST_CPU_GROWTH),
            (f"memory at {large:.0f} MB against a twentieth", f"{memory:.2f}", f"{MOST_MEMORY_GROWTH}",
             memory <= MOST_MEMORY_GROWTH),
            ("largest memory", f"{found['twice'][1]:.0f} MB", f"{MOST_MEGABYTES:.0f} MB",
             found["twice"][1] <= MOST_MEGABYTES),
            *[(f"JSONL of {kind}", f"{speed:.0f} MB/s", f"{LEAST_ROWS_SPEED:.0f} MB/s", speed >= LEAST_ROWS_SPEED)
              for kind, speed in speeds.items()],
            (f"inspection of {large:.0f} MB", f"{inspected:.2f} s", f"{LONGEST_INSPECTION} s",
             inspected <= LONGEST_INSPECTION),
        ]
    )  # fmt: skip


def _seconds(command: list[str]) -> float:
    began = time.monotonic()
    measure(command)
    return time.monotonic() - began


if __name__ == "__main__":
    raise SystemExit(main())
