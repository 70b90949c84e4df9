"""The questions that are asked before something that is hard to undo. No is the default."""

from __future__ import annotations

from textual.content import Content

from ftui.clean import clean_line
from ftui.screens.dialog import Question


def delete(what: str, name: str, consequence: str) -> Question:
    """Asks before the deletion of `name`; answers yes or no."""
    plain = clean_line(name)
    return Question(
        "Delete",
        Content.assemble(f"Delete the {what} ", (plain, "bold"), f"?\n{consequence}\n"),
        [("n", "No, keep it", "no"), ("y", f"Yes, delete {plain}", "yes")],
    )


def folder(name: str) -> Question:
    """Asks what a folder is; answers files or project."""
    return Question(
        "A folder",
        Content.assemble("What is in ", (clean_line(name), "bold"), "?\n"),
        [
            ("f", "Files: chats, tables and datasets, each of which is read", "files"),
            ("p", "A project: questions are made from its documents, FAQ and code", "project"),
        ],
    )


def leave(run: str) -> Question:
    """Asks what shall become of a training when the app is left; answers detach, stop or cancel."""
    return Question(
        "Quit",
        Content.assemble((clean_line(run), "bold"), " is running. It does not need this window.\n"),
        [
            ("d", "Detach: leave, the training goes on", "detach"),
            ("s", "Stop and save: write a checkpoint, end the training, leave", "stop"),
            ("c", "Cancel: stay here", "cancel"),
        ],
    )
