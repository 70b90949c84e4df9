"""Dialogs added to a dataset that is there already: its file, its training part and its report stay one.

Of a dataset with parts they go to the one that is trained: what was held out stays what it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.dataset_files import part_paths, report_path
from engines.data.datasets import Dataset, Datasets

SOURCE, BEGINNING = "chat", "chat-"  # what a report calls where they are from; how their conversations are called
Row = dict[str, Any]


def add_rows(datasets: Datasets, name: str, rows: Sequence[Row]) -> Dataset:
    """Append rows to a dataset of the workspace, which is made if it is not there; all of them or none.

    rows: dialogs, with messages and the name of their conversation.
    """
    target = datasets.path(name)
    train = part_paths(target)[0]
    before = statefiles.read_object(report_path(target)) if target.exists() else _empty_report()
    lines = "".join(f"{json.dumps(row, ensure_ascii=False, separators=(',', ':'))}\n" for row in rows)
    added = lines.encode("utf-8", "replace")
    new = {str(row["conversation"]) for row in rows}
    made: list[tuple[Path, Path]] = []
    try:
        digest, conversations = _append(target, added, new, made)
        if train.is_file() and target.exists():
            _append(train, added, set(), made)
        for partial, place in reversed(made):
            os.rename(partial, place)
        statefiles.sync_dir(target.parent)
    finally:
        for partial, _ in made:
            partial.unlink(missing_ok=True)
    if before:
        statefiles.write_json(report_path(target), _counted(before, rows, conversations, digest))
    return datasets.get(name)


def _append(place: Path, added: bytes, names: set[str], made: list[tuple[Path, Path]]) -> tuple[str, int]:
    """Write what `place` will be beside it, and note that in `made`.

    Returns the digest of its bytes, and how many of the conversations `names` it did not have.
    """
    partial = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    made.append((partial, place))
    digest, wanted = hashlib.sha256(), {name.encode() for name in names}
    with statefiles.open_private(partial) as file:

        def write(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        if place.exists():
            with open(place, "rb") as old:
                for line in old:
                    write(line if line.endswith(b"\n") else line + b"\n")
                    wanted = {name for name in wanted if name not in line} if wanted else wanted
        write(added)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), len(wanted)


def _empty_report() -> dict[str, Any]:
    counts = dict.fromkeys(("conversations", "messages_read", "messages_used", "dialogs", "turns"), 0)
    rows = {"formed": 0, "by_windows": 0, "left_out": {}, "written": 0}
    return {"source": SOURCE, "format": "messages", **counts, "characters": {}, "dropped": {}, "sources": {},
            "source_names": {}, "repaired": 0, "lost": 0, "shortened": 0, "rows": rows}  # fmt: skip


def _counted(report: dict[str, Any], rows: Sequence[Row], conversations: int, digest: str) -> dict[str, Any]:
    """The report with these rows in every count that it has."""
    turns = [turn for row in rows for turn in row["messages"] if turn["role"] != "system"]
    characters = Counter(report.get("characters") or {})
    known = characters.total()
    for turn in turns:
        characters[turn["role"]] += len(turn["content"])
    tokens = report.get("estimated_tokens")
    if tokens and known:  # as many for each character as before
        tokens = round(tokens * characters.total() / known)
    more = {
        "dialogs": len(rows), "conversations": conversations, "turns": len(turns), "messages_read": len(turns),
        "messages_used": len(turns),
    }  # fmt: skip
    changed = {
        **{name: report[name] + number for name, number in more.items() if isinstance(report.get(name), int)},
        "characters": dict(characters), "output_sha256": digest,
        "sources": _plus(report.get("sources") or {}, {SOURCE: len(rows)}),
        "source_names": {**(report.get("source_names") or {}), BEGINNING: SOURCE},
    }  # fmt: skip
    for name, parts in (("rows", ("formed", "written")), ("split", ("train",))):
        if isinstance(report.get(name), dict):
            changed[name] = _plus(report[name], dict.fromkeys(parts, len(rows)))
    return {**report, **changed, **({"estimated_tokens": tokens} if tokens else {})}


def _plus(counts: dict[str, Any], more: dict[str, int]) -> dict[str, Any]:
    return {**counts, **{name: (counts.get(name) or 0) + number for name, number in more.items()}}
