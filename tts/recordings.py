"""Which files a source consists of: a recording, a folder of them, a zip archive. Foreign names lead nowhere."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.voice.sample_registry import AUDIO

MANY = 100_000
BLOCK = 1 << 20
SPARE_BYTES = 256 << 20
ALSO = (".oga", ".mp4", ".m4b", ".mka", ".webm", ".wave", ".aifc", ".3gp")


@dataclass(frozen=True)
class Source:
    """name: what it is called for people; file: where it is to be read; text: what is said in it, if a .txt tells."""

    name: str
    file: Path
    text: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is taken of a file, folder or archive: all recordings but those below the folders `skip`, of which only
    `take` are. Names are relative to `path`; "." is all of it."""

    path: Path
    skip: tuple[str, ...] = ()
    take: frozenset[str] = frozenset()

    def wants(self, name: str) -> bool:
        if name in self.take:
            return True
        return _looks_like_audio(Path(name).name) and not any(
            folder == "." or name.startswith(f"{folder}/") for folder in self.skip
        )


def sources(wishes: Iterable[Wanted], scratch: Path) -> Iterator[Source]:
    """All recordings that are wanted; archives are unpacked into `scratch`. Raises UserError for what is not there."""
    for wanted in wishes:
        path = wanted.path
        if path.is_dir():
            yield from _of_folder(wanted)
        elif not path.exists():
            raise UserError("not_found", f"there is no file or folder {path}", "Check the path.")
        elif zipfile.is_zipfile(path):
            yield from _of_archive(wanted, scratch)
        else:
            yield Source(path.name, path, _text_beside(path))


def _of_folder(wanted: Wanted) -> Iterator[Source]:
    """Files with the suffix of a recording, by name. Hidden ones and links are passed over."""
    folder = wanted.path
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            relative = path.relative_to(folder)
            if wanted.wants(relative.as_posix()) and stat.S_ISREG(path.lstat().st_mode):
                yield Source(str(relative), path, _text_beside(path))


def _looks_like_audio(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith((*AUDIO, *ALSO))


def _text_beside(path: Path) -> str:
    """The transcript in NAME.txt beside NAME.wav."""
    try:
        return " ".join(path.with_suffix(".txt").read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError):
        return ""


def _of_archive(wish: Wanted, scratch: Path) -> Iterator[Source]:
    """Members under names that are numbers: a member's own name leads nowhere."""
    archive = wish.path
    room = shutil.disk_usage(scratch).free - SPARE_BYTES
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {member.filename: member for member in opened.infolist() if not member.is_dir()}
            wanted = [member for name, member in members.items() if wish.wants(name)]
            if len(members) > MANY:
                raise _refusal(archive, f"holds {len(members):,} files")
            for number, member in enumerate(wanted):
                if member.flag_bits & 1:
                    raise _refusal(archive, "is locked by a password")
                file = scratch / f"{archive.stem[:40]}-{number}"
                with opened.open(member) as packed, statefiles.open_private(file) as unpacked:
                    room -= _copy(packed, unpacked, room, archive)
                beside = members.get(str(Path(member.filename).with_suffix(".txt")))
                text = opened.read(beside)[:BLOCK].decode("utf-8", "replace") if beside else ""
                yield Source(member.filename, file, " ".join(text.split()))
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise _refusal(archive, f"cannot be unpacked: {error}") from None


def _copy(packed: IO[bytes], file: IO[bytes], limit: int, archive: Path) -> int:
    written = 0
    while block := packed.read(BLOCK):
        written += len(block)
        if written > limit:
            raise _refusal(archive, "is larger, unpacked, than the disk has room for")
        file.write(block)
    return written


def _refusal(archive: Path, what: str) -> UserError:
    return UserError("bad_input", f"{archive.name} {what}", "Unpack it yourself and give the files.")
