"""The list of voice samples, `samples_metadata.json`: a contract between the engine and the voice scripts.

The file is a list with one object per sample. filename, path, duration_sec, transcript,
transcript_edited and size_kb are what existing installations have; the rest is ours, and
fields that we do not know stay as they are. A change reads and writes the list under a
lock, so that two faces and a script may work at once. An audio file that the list does
not know (its writer was killed in between) is taken in; an object whose file is not there
(deleted to the trash) keeps its transcript until the file comes back. Standard library only.
"""

from __future__ import annotations

import os
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError

Entry = dict[str, Any]

FOLDER = "voice_samples"
LIST = "samples_metadata.json"
LOCK_SECONDS = 30.0
AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".m4a", ".aac", ".webm")


class SampleRegistry:
    """The samples below one `qwen3-tts` folder."""

    def __init__(self, home: Path):
        self.home = home
        self.folder = home / FOLDER
        self.file = home / LIST

    def entries(self) -> list[Entry]:
        """All samples whose files are there, in the order in which they were added. Changes nothing on disk."""
        files = self._files()
        known = [entry for entry in self._read() if entry["filename"] in files]
        return known + self._unknown(known, files)

    def update(self, change: Callable[[list[Entry]], None]) -> None:
        """Let `change` work on the whole list, in place, while nobody else can. Raises UserError if it stays locked."""
        with self._locked():
            entries = self._read()
            entries += self._unknown(entries, self._files())
            change(entries)
            self._write(entries)

    def put(self, filename: str, **values: Any) -> None:
        """Set fields of one sample; one that is not there yet is added."""

        def change(entries: list[Entry]) -> None:
            found = next((entry for entry in entries if entry["filename"] == filename), None)
            if found is None:
                found = {"filename": filename}
                entries.append(found)
            found.update(values)

        self.update(change)

    def taken_names(self) -> set[str]:
        """Names that a new sample must not have: of files, and of samples in the trash."""
        return self._files() | {entry["filename"] for entry in self._read()}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        statefiles.make_private_dir(self.folder)
        held = statefiles.lock(self.home / ".samples.lock", LOCK_SECONDS)
        if held is None:
            raise UserError("conflict", "another program holds the list of samples", "Try again in a moment.")
        try:
            yield
        finally:
            os.close(held)

    def _files(self) -> set[str]:
        if not self.folder.is_dir():
            return set()
        with os.scandir(self.folder) as found:
            return {item.name for item in found if _is_audio(item)}

    def _read(self) -> list[Entry]:
        """The list. One that is damaged is put aside, never written over."""
        try:
            value = statefiles.load_json(self.file)
        except FileNotFoundError:
            return []
        except ValueError:
            self.file.rename(self.file.with_name(f"{self.file.stem}.damaged-{int(time.time())}.json"))
            return []
        if not isinstance(value, list):
            return []
        return [item for item in value if isinstance(item, dict) and isinstance(item.get("filename"), str)]

    def _write(self, entries: list[Entry]) -> None:
        for entry in entries:
            path = self.folder / entry["filename"]
            entry["path"] = str(path)
            if path.exists():
                entry["size_kb"] = round(path.stat().st_size / 1024, 1)
        statefiles.write_json(self.file, entries)

    def _unknown(self, known: list[Entry], files: set[str]) -> list[Entry]:
        names = files - {entry["filename"] for entry in known}
        return [self._found(name) for name in sorted(names)]

    def _found(self, name: str) -> Entry:
        path = self.folder / name
        return {
            "filename": name,
            "path": str(path),
            "duration_sec": wav_seconds(path),
            "transcript": "",
            "transcript_edited": False,
            "size_kb": round(path.stat().st_size / 1024, 1),
        }


def wav_seconds(path: Path) -> float | None:
    """How long a WAV file of integers is; None for anything else."""
    try:
        with wave.open(str(path), "rb") as file:
            return round(file.getnframes() / file.getframerate(), 3)
    except (wave.Error, OSError, EOFError, ZeroDivisionError):
        return None


def _is_audio(item: os.DirEntry[str]) -> bool:
    return item.name.lower().endswith(AUDIO) and not item.name.startswith(".") and item.is_file(follow_symlinks=False)
