"""Dataset files made of dataset files: several merged into one, one written in another program's format.

messages            {"messages": [{"role", "content"}, …]}                    OpenAI, TRL
sharegpt            {"conversations": [{"from", "value"}, …], "system"}
alpaca              {"instruction", "input", "output", "system", "history"}
prompt-completion   {"prompt": [messages], "completion": [message]}
vertex              {"systemInstruction", "contents": [{"role", "parts"}]}
csv                 question, answer                                          a line for each answer
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.data.datasets import Dataset, Datasets, report_path

Row = dict[str, Any]
SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}


@dataclass(frozen=True)
class Format:
    """lines: what becomes of a row. words: who reads it. ending: of a file's name."""

    lines: Callable[[Row], Iterator[str]]
    words: str
    ending: str = "jsonl"


def merge(registry: Datasets, names: list[str], name: str) -> dict[str, Any]:
    """Make one dataset of several, with a report. Equal rows stay: filters are for preparing.

    Conversations keep apart by the name of their dataset. Returns the report. Raises UserError.
    """
    target = registry.path(name)
    if target.exists():
        raise UserError("conflict", f"there is a dataset {name} already", "Choose another name, or delete that one.")
    datasets = [registry.get(each) for each in names]
    if len({dataset.path for dataset in datasets}) < 2:
        raise UserError("usage", "at least two different datasets are merged", "Name two or more.")
    written: Counter[str] = Counter()

    def rows() -> Iterator[str]:
        for dataset in datasets:
            for row in read_rows(dataset):
                row["conversation"] = f"{dataset.name}:{row.get('conversation', written[dataset.name])}"
                written[dataset.name] += 1
                yield _line(row)

    _write(target, rows())
    characters: Counter[str] = Counter()
    for dataset in datasets:
        characters.update(dataset.report.get("characters", {}))
    total = written.total()
    report = {
        "source": ", ".join(dataset.name for dataset in datasets),
        "format": "merged",
        "dialogs": total,
        "conversations": sum(dataset.report.get("conversations", 0) for dataset in datasets),
        "turns": sum(dataset.report.get("turns", 0) for dataset in datasets),
        "characters": dict(characters),
        "rows": {"formed": total, "by_windows": 0, "left_out": {}, "written": total},
        "by_source": dict(written),
        "sources": dict(written),
        "source_names": {f"{name}:": name for name in written},
    }
    statefiles.write_json(report_path(target), report)
    return report


def export(dataset: Dataset, form: str, target: Path) -> dict[str, int]:
    """Write `dataset` in another format. Returns rows read, written and left out (text has no turns).

    Raises UserError for a format that is not known, and for a target that exists.
    """
    if form not in FORMATS:
        raise UserError("usage", f"there is no format {form}", f"Choose one of {', '.join(FORMATS)}.")
    if target.exists():
        raise UserError("conflict", f"{target} exists", "Name a file that does not.")
    if not target.parent.is_dir():
        raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
    counts = {"read": 0, "written": 0, "left_out": 0}

    def lines() -> Iterator[str]:
        if form == "csv":
            yield _csv_line(["question", "answer"])
        for row in read_rows(dataset):
            counts["read"] += 1
            if not row.get("messages"):
                counts["left_out"] += 1
                continue
            for line in FORMATS[form].lines(row):
                counts["written"] += 1
                yield line

    _write(target, lines())
    return counts


def read_rows(dataset: Dataset) -> Iterator[Row]:
    """Raises UserError naming the line that is no row."""
    with open(dataset.path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise UserError(
                    "bad_input", f"{dataset.path.name} line {number} is no row", "Prepare the dataset again."
                )
            yield row


def _as_messages(row: Row) -> Iterator[str]:
    yield _line({"messages": row["messages"]})


def _as_sharegpt(row: Row) -> Iterator[str]:
    turns = [{"from": SHAREGPT_ROLES[turn["role"]], "value": turn["content"]} for turn in row["messages"]]
    yield _line({"conversations": turns})


def _as_alpaca(row: Row) -> Iterator[str]:
    """One record a dialog: the last question with its answer, those before as history."""
    system, pairs = _pairs(row)
    *history, (question, answer) = pairs
    record: Row = {"instruction": question, "input": "", "output": answer}
    if system:
        record["system"] = system
    if history:
        record["history"] = [list(pair) for pair in history]
    yield _line(record)


def _as_prompt_completion(row: Row) -> Iterator[str]:
    *before, last = row["messages"]
    yield _line({"prompt": before, "completion": [last]})


def _as_vertex(row: Row) -> Iterator[str]:
    system, _ = _pairs(row)
    contents = [
        {"role": "model" if turn["role"] == "assistant" else "user", "parts": [{"text": turn["content"]}]}
        for turn in row["messages"]
        if turn["role"] != "system"
    ]
    head = {"systemInstruction": {"parts": [{"text": system}]}} if system else {}
    yield _line({**head, "contents": contents})


def _as_csv(row: Row) -> Iterator[str]:
    for pair in _pairs(row)[1]:
        yield _csv_line(pair)


FORMATS = {
    "messages": Format(_as_messages, "OpenAI, TRL, and this program"),
    "sharegpt": Format(_as_sharegpt, "Axolotl, LLaMA-Factory: from and value"),
    "alpaca": Format(_as_alpaca, "instruction, output, history"),
    "prompt-completion": Format(_as_prompt_completion, "the last answer, all before it"),
    "vertex": Format(_as_vertex, "Gemini: contents with parts"),
    "csv": Format(_as_csv, "a table of questions and answers", "csv"),
}


def _pairs(row: Row) -> tuple[str, list[tuple[str, str]]]:
    """The system prompt, and each answer with what was asked before it."""
    system, asked = "", ""
    pairs: list[tuple[str, str]] = []
    for turn in row["messages"]:
        if turn["role"] == "system":
            system = turn["content"]
        elif turn["role"] == "assistant":
            pairs.append((asked, turn["content"]))
            asked = ""
        else:
            asked = turn["content"]
    return system, pairs


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def _csv_line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _write(target: Path, lines: Iterator[str]) -> None:
    """Whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with statefiles.open_private(temporary) as file:
            for line in lines:
                file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, target)
        statefiles.sync_dir(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
