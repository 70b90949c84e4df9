"""What a file, folder or archive holds and what would become of it, without making it: fast, of any size.

    python -m finetune.inspect_dataset INPUT [--config CONFIG.json]

Of large files the beginning is read, which the result says in `sampled`; its numbers are
then those of the sample, and `share` tells how much of the source that is.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from engines.config.prepare import PrepareConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.run_protocol import run_script
from finetune import inputs
from finetune.formats import Detected, detect
from finetune.formats.dialog import Dialog
from finetune.formats.table import PARQUET_MARK, parquet_records, parquet_rows
from finetune.formats.telegram_places import find_last_border
from finetune.prepare_dataset import read_config, run_job
from finetune.reading import Reading
from finetune.refine import Refiner
from finetune.row_file import Progress
from finetune.tokens import estimate_trained_tokens

SAMPLE_BYTES = 4 * 1024 * 1024
UNPACKED_BYTES = 8 * 1024 * 1024  # of a member of an archive, so that the last record of a sample is whole
SAMPLED_FILES = 40
EXAMPLES = 3
JUDGED_CHARACTERS = 400  # by which the script of a row is told
BUCKETS = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # upper bounds in tokens


class Look:
    """Takes the rows that would be written, and remembers what they look like."""

    def __init__(self, redacts: bool) -> None:
        self.redacts = redacts
        self.examples: list[dict[str, Any]] = []
        self.lengths: Counter[str] = Counter()
        self.scripts: Counter[str] = Counter()

    def __call__(self, rows: list[Dialog]) -> None:
        for row in rows:
            self._look_at(row)

    def _look_at(self, row: Dialog) -> None:
        tokens = estimate_trained_tokens(row)
        bound = next((bound for bound in BUCKETS if tokens <= bound), None)
        self.lengths[f"to {bound}" if bound else f"over {BUCKETS[-1]}"] += 1
        text = row.text or " ".join([turn.content for turn in row.turns])
        self.scripts[script_of(text[:JUDGED_CHARACTERS])] += 1
        if len(self.examples) < EXAMPLES:
            turns = [msgspec.to_builtins(turn) for turn in row.turns]
            self.examples.append({"messages": turns or [{"role": "text", "content": row.text}]})
            if rejected := getattr(row, "rejected", ""):  # of a preference
                self.examples[-1]["rejected"] = self._shown(rejected)

    def _shown(self, text: str) -> str:
        """What stands beside a row, as what stands in it."""
        if not self.redacts:
            return text
        from finetune.redaction import Redactor

        return str(Redactor().redact(text))

    def histogram(self) -> dict[str, int]:
        names = [*(f"to {bound}" for bound in BUCKETS), f"over {BUCKETS[-1]}"]
        return {name: self.lengths[name] for name in names if self.lengths[name]}


def script_of(text: str) -> str:
    """latin, cyrillic or other: what most of the letters are."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum([letter < "\u0250" for letter in letters])
    cyrillic = sum(["\u0400" <= letter < "\u0530" for letter in letters])
    if not letters or latin + cyrillic < len(letters) / 2:
        return "other"
    return "cyrillic" if cyrillic > latin else "latin"


def inspect(source: str, config: PrepareConfig) -> dict[str, Any]:
    """Raises UserError for what cannot be read at all."""
    notes = []
    if config.transcribe_voice:
        config = config.model_copy(update={"transcribe_voice": False})
        notes.append("voice notes are written down by `ftui llm prepare` alone; here they count as left out")
    config = config.model_copy(update={"strict": False})  # it says what is wrong instead
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with inputs.opened(source, scratch / "inspected.jsonl", config.hub_split, UNPACKED_BYTES) as files:
            total = sum(file.size for file in files)
            chosen = files[:SAMPLED_FILES]
            look = Look(config.redact)
            refiner = Refiner(config, look)
            reading = Reading(config, refiner, Progress(total))
            own_format = bool(config.columns or config.template)
            read = 0.0
            for number, file in enumerate(chosen):
                part = beginning(file, scratch / f"part-{number}", SAMPLE_BYTES // len(chosen), own_format)
                read += part.share * file.size
                many = len(files) > 1
                reading.read(part.path, file.name, one_of_many=many, found=part.found, most_bytes=part.most_bytes)
            sampled = read < total
            if not sampled:
                reading.check_not_empty(Path(source).name, refiner.left_out)
            return {
                "source": Path(source).name,
                "bytes": total,
                "sampled": sampled,
                "share": round(read / total, 6) if total else 1.0,
                **reading.figures(),
                **refiner.figures(),
                "lengths": look.histogram(),
                "scripts": dict(look.scripts.most_common()),
                "examples": look.examples,
                "notes": notes,
            }


class Part(NamedTuple):
    """What is looked at of a file: `path`, of which at most about `most_bytes` are read; what share of it that is.

    most_bytes: None for a whole file. found: its format, if that is known already.
    """

    path: Path
    share: float = 1.0
    most_bytes: int | None = None
    found: Detected | None = None


def beginning(file: inputs.Input, target: Path, size: int, any_record: bool) -> Part:
    """The file itself, or about the first `size` bytes of it, which end with a whole message, record or line.

    A beginning that has to be a file of its own is written to `target`, a private file: that of a chat, of a table,
    and the first records of Parquet, as JSON. any_record: see `detect`.
    """
    if file.size <= size:
        return Part(file.path)
    with open(file.path, "rb") as whole:
        head = whole.read(size)
    if head.startswith(PARQUET_MARK):
        with statefiles.open_private(target) as part:
            return Part(target, _first_records(file.path, part, size))
    try:
        found = detect(file.path, any_record)
    except UserError:  # which is said when it is read
        found = None
    if found is not None and found.layout is not None and found.layout.kind != "csv":  # records are read one by one
        return Part(file.path, size / file.size, size, found)
    end = find_last_border(head, 0)
    end = end if end > 0 else head.rfind(b"\n") + 1 or size
    with statefiles.open_private(target) as part:
        part.write(head[:end])
    return Part(target, end / file.size, end, found)


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
    gc.disable()  # as in a preparation
    gc.freeze()
    run_job(lambda: inspect(arguments.input, read_config(arguments.config)))


if __name__ == "__main__":
    run_script(main)
