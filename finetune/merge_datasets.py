"""Make one dataset of several, row by row, each checked.

    python -m finetune.merge_datasets OUTPUT.jsonl --dataset NAME=FILE.jsonl --dataset NAME=FILE.jsonl … [--home FOLDER]

Conversations keep apart by the NAME of their dataset, which opens theirs. The result has a split: a conversation
is held out if it was held out in its dataset, or would have been in a training, so nothing that was learned before
is asked for afterwards.
"""

from __future__ import annotations

import argparse
import json
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.dataset_files import report_path
from engines.contract.dataset_rows import Row, read_rows
from engines.contract.events import emit
from engines.contract.run_protocol import run_script
from finetune import rows as dataset_rows
from finetune import split_files
from finetune.formats.dialog import Dialog, Turn
from finetune.leftovers import remove_leftovers
from finetune.prepare_dataset import check_output, run_job
from finetune.publish import publish
from finetune.row_file import WRITTEN_BYTES, Progress, RowFile
from finetune.tokens import estimate_trained_tokens

SUMS = (
    "messages_read",
    "messages_used",
    "repaired",
    "lost",
    "shortened",
    "joined",
)  # of the reports, where all have them

Report = dict[str, Any]


class Merger:
    """Writes the rows of one dataset after the other and counts what is in them."""

    def __init__(self, rows: RowFile, progress: Progress):
        self.rows = rows
        self.progress = progress
        self.done = 0  # bytes
        self.counts: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()
        self.written: Counter[str] = Counter()  # rows by dataset
        self.places = array("Q")  # of the conversation of each row
        self.sides = b""  # of each row: 1 if it is held out

    def add(self, name: str, path: Path) -> None:
        """Raises UserError that names the line of what is no row."""
        written = self._write(name, path)
        evaluation = dataset_rows.chosen_part(path)
        if evaluation is None:
            self.sides += split_files.sides_of(written, None, 0)[0]
        else:
            held = {dialog.conversation for dialog in dataset_rows.stream_dialogs(evaluation)}
            self.sides += bytes(conversation in held for conversation, _ in written)

    def _write(self, name: str, path: Path) -> Iterator[tuple[str, str]]:
        """The conversation, as it was called, and the label of each row that was written."""
        block = bytearray()
        for number, row in enumerate(read_rows(path), 1):
            conversation = str(row.get("conversation", number))
            row["conversation"] = f"{name}:{conversation}"
            block += json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
            if len(block) > WRITTEN_BYTES:
                self._put(block)
                block.clear()
            self.written[name] += 1
            self.places.append(split_files.place(row["conversation"]))
            self._count(row)
            yield conversation, "" if row.get("label") is None else str(row["label"])
        self._put(block)

    def _put(self, block: bytearray) -> None:
        self.rows.put(block)
        self.done += len(block)
        self.progress(self.done)

    def _count(self, row: Row) -> None:
        turns = [Turn(turn["role"], turn["content"]) for turn in row.get("messages", [])]
        text = "" if turns else row["text"]
        self.counts["dialogs" if turns else "texts"] += 1
        self.counts["turns"] += sum(turn.role != "system" for turn in turns)
        self.counts["tokens"] += estimate_trained_tokens(Dialog(turns, text=text))
        for turn in turns:
            self.characters[turn.role] += len(turn.content)
        if text:
            self.characters["text"] += len(text)

    def held_out(self) -> int:
        return len(set(compress(self.places, self.sides)))

    def figures(self) -> Report:
        """What was counted, in the words of any report."""
        total = self.written.total()
        return {
            "source": ", ".join(self.written),
            "format": "merged",
            "dialogs": self.counts["dialogs"],
            "texts": self.counts["texts"],
            "conversations": len(set(self.places)),
            "turns": self.counts["turns"],
            "characters": dict(self.characters),
            "rows": {"formed": total, "by_windows": 0, "left_out": {}, "written": total},
            "estimated_tokens": self.counts["tokens"],
            "by_source": dict(self.written),
            "sources": dict(self.written),
            "source_names": {f"{name}:": name for name in self.written},
        }


def sums(reports: list[Report]) -> Report:
    """What only the preparations can have counted. Messages, where all of them counted them."""
    months: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for report in reports:
        months.update(report.get("months") or {})
    if not all("messages_read" in report for report in reports):
        return {"months": dict(sorted(months.items()))}
    for report in reports:
        dropped.update(report.get("dropped") or {})
    return {
        **{name: sum(report.get(name, 0) for report in reports) for name in SUMS},
        "dropped": dict(dropped.most_common()),
        "months": dict(sorted(months.items())),
    }


def merge(output: Path, datasets: list[tuple[str, Path]], home: Path | None = None) -> Report:
    """Write `output`, its split and its report; returns the report. Raises UserError, OSError, Stopped.

    home: the workspace that it is in.
    """
    for _, path in datasets:
        check_output(path, output, has_parts=True, home=home)
    remove_leftovers(output)
    with RowFile(output) as rows:
        merger = Merger(rows, Progress(sum(path.stat().st_size for _, path in datasets)))
        for name, path in datasets:
            merger.add(name, path)
        emit("progress", done=merger.progress.total, total=merger.progress.total, unit="bytes")
        rows.flush()
        parts = split_files.written_parts(rows.temporary, output, merger.sides, merger.held_out())
        with parts as (split, made):
            report = {
                **merger.figures(),
                **sums([statefiles.read_json(report_path(path)) or {} for _, path in datasets]),
                "split": split and {**split, "kept": True},
                "output_sha256": rows.sha256.hexdigest(),
            }
            publish(rows, report, made, home)
    return report


def named_file(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    return name, Path(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--dataset", type=named_file, action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--home", type=Path, help="the workspace that the output is in")
    arguments = parser.parse_args()
    run_job(lambda: merge(arguments.output, arguments.dataset, arguments.home))


if __name__ == "__main__":
    run_script(main)
