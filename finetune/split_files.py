"""A dataset's two parts as files: `…_train.jsonl` and `…_eval.jsonl`, by whole conversations.

Which conversations are held out depends on their names and the seed alone, so a dataset that
is prepared again after some more chats keeps the others where they were.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import compress, groupby
from operator import not_
from pathlib import Path
from typing import Any

import msgspec

from engines.contract import statefiles
from engines.contract.dataset_files import part_paths
from engines.contract.errors import UserError

DEFAULT_PART = 0.1  # which is also the default share of a training
Made = list[tuple[Path, Path]]  # temporary file, place


class Key(msgspec.Struct):
    """What of a row decides on which side it stands."""

    conversation: str
    label: str = ""


_key = msgspec.json.Decoder(Key).decode


def held_out(names: Iterable[str], part: float, seed: int = 0) -> set[str]:
    """The conversations to hold out: a share of them (part < 1) or a number.

    Ordered by a hash of seed and name: a smaller part is contained in a larger one. At least
    one is held out and at least one is left, where there are two.
    """
    ordered = sorted(set(names), key=lambda name: place(name, seed))
    return set(ordered[: _count(len(ordered), part)])


def place(name: str, seed: int = 0) -> int:
    salted = f"{seed}:{name}" if seed else name
    return int.from_bytes(hashlib.blake2b(salted.encode(), digest_size=8).digest())


def held_out_of(rows: Iterable[tuple[str, str]], part: float, seed: int = 0) -> set[str]:
    """The same of rows as (conversation, label): of every label its share."""
    by_label: dict[str, set[str]] = defaultdict(set)
    for conversation, label in rows:
        by_label[label].add(conversation)
    share = _share(part, [len(names) for names in by_label.values()])
    return set().union(*[held_out(names, share, seed) for names in by_label.values()])


def _count(total: int, part: float) -> int:
    count = round(total * part) if part < 1 else int(part)
    return max(0, min(max(count, 1), total - 1) if part > 0 else count)


def _share(part: float, counts: list[int]) -> float:
    """A number of conversations as the share of each label, if there are several."""
    return part if part < 1 or len(counts) == 1 else part / max(1, sum(counts))


@contextmanager
def parts_of(
    source: Path, dataset: Path, part: float | None, seed: int, *, by_default: bool
) -> Iterator[tuple[dict[str, Any] | None, Made]]:
    """The parts of the rows in `source`; labels keep their shares in both. What it gives: see `written_parts`.

    part: None: DEFAULT_PART if `by_default` and there is more than one conversation, else no split.
    Raises UserError where the wanted part cannot be held out.
    """
    sides, held_out = choose(source, part, seed) if part or (part is None and by_default) else (b"", 0)
    with written_parts(source, dataset, sides, held_out) as parts:
        yield parts


@contextmanager
def written_parts(
    source: Path, dataset: Path, sides: bytes, held_out: int
) -> Iterator[tuple[dict[str, Any] | None, Made]]:
    """The rows of `source` by their sides as temporary files that bear its name. held_out: conversations that are.

    Gives the rows of each part, None if nothing is held out, and (temporary file, place) of each. What is not put in
    its place meanwhile is gone then.
    """
    if not held_out:
        yield None, []
        return
    made = [
        (source.with_name(f"{source.name}.{name}"), place)
        for name, place in zip(("train", "eval"), part_paths(dataset), strict=True)
    ]
    try:
        _write(source, sides, made)
        yield {"train": sides.count(0), "eval": sides.count(1), "conversations_held_out": held_out}, made
    finally:
        for temporary, _ in made:
            temporary.unlink(missing_ok=True)


def _write(source: Path, sides: bytes, made: Made) -> None:
    (train_path, _), (eval_path, _) = made
    with statefiles.open_private(train_path) as train, statefiles.open_private(eval_path) as evaluation:
        with open(source, "rb") as file:
            train.writelines(compress(file, map(not_, sides)))
            file.seek(0)
            evaluation.writelines(compress(file, sides))
        for part in (train, evaluation):
            part.flush()
            os.fsync(part.fileno())


def choose(source: Path, part: float | None, seed: int) -> tuple[bytes, int]:
    """The sides of the rows in `source`. See `sides_of`."""
    with open(source, "rb") as file:
        return sides_of(((key.conversation, key.label) for key in map(_key, file)), part, seed)


def sides_of(rows: Iterable[tuple[str, str]], part: float | None, seed: int) -> tuple[bytes, int]:
    """Of each row, (conversation, label): 1 if it is held out, else 0. And how many conversations are.

    part: None: DEFAULT_PART. Names are kept by their place alone, so that millions of rows need little memory.
    Raises UserError where the wanted part cannot be held out.
    """
    places = array("Q")
    by_label: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    for conversation, label in rows:
        places.append(place(conversation, seed))
        by_label[label].append(places[-1])
    ordered = [[at for at, _ in groupby(sorted(of_label))] for of_label in by_label.values()]
    counts = list(map(len, ordered))
    if part is not None and (sum(counts) < 2 or part >= sum(counts)):
        raise UserError(
            "bad_input", f"{part:g} cannot be held out of {sum(counts)} conversations",
            "Hold out fewer, or set split to 0.",
        )  # fmt: skip
    share = _share(DEFAULT_PART if part is None else part, counts)
    chosen = set().union(*[of_label[: _count(len(of_label), share)] for of_label in ordered])
    return bytes(at in chosen for at in places), len(chosen)
