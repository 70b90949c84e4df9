"""What a file, folder or archive holds and what would become of it, without making it: fast, of any size.

    python -m finetune.inspect_dataset INPUT [--config CONFIG.json]

Of large files the beginning is read, which the result says in `sampled`; its numbers are
then those of the sample, and `share` tells how much of the source that is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO, Any

from engines.config.prepare import PrepareConfig
from engines.contract import statefiles
from engines.contract.run_protocol import run_script
from finetune import inputs
from finetune.formats.dialog import Dialog
from finetune.formats.table import PARQUET_MARK, parquet_records, parquet_rows
from finetune.prepare_dataset import read_config, run_job
from finetune.reading import Reading
from finetune.refine import Refiner
from finetune.row_file import Progress
from finetune.tokens import estimate_row_tokens

SAMPLE_BYTES = 6 * 1024 * 1024
SAMPLED_FILES = 40
EXAMPLES = 3
BUCKETS = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # upper bounds in tokens


class Look:
    """Takes the rows that would be written, and remembers what they look like."""

    def __init__(self) -> None:
        self.examples: list[dict[str, Any]] = []
        self.lengths: Counter[str] = Counter()
        self.scripts: Counter[str] = Counter()

    def __call__(self, rows: list[Dialog]) -> None:
        for row in rows:
            self._look_at(row)

    def _look_at(self, row: Dialog) -> None:
        tokens = estimate_row_tokens(row)
        bound = next((bound for bound in BUCKETS if tokens <= bound), None)
        self.lengths[f"to {bound}" if bound else f"over {BUCKETS[-1]}"] += 1
        text = row.text or " ".join(turn.content for turn in row.turns)
        self.scripts[script_of(text)] += 1
        if len(self.examples) < EXAMPLES:
            turns = [{"role": turn.role, "content": turn.content} for turn in row.turns]
            self.examples.append({"messages": turns or [{"role": "text", "content": row.text}]})

    def histogram(self) -> dict[str, int]:
        names = [*(f"to {bound}" for bound in BUCKETS), f"over {BUCKETS[-1]}"]
        return {name: self.lengths[name] for name in names if self.lengths[name]}


def script_of(text: str) -> str:
    """latin, cyrillic or other: what most of the letters are."""
    letters = [letter for letter in text[:2000] if letter.isalpha()]
    latin = sum(letter < "\u0250" for letter in letters)
    cyrillic = sum("\u0400" <= letter < "\u0530" for letter in letters)
    if not letters or latin + cyrillic < len(letters) / 2:
        return "other"
    return "cyrillic" if cyrillic > latin else "latin"


def inspect(source: str, config: PrepareConfig) -> dict[str, Any]:
    """Raises UserError for what cannot be read at all."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with inputs.opened(source, scratch / "inspected.jsonl", config.hub_split, SAMPLE_BYTES) as files:
            total = sum(file.size for file in files)
            chosen = files[:SAMPLED_FILES]
            look = Look()
            refiner = Refiner(config, look)
            reading = Reading(config, refiner, Progress(total))
            read = 0.0
            for number, file in enumerate(chosen):
                part, share = beginning(file, scratch / f"part-{number}", SAMPLE_BYTES // len(chosen))
                read += share * file.size
                reading.read(part, file.name, f"{number}:", one_of_many=len(files) > 1)
            sampled = read < total
            if not sampled:
                reading.check_not_empty(Path(source).name, refiner.left_out)
            found = reading.figures()
            if sampled:  # where the sample was cut is no problem of the file
                found["problems"] = [
                    text for text in found["problems"] if "nothing behind" not in text and "ends in the" not in text
                ]
            return {
                "source": Path(source).name,
                "bytes": total,
                "sampled": sampled,
                "share": round(read / total, 6) if total else 1.0,
                **found,
                **refiner.figures(),
                "lengths": look.histogram(),
                "scripts": dict(look.scripts.most_common()),
                "examples": look.examples,
            }


def beginning(file: inputs.Input, target: Path, size: int) -> tuple[Path, float]:
    """The file itself, or its first `size` bytes as a private file: whole lines, where there are lines.

    Also returns which share of the file that is. Of Parquet come the first records, as JSON.
    """
    if file.size <= size:
        return file.path, 1.0
    with open(file.path, "rb") as whole, statefiles.open_private(target) as part:
        head = whole.read(size)
        if head.startswith(PARQUET_MARK):
            return target, _first_records(file.path, part, size)
        end = head.rfind(b"\n") + 1 or size
        part.write(head[:end])
    return target, end / file.size


def _first_records(path: Path, part: IO[bytes], size: int) -> float:
    """Write records of a Parquet file until they are `size` bytes; returns their share of all."""
    written = count = 0
    for record in parquet_records(path):
        line = json.dumps(record, default=str).encode() + b"\n"
        part.write(line)
        written, count = written + len(line), count + 1
        if written >= size:
            break
    return count / max(1, count, parquet_rows(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    run_job(lambda: inspect(arguments.input, read_config(arguments.config)))


if __name__ == "__main__":
    run_script(main)
