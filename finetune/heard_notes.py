"""What is said in the voice notes of a Telegram export: asked of a script of the voice environment.

The transcriber is a JSON file that the engine writes: python, env, cache and the parameters
of `TranscribeConfig`. The script's lines go into this run's log, so its progress is shown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from finetune.formats.telegram import Export
from finetune.formats.telegram_message import Chat, Message
from finetune.row_file import Stopped
from finetune.voice_notes import VOICE


def heard_notes(
    export: Export, uses: Callable[[Chat], bool], transcriber: Path | None, find: Callable[[Message], Path | None]
) -> dict[str | None, str]:
    """Texts by the files as the export names them, of the chats that count. find: the file of a note, if it is there.

    Raises UserError, Stopped.
    """
    if transcriber is None:
        raise UserError("not_ready", "nobody is there to listen to voice notes", "Start this as `ftui llm prepare`.")
    emit("phase", name="voice", text="Looking for voice notes")
    files, missing = notes_of(export, uses, find)
    if missing:
        emit("warning", text=f"{missing:,} voice notes were left out of the export; they are skipped")
    if not files:
        return {}
    said = statefiles.read_object(transcriber)
    with tempfile.TemporaryDirectory(prefix="ftui-notes-") as name:
        folder = Path(name)
        wanted, texts = folder / "files.json", folder / "texts.json"
        statefiles.write_json(wanted, [str(file) for file in dict.fromkeys(files.values())])
        statefiles.write_json(folder / "config.json", said["config"])
        command = [said["python"], "-m", "tts.transcribe_notes", "--files", str(wanted), "--output", str(texts)]
        command += ["--cache", said["cache"], "--config", str(folder / "config.json")]
        sys.stdout.flush()
        done = subprocess.run(command, env={**os.environ, **said["env"]}, stdin=subprocess.DEVNULL)
        if stop_requested():
            raise Stopped
        if done.returncode:
            sys.exit(done.returncode)  # it has said why
        heard = statefiles.read_object(texts)
    return {name: heard[str(file)] for name, file in files.items() if str(file) in heard}


def notes_of(
    export: Export, uses: Callable[[Chat], bool], find: Callable[[Message], Path | None]
) -> tuple[dict[str, Path], int]:
    """(files by their names in the export, notes whose files are missing). Forwards are nobody's words."""
    files: dict[str, Path] = {}
    missing = 0
    for chat, batch, _ in export.batches(uses):
        for message in batch if uses(chat) else []:
            if isinstance(message, Message) and message.media_type == VOICE and not message.is_forward():
                file = find(message)
                if file is None:
                    missing += 1
                else:
                    files[message.file or ""] = file
    return files, missing
