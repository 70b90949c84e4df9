"""What is known of a voice's dataset and of its training before it starts, in words: the same for both faces."""

from __future__ import annotations

from typing import Any

from ftui.format import UNKNOWN, count, duration, size

PARTS = ("runtime", "weights", "trained", "activations")
SHOWN_CODES = 4


def preflight(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, figures), in the order in which one wants to know them."""
    prepared = "" if found["prepared"] else "; the dataset is made first"
    lines = [
        (
            "speech",
            f"{duration(found['seconds'])} in {count(found['train'])} clips to train on, {count(found['eval'])} held "
            f"out; longest {found['longest']:.1f} s{prepared}",
        ),
        ("steps", f"{count(found['steps_per_epoch'])} an epoch, {count(found['steps'])} in all"),
    ]
    memory, disk = found["memory"], found["disk"]
    if memory is None or disk is None:
        lines.append(("memory", f"{UNKNOWN}: the base model is not on this machine and of no known size"))
    else:
        fits = "fits" if memory["total"] <= memory["free"] else "does NOT fit"
        lines += [
            ("memory", f"about {size(memory['total'])} of {size(memory['free'])} free on {found['device']}: {fits}"),
            ("", ", ".join(f"{part} {size(memory[part])}" for part in PARTS)),
            ("disk", f"{size(disk['needed'])} of {size(disk['free'])} free; an epoch {size(disk['epoch'])}"),
        ]
    expected = found["expected"]
    time = (
        "not known yet: no training of this kind has ended here" if expected is None else f"about {duration(expected)}"
    )
    return [*lines, ("time", time), ("precision", f"{found['precision']} on {found['device']}")]


def dataset(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """A prepared dataset."""
    reference = figures["reference"]
    return [
        (
            "clips",
            f"{count(figures['train'])} to train on, {count(figures['eval'])} held out, {duration(figures['seconds'])}",
        ),
        ("lengths", f"{figures['shortest']} to {figures['longest']} s, median {figures['median']} s"),
        ("speed", f"{figures['characters_per_second']} characters a second"),
        ("reference", f"{reference['clip']} ({reference['seconds']} s): {reference['text']}"),
        *(
            ("left out", f"{count(number)} {reason.replace('_', ' ')}")
            for reason, number in figures["left_out"].items()
        ),
    ]


def row(found: dict[str, Any]) -> tuple[str, str, str]:
    """(file, text, frames) of a row as it is trained."""
    codes = " ".join(map(str, found["codes"][0][:SHOWN_CODES])) if found["codes"] else UNKNOWN
    name = str(found["audio"]).rpartition("/")[2]
    return name, found["text"], f"{count(found['frames'])} frames of 16 codes, {codes} …"
