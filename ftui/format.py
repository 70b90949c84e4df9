"""Numbers as people read them. Each has its unit; what is not known is an en dash."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNKNOWN = "–"
SPARKS = "▁▂▃▄▅▆▇█"

STATE_MARKS = {
    "new": "· new",
    "queued": "◌ queued",
    "running": "● running",
    "stopping": "◐ stopping",
    "orphan": "● running",
    "done": "✓ done",
    "stopped": "■ stopped",
    "failed": "✗ failed",
    "lost": "? lost",
}


def path(place: Path | str) -> str:
    """A path with ~ for the home folder."""
    text, home = str(place), str(Path.home())
    return f"~{text[len(home) :]}" if text == home or text.startswith(f"{home}/") else text


def shortened(name: str, width: int) -> str:
    """A name in `width` characters: what is cut lies in its middle, for its end is what tells runs apart."""
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    return f"{name[: width - 1 - end]}…{name[len(name) - end :]}"


def size(count: float | None) -> str:
    """Bytes: 512 B, 6.1 MB, 1.3 GB (decimal)."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return UNKNOWN


def chats(figures: dict[str, Any], option: Callable[[str], str]) -> str:
    """Chats that were used and left out; option: what the face calls the parameter that lets some of them in."""
    skipped = [f"{number} {str(kind).replace('_', ' ')}" for kind, number in (figures.get("skipped") or {}).items()]
    let_in = [f"{number} with {option(name)}" for name, number in (figures.get("by_option") or {}).items()]
    how = f" ({', '.join(let_in)})" if let_in else ""
    return f"{figures.get('used', 0)} used" + (f", left out {', '.join(skipped)}{how}" if skipped else "")


def bar(value: int, most: int, width: int = 30) -> str:
    """A bar of a histogram whose longest has `width` characters; none for 0, at least one character else."""
    return "█" * max(bool(value), value * width // max(1, most))


def sparklines(curves: list[list[tuple[int, float]]], width: int) -> list[str]:
    """Curves of (step, value), one line each, over the same steps and on one scale: a later start stands further right.

    nan and inf are left out; a curve without points is UNKNOWN.
    """
    finite = [[(step, value) for step, value in points if math.isfinite(value)] for points in curves]
    values = [value for points in finite for _, value in points]
    steps = sorted({step for points in finite for step, _ in points})
    columns = min(width, len(steps))
    place = {step: number * columns // len(steps) for number, step in enumerate(steps)}
    lines = []
    for points in finite:
        at: dict[int, list[float]] = {}
        for step, value in points:
            at.setdefault(place[step], []).append(value)
        lines.append(_sparkline(at, min(values), max(values)) if at else UNKNOWN)
    return lines


def _sparkline(at: dict[int, list[float]], lowest: float, highest: float) -> str:
    """at: column → values. Between its first and its last column a curve goes on where nothing was measured."""
    scale = (len(SPARKS) - 1) / (highest - lowest) if highest > lowest else 0
    line = " " * min(at)
    for column in range(min(at), max(at) + 1):
        found = at.get(column)
        line += SPARKS[round((sum(found) / len(found) - lowest) * scale)] if found else line[-1]
    return line


def duration(seconds: float | None) -> str:
    """42 s, 3 min 05 s, 2 h 07 min, 1 d 4 h."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def seconds(value: float | None) -> str:
    """The length of a recording: 3.2 s, 12 min 04 s."""
    return UNKNOWN if value is None else f"{value:.1f} s" if value < 60 else duration(value)


def number(value: float | None, digits: int = 4) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def rate(value: float | None) -> str:
    """A learning rate: 2.0e-04."""
    return UNKNOWN if value is None else f"{value:.1e}"


def date(timestamp: float | None, *, year: bool = True) -> str:
    """Local date and time of a Unix timestamp; an en dash for one that no calendar has."""
    form = "%Y-%m-%d %H:%M" if year else "%m-%d %H:%M"
    try:
        return UNKNOWN if timestamp is None else time.strftime(form, time.localtime(timestamp))
    except (OverflowError, OSError, ValueError):
        return UNKNOWN


def count(value: float | None) -> str:
    """Digits in groups of three: 12 345."""
    return UNKNOWN if value is None else f"{value:,.0f}".replace(",", " ")


def heard(figures: dict[str, Any]) -> str:
    """What speech was judged: `alike 82%, word errors 4%, speed 103% of the speaker's`."""
    wer = figures.get("wer")
    parts = [
        f"alike {figures['similarity']:.0%}",
        f"word errors {wer:.0%}" if wer is not None else "word errors unknown",
    ]
    parts.append(f"speed {figures['speed']:.0%} of the speaker's")
    if figures["without_end"]:
        parts.append(f"{figures['without_end']} of {figures['sentences']} without end")
    return ", ".join(parts)
