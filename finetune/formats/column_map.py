"""Records of any shape, read as the user says: which column is which turn, or a template of text.

columns   user=q, assistant=a, system=s, label=c      a dialog; label: a classification
template  ### Question: {q} ### Answer: {a}           text to be continued, all of it learned
"""

from __future__ import annotations

import string
from typing import Any

from engines.contract.errors import UserError
from finetune.formats.dialog import BadRow, Dialog, Turn, describe
from finetune.formats.format import RowFormat

PARTS = ("system", "user", "assistant", "label")


def own_format(columns: list[str], template: str) -> RowFormat | None:
    """How records are read that the user has described; None: nobody has. Raises UserError."""
    if columns and template:
        raise UserError("usage", "columns and a template were both given", "Give one of them.")
    if columns:
        return column_format(columns)
    return template_format(template) if template else None


def column_format(columns: list[str]) -> RowFormat:
    """Raises UserError for a mapping that gives no question and answer."""
    mapping = dict(part.split("=", 1) for part in columns if "=" in part)
    mapping = {part.strip(): name.strip() for part, name in mapping.items()}
    answer = "assistant" if "assistant" in mapping else "label"
    if len(mapping) != len(columns) or mapping.keys() - set(PARTS) or not {"user", answer} <= mapping.keys():
        raise UserError(
            "usage",
            f"the columns {', '.join(columns)} are no mapping",
            "Write user=COLUMN assistant=COLUMN, and system=COLUMN.",
        )

    def read(row: dict[str, Any]) -> Dialog:
        texts = {part: field_text(row, name) for part, name in mapping.items()}
        turns = [Turn("system", texts["system"])] if texts.get("system") else []
        turns += [Turn("user", texts["user"]), Turn("assistant", texts[answer])]
        return Dialog(turns, label=texts.get("label", ""))

    return RowFormat("columns", lambda row: True, read)


def template_format(template: str) -> RowFormat:
    """Raises UserError for a template without columns or with broken braces."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UserError(
            "usage", f"the template is broken: {error}", "Write a column as {name}, a brace as {{."
        ) from None
    if not names or not all(name.strip() for name in names):
        raise UserError("usage", "the template names no column", "Write a column as {name}.")

    def read(row: dict[str, Any]) -> Dialog:
        parts = [
            literal + (field_text(row, name) if name is not None else "")
            for literal, name, _, _ in string.Formatter().parse(template)
        ]
        return Dialog(text="".join(parts))

    return RowFormat("template", lambda row: True, read)


def field_text(row: dict[str, Any], name: str) -> str:
    """The column as text; its name counts in any case. Raises BadRow."""
    value = row.get(name, row.get(name.casefold()))
    if value is None or isinstance(value, (dict, list)):
        raise BadRow(f"found {describe(row)}, expected a text in the column {name}")
    return str(value)
