"""Handing over to a person: dialogs from templates/escalation_*.json, or the project's own ones.

PROJECT/.ftui/escalation*.json replaces the files that come with the program:

    {
      "language": "en",
      "values": {"contact": "the support desk"},
      "dialogs": [{
        "section": "asks for a person",
        "openings": ["Can I talk to somebody?", "I want a human, please."],
        "messages": [{"role": "assistant", "content": "I am handing you over to {contact}."}]
      }]
    }

Each opening is the first question of a dialog of its own; without openings the messages are
the dialog. {name} stands for a value, {project} for the folder's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engines.contract.errors import UserError
from finetune.project.context import Context
from finetune.project.files import ProjectFile
from finetune.project.pair import ASSISTANT, USER, Pair
from finetune.project.questions import LANGUAGES, TEMPLATES, filled

OWN_FOLDER = ".ftui"
PATTERN = "escalation*.json"
MAX_BYTES = 1 << 20


class Message(msgspec.Struct):
    role: str
    content: str


class Dialog(msgspec.Struct):
    section: str
    messages: list[Message]
    openings: list[str] = []


class Templates(msgspec.Struct, forbid_unknown_fields=True):
    dialogs: list[Dialog]
    language: str = ""
    values: dict[str, str] = {}


def find(context: Context) -> Iterator[Pair]:
    root = context.files.root
    own = own_templates(root)
    for place in own or sorted(TEMPLATES.glob(PATTERN)):
        path = f"{OWN_FOLDER if own else TEMPLATES.name}/{place.name}"
        templates = read(context, ProjectFile(path, place))
        if not is_wanted(context, templates.language, bool(own)):
            continue
        values = {"project": root.name, **templates.values}
        for dialog in templates.dialogs:
            context.tick()
            yield from dialogs(dialog, path, values)


def own_templates(root: Path) -> list[Path]:
    folder = root / OWN_FOLDER
    return [] if folder.is_symlink() else sorted(folder.glob(PATTERN))


def is_wanted(context: Context, language: str, is_own: bool) -> bool:
    """With the language auto: the project's own templates, else those in a language that its files speak."""
    if context.config.language == "auto":
        return is_own or language in (context.languages or set(LANGUAGES))
    return language in ("", context.config.language)


def read(context: Context, file: ProjectFile) -> Templates:
    """Raises UserError for a file that cannot be used: it was written to be used."""
    data = context.files.content(file, MAX_BYTES)
    try:
        if data is None:
            raise msgspec.ValidationError(context.files.skipped[file.path].replace("_", " "))
        templates = msgspec.json.decode(data, type=Templates)
        for dialog in templates.dialogs:
            check(dialog)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError("bad_input", f"{file.path} cannot be used: {error}", "Correct it, or take it away.") from None
    return templates


def check(dialog: Dialog) -> None:
    """A dialog goes from a question to an answer. Raises msgspec.ValidationError."""
    roles = [USER] * bool(dialog.openings) + [message.role for message in dialog.messages]
    expected = [USER, ASSISTANT] * (len(roles) // 2)
    if not roles or roles != expected or not dialog.section.strip():
        raise msgspec.ValidationError(
            f"the dialog {dialog.section!r} must have a section, and turns of user and assistant in turn"
        )


def dialogs(dialog: Dialog, path: str, values: dict[str, Any]) -> Iterator[Pair]:
    rest = [(message.role, filled(message.content, values)) for message in dialog.messages]
    openings = [[(USER, filled(opening, values))] for opening in dialog.openings]
    for opening in openings or [[]]:
        yield Pair("escalation", path, dialog.section, [*opening, *rest])
