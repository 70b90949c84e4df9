"""The files of a project: which there are, read with bounds, never outside the project's folder.

Hidden files, folders that hold what others wrote or a program made, what the project's own
.gitignore names, and symbolic links are left out. What is left out is counted by reason.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from engines.contract.errors import UserError
from finetune.plain_text import harmless

MAX_FILES = 200_000
MAX_TEXT_BYTES = 1 << 20
MAX_TABLE_BYTES = 16 << 20
FOREIGN_FOLDERS = {
    "node_modules", "bower_components", "vendor", "third_party", "site-packages", "venv", "env", "virtualenv",
    "__pycache__", "build", "dist", "target", "htmlcov", "coverage",
}  # fmt: skip
_CYRILLIC = re.compile("[а-яёА-ЯЁ]")
_NOT_LATIN = re.compile("[^\x00-\x7f]")


@dataclass(frozen=True)
class ProjectFile:
    """path: relative to the project, fit to be shown. place: where it lies."""

    path: str
    place: Path

    @property
    def suffix(self) -> str:
        return self.place.suffix.casefold()

    @property
    def stem(self) -> str:
        return self.path.rpartition("/")[2].rpartition(".")[0]


class ProjectFiles:
    """The files of the folder `root`, in a fixed order. `name` opens their paths, `tick` is called for each."""

    def __init__(self, root: Path, tick: Callable[[], None], name: str = ""):
        self.root = root.resolve()
        self.tick = tick
        self.name = name
        self.skipped: dict[str, str] = {}  # path: reason
        self.read: set[str] = set()
        self._ignored = ignored_names(self.root / ".gitignore")
        self.all = [ProjectFile(self._shown(place), place) for place in self._walk(self.root)]

    def having(self, *suffixes: str) -> Iterator[ProjectFile]:
        for file in self.all:
            self.tick()
            if file.suffix in suffixes:
                yield file

    def text(self, file: ProjectFile, limit: int = MAX_TEXT_BYTES) -> str | None:
        """What a file says; None for one that is too large, no text, or cannot be read, which is counted."""
        data = self.content(file, limit)
        text = decoded(data) if data is not None else None
        if data is not None and text is None:
            self.skip(file.path, "no_text")
        return text

    def content(self, file: ProjectFile, limit: int) -> bytes | None:
        """The file's bytes; None if it is too large or cannot be read, which is counted."""
        return self.head(file, limit, limit)

    def head(self, file: ProjectFile, count: int, limit: int) -> bytes | None:
        """The first `count` bytes of a file that has `limit` at most; None as with `content`."""
        reason = "unreadable"
        try:
            fd = os.open(file.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as opened:
                status = os.fstat(fd)
                data = opened.read(count) if stat.S_ISREG(status.st_mode) and status.st_size <= limit else None
                reason = "too_large" if stat.S_ISREG(status.st_mode) else "special"
        except OSError:
            data = None
        if data is None:
            self.skip(file.path, reason)
        else:
            self.read.add(file.path)
        return data

    def figures(self) -> dict[str, object]:
        """found = read + skipped; a folder that is skipped counts as one."""
        reasons = Counter(self.skipped.values())
        others = sum(file.path not in self.read and file.path not in self.skipped for file in self.all)
        reasons.update({"other_kind": others} if others else {})
        return {"found": len(self.read) + reasons.total(), "read": len(self.read), "skipped": dict(reasons)}

    def skip(self, path: str, reason: str) -> None:
        self.skipped[path] = reason
        self.read.discard(path)

    def _shown(self, place: Path) -> str:
        path = re.sub(r"\s", " ", harmless(place.relative_to(self.root).as_posix()))
        return f"{self.name}/{path}" if self.name else path

    def _walk(self, root: Path) -> list[Path]:
        found: list[Path] = []
        folders = [root]
        while folders:
            folder = folders.pop()
            self.tick()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                self.skipped[self._shown(folder)] = "unreadable"
                continue
            for entry in entries:
                path = Path(entry.path)
                reason = self._reason_to_skip(entry)
                if reason:
                    self.skipped[self._shown(path)] = reason
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                else:
                    found.append(path)
            if len(found) > MAX_FILES:
                raise UserError("bad_input", f"{root.name} holds more than {MAX_FILES:,} files", "Name a part of it.")
        return sorted(found)

    def _reason_to_skip(self, entry: os.DirEntry[str]) -> str:
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.is_symlink():
            return "symbolic_link"
        if entry.name.startswith("."):
            return "hidden"
        if is_folder and (entry.name.casefold() in FOREIGN_FOLDERS or entry.name.endswith(".egg-info")):
            return "foreign_folder"
        if is_folder and (Path(entry.path) / "pyvenv.cfg").exists():
            return "foreign_folder"
        if any(fnmatchcase(entry.name, pattern) for pattern, folders in self._ignored if is_folder or not folders):
            return "ignored"
        return "" if is_folder or entry.is_file(follow_symlinks=False) else "special"


def ignored_names(gitignore: Path) -> list[tuple[str, bool]]:
    """The plain names of a .gitignore: (pattern, only folders). Paths and exceptions are not read."""
    if gitignore.is_symlink() or not gitignore.is_file() or gitignore.stat().st_size > MAX_TEXT_BYTES:
        return []
    lines = [line.strip() for line in gitignore.read_text(encoding="utf-8", errors="replace").splitlines()]
    names = [line for line in lines if line and line[0] not in "#!" and "/" not in line.strip("/")]
    return [(name.strip("/"), name.endswith("/")) for name in names if name.strip("/*")]


def decoded(data: bytes) -> str | None:
    """Text written as UTF-8, UTF-16 with its mark, or Russian of old Windows; None if it is no text."""
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in data and not marked:
        return None
    try:
        return _plain_lines(data.decode("utf-16" if marked else "utf-8-sig"))
    except UnicodeDecodeError:
        if marked:
            return None
    text = data.decode("cp1251", "replace")
    letters = len(_CYRILLIC.findall(text))
    return _plain_lines(text) if letters and letters >= 0.9 * len(_NOT_LATIN.findall(text)) else None


def _plain_lines(text: str) -> str:
    return harmless(text.replace("\r\n", "\n"))
