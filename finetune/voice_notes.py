"""The voice notes of a Telegram export: which files they are, and whose.

    python -m finetune.voice_notes EXPORT [--owner NAME] [--everybody]

EXPORT is a `result.json` or the folder that holds it. Prints the paths of the owner's
notes (with --everybody of all), in the order of the export. A path that leads out of the
export's folder is none of its files.
"""

from __future__ import annotations

import argparse
import stat
from pathlib import Path

from engines.contract.errors import UserError
from engines.contract.run_protocol import run_script, write_result
from finetune.formats import detect
from finetune.formats.owner import find_owner
from finetune.formats.telegram import Export
from finetune.formats.telegram_message import Message

VOICE = "voice_message"


def export_of(path: Path) -> Path:
    """The export's JSON file. Raises UserError where there is none."""
    file = path / "result.json" if path.is_dir() else path
    if not file.is_file() or detect(file).name != "telegram":
        raise UserError("bad_input", f"{path.name} is no Telegram export", "Give its folder, or its result.json.")
    return file


def voice_file(folder: Path, message: Message) -> Path | None:
    """The file of a voice note; None if it was not exported, or leads out of `folder`."""
    try:
        file = (folder / message.file).resolve()
        is_file = stat.S_ISREG(file.lstat().st_mode)
    except (OSError, ValueError):
        return None
    return file if is_file and file.is_relative_to(folder.resolve()) else None


def voice_notes(export: Export, owner_ids: frozenset[str | int] | None) -> tuple[list[Path], int]:
    """(files, notes whose files are missing), of these authors or, with None, of everybody. Forwards are nobody's."""
    folder = export.path.parent
    files: dict[Path, None] = {}
    missing = 0
    for _, batch in export.batches():
        for message in batch:
            if not isinstance(message, Message) or message.media_type != VOICE or message.is_forward():
                continue
            if owner_ids is not None and message.author_id not in owner_ids:
                continue
            file = voice_file(folder, message)
            if file is None:
                missing += 1
            else:
                files[file] = None
    return list(files), missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--owner", default="")
    parser.add_argument("--everybody", action="store_true")
    arguments = parser.parse_args()
    export = Export(export_of(arguments.export))
    owner = None if arguments.everybody else find_owner(export, arguments.owner)
    files, missing = voice_notes(export, owner.ids if owner else None)
    write_result("done", files=[str(file) for file in files], missing=missing, owner=owner.name if owner else "")


if __name__ == "__main__":
    run_script(main)
