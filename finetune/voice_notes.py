"""The owner's voice notes of Telegram exports: in a folder, in folders within it, or in a zip archive.

    python -m finetune.voice_notes SOURCE [--owner NAME]

SOURCE is a `result.json`, a folder or a zip archive. Prints, for each export in it, its folder, the files of the
owner's notes and how many were left out of the export; all paths are relative to SOURCE (to its folder, of a
`result.json`). A path that leads out of the export's folder is none of its files.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.run_protocol import run_script, write_result
from finetune.formats import detect
from finetune.formats.owner import find_owner
from finetune.formats.telegram import Export
from finetune.formats.telegram_message import Message

VOICE = "voice_message"
NAME, PAGE, NOTES = "result.json", "messages.html", "voice_messages"

Find = Callable[[str], str | None]  # a note's file as the export names it -> relative to the source, if it is there


def voice_file(folder: Path, message: Message) -> Path | None:
    """The file of a voice note; None if it was not exported, or leads out of `folder`."""
    try:
        file = (folder / (message.file or "")).resolve()
        is_file = stat.S_ISREG(file.lstat().st_mode)
    except (OSError, ValueError):
        return None
    return file if is_file and file.is_relative_to(folder.resolve()) else None


def unpacked_voice_file(members: Mapping[str, Path], folder: str, message: Message) -> Path | None:
    """The same of an archive whose members lie where `members` says; `folder`: of the export, in the archive."""
    name = _member(members.keys(), folder, message.file or "")
    return members[name] if name else None


def notes_of(export: Export, owner_ids: frozenset[str | int], find: Find) -> tuple[list[str], int]:
    """(files, notes whose files are missing) of these authors. Forwards are nobody's."""
    files: dict[str, None] = {}
    missing = 0
    for _, batch, _ in export.batches():
        for message in batch:
            if not isinstance(message, Message) or message.media_type != VOICE or message.is_forward():
                continue
            if message.author_id not in owner_ids:
                continue
            file = find(message.file or "")
            if file is None:
                missing += 1
            else:
                files[file] = None
    return list(files), missing


def in_folder(source: Path) -> Iterator[tuple[str, Path, Find]]:
    """(folder, JSON file, how to find a note) of each export below `source`."""
    exports: list[Path] = []
    for place, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(place)
        if NAME in names:
            exports.append(here)
            find = partial(_found, source, here)
            yield here.relative_to(source).as_posix(), here / NAME, find
        elif PAGE in names and NOTES in folders and not any(here.is_relative_to(export) for export in exports):
            raise _is_a_page(here.name)


def _found(source: Path, export: Path, file: str) -> str | None:
    found = voice_file(export, Message(file=file))
    return None if found is None else found.relative_to(source.resolve()).as_posix()


def in_archive(source: Path, scratch: Path) -> Iterator[tuple[str, Path, Find]]:
    """The same of a zip archive; only the JSON files are unpacked, into `scratch`."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = set(archive.namelist())
            exports = [posixpath.dirname(name) for name in sorted(names) if posixpath.basename(name) == NAME]
            pages = [posixpath.dirname(name) for name in names if posixpath.basename(name) == PAGE]
            if any(_has_notes(names, page) and not any(_is_in(page, export) for export in exports) for page in pages):
                raise _is_a_page(source.name)
            for number, folder in enumerate(exports):
                file = scratch / str(number)
                with archive.open(posixpath.join(folder, NAME)) as packed, statefiles.open_private(file) as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
                yield folder or ".", file, partial(_member, names, folder)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise UserError("bad_input", f"{source.name} cannot be unpacked: {error}", "Unpack it yourself.") from None


def _is_in(name: str, folder: str) -> bool:
    return not folder or name == folder or name.startswith(f"{folder}/")


def _has_notes(names: set[str], folder: str) -> bool:
    return any(name.startswith(posixpath.join(folder, NOTES) + "/") for name in names)


def _member(names: Container[str], folder: str, file: str) -> str | None:
    name = posixpath.normpath(posixpath.join(folder, file))
    return name if name in names and _is_in(name, folder) else None


def _is_a_page(name: str) -> UserError:
    return UserError(
        "bad_input",
        f"{name} is a Telegram export as HTML, which does not tell whose the voice notes are",
        "Export the chat again and choose machine-readable JSON.",
    )


def look(source: Path, owner_name: str, scratch: Path) -> list[dict[str, Any]]:
    """What is found of each export in `source`. Raises UserError for an export whose owner is not found."""
    if source.is_dir():
        found = in_folder(source)
    elif zipfile.is_zipfile(source):
        found = in_archive(source, scratch)
    else:
        folder = source.parent
        found = iter([(".", source, partial(_found, folder, folder))])
        if detect(source).name != "telegram":
            raise UserError("bad_input", f"{source.name} is no Telegram export", "Give its folder or its result.json.")
    exports = []
    for place, file, find in found:
        if detect(file).name != "telegram":
            continue
        export = Export(file)
        owner = find_owner(export, owner_name)
        files, missing = notes_of(export, owner.ids, find)
        exports.append({"folder": place, "owner": owner.name, "files": files, "missing": missing})
    return exports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--owner", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ftui-export-") as scratch:
        write_result("done", exports=look(arguments.source, arguments.owner, Path(scratch)))


if __name__ == "__main__":
    run_script(main)
