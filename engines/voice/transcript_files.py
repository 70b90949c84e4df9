"""Transcripts that somebody has written already: CSV, JSONL, or the metadata.csv of LJSpeech."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from engines.contract.errors import UserError

NAMES = ("audio", "audio_file", "audio_filepath", "file", "file_name", "filename", "path", "id", "name")
TEXTS = ("text", "transcript", "transcription", "sentence", "normalized_text")
LARGEST = 64 << 20


def read(path: Path) -> dict[str, str]:
    """Texts by the names of recordings. Raises UserError for what is no such file."""
    try:
        if path.stat().st_size > LARGEST:
            raise UserError("bad_input", f"{path.name} is too large for a list of texts", "Give a list, not audio.")
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError("not_found", f"{path} cannot be read: {error.strerror}", "Check the path.") from None
    except UnicodeDecodeError:
        raise UserError("bad_input", f"{path.name} is not UTF-8 text", "Save it as UTF-8.") from None
    found = _of_jsonl(content) if content.lstrip().startswith("{") else _of_table(content)
    texts = {Path(name).name: text for name, text in found if name and text}
    if not texts:
        raise UserError(
            "bad_input", f"{path.name} holds no names with texts",
            f"Name a column {NAMES[0]} and one {TEXTS[0]}, or write NAME|TEXT lines.",
        )  # fmt: skip
    return texts


def _of_jsonl(content: str) -> list[tuple[str, str]]:
    found = []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append((_first(row, NAMES), _first(row, TEXTS)))
    return found


def _of_table(content: str) -> list[tuple[str, str]]:
    """With headings, or as LJSpeech writes it: NAME|TEXT|NORMALIZED TEXT, of which the last counts."""
    first = content.splitlines()[0] if content.strip() else ""
    if "|" in first:
        rows = [line.split("|") for line in content.splitlines() if "|" in line]
        if rows[0][0].strip().lower() not in NAMES:
            return [(row[0].strip(), (row[2:3] + row[1:2])[0].strip() or row[1].strip()) for row in rows]
    delimiter = max("|;\t,", key=first.count)
    table = csv.DictReader(content.splitlines(), delimiter=delimiter)
    return [(_first(row, NAMES), _first(row, TEXTS)) for row in table]


def _first(row: dict[str, object], names: tuple[str, ...]) -> str:
    values = {str(name).strip().lower(): value for name, value in row.items() if isinstance(value, str)}
    return next((str(values[name]).strip() for name in names if values.get(name)), "")
