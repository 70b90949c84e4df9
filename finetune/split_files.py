"""A dataset's two parts as files: `…_train.jsonl` and `…_eval.jsonl`, by whole conversations.

Which conversations are held out depends on their names and the seed alone, so a dataset that
is prepared again after some more chats keeps the others where they were.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from engines import statefiles
from engines.errors import UserError


class Key(msgspec.Struct):
    """What of a row decides on which side it stands."""

    conversation: str
    label: str = ""


_key = msgspec.json.Decoder(Key).decode


def part_paths(dataset: Path) -> tuple[Path, Path]:
    """(training, held out) of a dataset file."""
    return dataset.with_name(f"{dataset.stem}_train.jsonl"), dataset.with_name(f"{dataset.stem}_eval.jsonl")


def held_out(names: Iterable[str], part: float, seed: int = 0) -> set[str]:
    """The conversations to hold out: a share of them (part < 1) or a number.

    Ordered by a hash of seed and name: a smaller part is contained in a larger one. At least
    one is held out and at least one is left, where there are two.
    """
    ordered = sorted(set(names), key=lambda name: place(name, seed))
    count = round(len(ordered) * part) if part < 1 else int(part)
    if part > 0:
        count = min(max(count, 1), len(ordered) - 1)
    return set(ordered[: max(0, count)])


def place(name: str, seed: int = 0) -> bytes:
    salted = f"{seed}:{name}" if seed else name
    return hashlib.blake2b(salted.encode(), digest_size=8).digest()


def write(source: Path, dataset: Path, part: float, seed: int) -> dict[str, Any] | None:
    """Write the parts of the rows in `source` beside `dataset`; labels keep their shares in both.

    Returns the rows of each part, None if no split is wanted: then older parts are removed.
    Raises UserError where there is only one conversation.
    """
    paths = part_paths(dataset)
    if not part:
        for path in paths:
            path.unlink(missing_ok=True)
        return None
    by_label: dict[str, set[str]] = defaultdict(set)
    with open(source, "rb") as file:
        for line in file:
            key = _key(line)
            by_label[key.label].add(key.conversation)
    total = sum(map(len, by_label.values()))
    if total < 2 or part >= total:
        raise UserError(
            "bad_input", f"{part:g} cannot be held out of {total} conversations", "Hold out fewer, or set split to 0."
        )
    chosen: set[str] = set()
    for names in by_label.values():
        share = part if part < 1 else part / total
        chosen |= held_out(names, share if len(by_label) > 1 else part, seed)
    return _write_parts(source, paths, chosen)


def _write_parts(source: Path, paths: tuple[Path, Path], chosen: set[str]) -> dict[str, Any]:
    temporary = [path.with_name(f".{path.name}.tmp") for path in paths]
    rows = [0, 0]
    try:
        with statefiles.open_private(temporary[0]) as train, statefiles.open_private(temporary[1]) as evaluation:
            parts = (train, evaluation)
            with open(source, "rb") as file:
                for line in file:
                    side = _key(line).conversation in chosen
                    parts[side].write(line)
                    rows[side] += 1
        for made, path in zip(temporary, paths, strict=True):
            made.rename(path)
    finally:
        for made in temporary:
            made.unlink(missing_ok=True)
    return {"train": rows[0], "eval": rows[1], "conversations_held_out": len(chosen)}
