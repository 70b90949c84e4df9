"""State on disk: JSON files that are whole or absent, and locks that die with their holder.

Standard library only, because the supervisor runs without site-packages. Everything
that must survive a crash at any moment is written through `write_json`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, BinaryIO

PRIVATE_FILE = 0o600
PRIVATE_DIR = 0o700
MAX_STATE_BYTES = 16 * 1024 * 1024
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def make_private_dir(path: Path) -> Path:
    """Create `path` and its missing parents readable by the owner alone."""
    missing = []
    folder = path
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        try:
            os.mkdir(folder, PRIVATE_DIR)
        except FileExistsError:  # another face was faster
            pass
    return path


def open_private(path: Path) -> BinaryIO:
    """Open a new file for writing that only its owner may read; one that is there is emptied."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb")


def copy_private(source: Path, target: Path) -> None:
    """Copy a file's bytes to a new file that only its owner may read."""
    open_private(target).close()
    shutil.copyfile(source, target)


def sync_dir(path: Path | str) -> None:
    """Make a rename or an unlink in `path` survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Replace `path` by `data` so that a reader sees the old or the new, never a part.

    Temporary file, fsync, rename, fsync of the folder: 5 ms on an ordinary disk.
    Raises OSError (ENOSPC among them) and then leaves the old file as it was.
    """
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"  # threads and containers write at the same time
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
        sync_dir(os.path.dirname(path) or ".")
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def write_json(path: Path | str, value: Any, reserve: Path | None = None) -> None:
    """`write_bytes` of one JSON document. The value must be plain JSON data.

    reserve: a file that is given up if the disk is too full without.
    """
    data = json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass") + b"\n"
    try:
        write_bytes(path, data)
    except OSError as error:
        if error.errno not in DISK_FULL or reserve is None or not reserve.exists():
            raise
        reserve.unlink(missing_ok=True)
        write_bytes(path, data)


def load_json(path: Path | str) -> Any:
    """The document in `path`. Raises OSError if it cannot be read, ValueError if it is none."""
    with open(path, "rb") as file:
        data = file.read(MAX_STATE_BYTES)
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def read_json(path: Path | str, default: Any = None) -> Any:
    """The document in `path`, or `default` where there is none, or none that can be read."""
    try:
        return load_json(path)
    except (OSError, ValueError):
        return default


def read_object(path: Path | str) -> dict[str, Any]:
    """The JSON object in `path`, empty where there is none, or none that can be read."""
    value = read_json(path)
    return value if isinstance(value, dict) else {}


def lock(path: Path | str, wait_seconds: float = 0.0) -> int | None:
    """Take the exclusive flock on `path`. Returns its descriptor, or None if it is taken.

    flock and not POSIX lockf: closing an unrelated descriptor of the file would drop
    the latter. The lock is free when every process that inherited the descriptor is gone.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                return None
            time.sleep(0.02)


def is_locked(path: Path | str) -> bool:
    """Does somebody hold the flock on `path`? Probes do not block each other."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
