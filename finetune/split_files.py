"""A dataset's two parts as files: `…_train.jsonl` and `…_eval.jsonl`, by whole conversations.

Which conversations are held out depends on their names and the seed alone, so a dataset that
is prepared again after some more chats keeps the others where they were.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engines.contract import statefiles
from engines.contract.errors import UserError

DEFAULT_PART = 0.1  # which is also the default share of a training
Made = list[tuple[Path, Path]]  # temporary file, place


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


def held_out_of(rows: Iterable[tuple[str, str]], part: float, seed: int = 0) -> set[str]:
    """The same of rows as (conversation, label): of every label its share."""
    return _held_out_by_label(_by_label(rows), part, seed)


def _by_label(rows: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for conversation, label in rows:
        found[label].add(conversation)
    return found


def _held_out_by_label(by_label: dict[str, set[str]], part: float, seed: int) -> set[str]:
    total = sum(map(len, by_label.values()))
    share = part if part < 1 or len(by_label) == 1 else part / max(1, total)
    return set().union(*[held_out(names, share, seed) for names in by_label.values()])


@contextmanager
def parts_of(
    source: Path, dataset: Path, part: float | None, seed: int, *, by_default: bool
) -> Iterator[tuple[dict[str, Any] | None, Made]]:
    """The parts of the rows in `source` as temporary files beside `dataset`; labels keep their shares in both.

    part: None: DEFAULT_PART if `by_default` and there is more than one conversation, else no split.
    Gives the rows of each part, None if no split is wanted, and (temporary file, place) of each. What is not put in
    its place meanwhile is gone then. Raises UserError where the wanted part cannot be held out.
    """
    chosen = choose(source, part, seed) if part or (part is None and by_default) else set()
    if not chosen:
        yield None, []
        return
    made = [(place.with_name(f".{place.name}.tmp"), place) for place in part_paths(dataset)]
    try:
        yield _write(source, chosen, made), made
    finally:
        for temporary, _ in made:
            temporary.unlink(missing_ok=True)


def _write(source: Path, chosen: set[str], made: Made) -> dict[str, Any]:
    rows = [0, 0]
    (train_path, _), (eval_path, _) = made
    with statefiles.open_private(train_path) as train, statefiles.open_private(eval_path) as evaluation:
        parts = (train, evaluation)
        with open(source, "rb") as file:
            for line in file:
                side = _key(line).conversation in chosen
                parts[side].write(line)
                rows[side] += 1
        for part in parts:
            part.flush()
            os.fsync(part.fileno())
    return {"train": rows[0], "eval": rows[1], "conversations_held_out": len(chosen)}


def choose(source: Path, part: float | None, seed: int) -> set[str]:
    """The conversations of the rows in `source` that are held out. part: see `parts_of`."""
    with open(source, "rb") as file:
        by_label = _by_label((key.conversation, key.label) for key in map(_key, file))
    total = sum(map(len, by_label.values()))
    if part is not None and (total < 2 or part >= total):
        raise UserError(
            "bad_input", f"{part:g} cannot be held out of {total} conversations", "Hold out fewer, or set split to 0."
        )
    return _held_out_by_label(by_label, DEFAULT_PART if part is None else part, seed)
