"""What a source consists of: one file, the files of a folder or of a zip archive, or a dataset on the hub."""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from engines.config.job import HUB_NAME
from engines.contract import hub, statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from finetune.formats.table import PARQUET_MARK
from finetune.publish import made_by_us

ZIP_MARK = b"PK\x03\x04"
LARGEST_MEMBERS = 100_000
LARGEST_RATIO = 1000  # what text seldom reaches and a zip bomb exceeds
BLOCK = 1 << 20


class Input(NamedTuple):
    """What a file is called, where it is to be read, and its size in bytes, of which perhaps not all is there.

    is_unpacked: it lies elsewhere than its name says.
    """

    name: str
    path: Path
    size: int
    is_unpacked: bool = False


@contextmanager
def opened(source: str, output: Path, hub_split: str, looked_at: int | None = None) -> Iterator[list[Input]]:
    """The files of `source`. What is unpacked or fetched lies in a private folder beside `output` while this is open.

    Of a folder those are left out that an earlier preparation of `output` has made.
    looked_at: bytes of each member of an archive that will be looked at; None: all.
    Raises UserError, OSError.
    """
    path = Path(source)
    scratch = output.with_name(f".{output.name}.{os.getpid()}.inputs")
    try:
        if path.is_dir():
            own = {path.resolve() for path in (output, *made_by_us(output))}
            files = [found for found in files_of_folder(path) if found.path.resolve() not in own]
            if not files:
                raise UserError("bad_input", f"the folder {path.name} holds no files", "Choose another folder.")
            yield files
        elif not path.exists() and HUB_NAME.fullmatch(source):
            statefiles.make_private_dir(scratch)
            fetched = fetch(source, hub_split, scratch)
            yield [Input(source, fetched, fetched.stat().st_size)]
        elif path.exists() and not path.is_file():
            raise UserError(
                "bad_input", f"{path.name} is a pipe or a device", "Write what comes out of it into a file first."
            )
        elif is_zip(path):
            statefiles.make_private_dir(scratch)
            yield unpack(path, scratch, looked_at)
        else:
            yield [Input(path.name, path, path.stat().st_size)]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def files_of_folder(folder: Path) -> Iterator[Input]:
    """All files below `folder`, by name. Hidden ones and links are passed over."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            status = path.lstat()
            if not name.startswith(".") and stat.S_ISREG(status.st_mode) and status.st_size:
                yield Input(str(path.relative_to(folder)), path, status.st_size)


def is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(ZIP_MARK)) == ZIP_MARK


def unpack(archive: Path, scratch: Path, looked_at: int | None = None) -> list[Input]:
    """The members of a zip archive as files, each in a numbered folder: what a member is called leads nowhere.

    Of a member that is larger than `looked_at` the beginning and some more is unpacked; of Parquet all, which has its
    index at the end.

    Raises UserError for an archive that is damaged, locked or larger than the disk, or that swells beyond reason.
    """
    emit("phase", name="unpack", text=f"Unpacking {archive.name}")
    room = shutil.disk_usage(scratch).free - (256 << 20)
    files: list[Input] = []
    try:
        with zipfile.ZipFile(archive) as opened_archive:
            members = [member for member in opened_archive.infolist() if not member.is_dir() and member.file_size]
            if len(members) > LARGEST_MEMBERS:
                raise _refusal(archive, f"holds {len(members):,} files")
            for number, member in enumerate(members):
                if member.flag_bits & 1:
                    raise _refusal(archive, "is locked by a password")
                path = statefiles.make_private_dir(scratch / f"{number}") / harmless_name(member.filename)
                limit = min(room, max(member.compress_size, 1024) * LARGEST_RATIO)
                with opened_archive.open(member) as packed, statefiles.open_private(path) as file:
                    room -= _copy(packed, file, limit, archive, looked_at)
                files.append(Input(member.filename, path, member.file_size, is_unpacked=True))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise _refusal(archive, f"cannot be unpacked: {error}") from None
    return files


def harmless_name(member: str) -> str:
    """What a member of an archive is called, as the name of a file in one folder."""
    return re.sub(r"[^\w.+() -]+", "_", member.rpartition("/")[2])[-100:].lstrip(".") or "file"


def _copy(packed: IO[bytes], file: IO[bytes], limit: int, archive: Path, looked_at: int | None) -> int:
    written = 0
    while block := packed.read(BLOCK):
        if not written and block.startswith(PARQUET_MARK):
            looked_at = None
        if looked_at is not None and written > looked_at:
            break
        written += len(block)
        if written > limit:
            raise _refusal(archive, "is larger, unpacked, than the disk has room for or than text can be")
        file.write(block)
    return written


def _refusal(archive: Path, what: str) -> UserError:
    return UserError("bad_input", f"{archive.name} {what}", "Unpack it yourself and give the files.")


def fetch(name: str, split: str, scratch: Path) -> Path:
    """A dataset of the Hugging Face hub, or of its cache, as one JSONL file. Raises UserError."""
    emit("phase", name="fetch", text=f"Fetching {name} ({split})")
    why = hub.why_unreachable()
    if why:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the cache alone is asked; read when the package is imported
    try:
        import datasets
    except ImportError:
        raise UserError(
            "not_ready", "datasets of the hub are fetched by the package datasets, which is not installed here",
            "pip install datasets, or give a file.",
        ) from None  # fmt: skip
    path = scratch / "0"
    try:
        datasets.load_dataset(name, split=split).to_json(path, force_ascii=False)
    except Exception as error:  # of many kinds, by what is wrong with name, split or network
        cause = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        cause = why if why and isinstance(error, ConnectionError) else cause
        raise UserError(
            "not_found", f"{name} cannot be fetched: {cause}",
            "There is no such file either. Check the name, the split and the network.",
        ) from error  # fmt: skip
    return path
