"""Where everything lies: one folder, the layout that existing installations already have.

    finetune/training_config.json            the last used training parameters
    finetune/datasets/{name}_dataset.jsonl   datasets; {name}_dataset.report.json beside each
    finetune/adapters/.active                name of the active adapter; absent: none
    finetune/adapters/{name}/final/          one adapter
    finetune/models/{name}/                  base models converted here
    qwen3-tts/voice_samples/                 recordings; qwen3-tts/samples_metadata.json lists them
    qwen3-tts/tts_config.json                the last used voice parameters
    runs/{id}/                               every job that ever ran
    trash/                                   what was deleted, until it is emptied
    settings.json                            the faces' settings and the environments' paths

The default is the user's data folder; `--home` or FTUI_HOME names another.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import platformdirs

from engines.contract import statefiles
from engines.contract.errors import UserError

NAME = re.compile(r"[\w][\w.+-]{0,99}", re.UNICODE)
NAME_RULE = "letters, digits, _ . + -, not starting with a dot, at most 100"


def check_name(name: str, what: str) -> str:
    """Return `name` if it can only be an entry of its own folder; raise UserError otherwise."""
    if not NAME.fullmatch(name):
        raise UserError("usage", f"{name[:120]!r} is not a name for {what}", f"Use {NAME_RULE}.")
    return name


def name_from(text: str) -> str:
    """A valid name made from any text: `My chat (1)` becomes `My_chat_1`."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("_.+-")[:80] or "unnamed"


def numbered(wanted: str) -> Iterator[str]:
    """`wanted`, `wanted-2`, `wanted-3` …: to choose the first one that is free."""
    return (wanted if number == 1 else f"{wanted}-{number}" for number in count(1))


def is_real_dir(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def default_home() -> Path:
    """The workspace of a face that is started without `--home`."""
    chosen = os.environ.get("FTUI_HOME") or platformdirs.user_data_dir("ftui", appauthor=False)
    return Path(chosen).expanduser().absolute()


class Workspace:
    """The paths of one workspace. Creating the object creates nothing on disk but the folder."""

    def __init__(self, home: Path | str | None = None):
        self.home = Path(home).expanduser().absolute() if home else default_home()
        if self.home.exists() and not self.home.is_dir():
            raise UserError("usage", f"{self.home} is not a folder", "Name a folder with --home or FTUI_HOME.")
        try:
            statefiles.make_private_dir(self.home)
        except OSError as error:
            raise UserError(
                "not_ready",
                f"the workspace {self.home} cannot be made: {error.strerror}",
                "Name another folder with --home or FTUI_HOME.",
            ) from None

    def folder(self, *parts: str) -> Path:
        """A folder of the workspace, made if missing, readable by its owner alone."""
        return statefiles.make_private_dir(self.home.joinpath(*parts))

    @property
    def datasets(self) -> Path:
        return self.folder("finetune", "datasets")

    @property
    def adapters(self) -> Path:
        return self.folder("finetune", "adapters")

    @property
    def models(self) -> Path:
        return self.folder("finetune", "models")

    @property
    def voice(self) -> Path:
        return self.folder("qwen3-tts")

    @property
    def tts_config(self) -> Path:
        return self.voice / "tts_config.json"

    @property
    def runs(self) -> Path:
        return self.folder("runs")

    @property
    def training_config(self) -> Path:
        return self.folder("finetune") / "training_config.json"

    @property
    def settings(self) -> Path:
        return self.home / "settings.json"

    def device_lock(self, device: str) -> Path:
        """The lock of one device: at most one trainer holds it."""
        return self.folder("runs", ".locks") / f"{device.replace(':', '')}.lock"

    def move_to_trash(self, path: Path, kind: str) -> Path:
        """Take `path` away in one step; `restore` brings it back. Returns where it went."""
        stamp = f"{kind}-{time.time_ns()}-{path.name}"
        target = self.folder("trash") / stamp
        statefiles.write_json(self.folder("trash") / f"{stamp}.json", {"was": str(path.relative_to(self.home))})
        os.rename(path, target)
        statefiles.sync_dir(path.parent)
        return target

    def newest_trashed(self, kind: str, name: str) -> Path:
        """The last deleted thing of that kind and name. Raises UserError if there is none."""
        found = [path for path in self.folder("trash").glob(f"{kind}-*-{name}") if path.name.split("-", 2)[2] == name]
        if not found:
            raise UserError("not_found", f"no {kind} {name} is in the trash", f"Look into {self.folder('trash')}.")
        return max(found, key=lambda path: int(path.name.split("-", 2)[1]))

    def origin(self, trashed: Path) -> Path:
        """Where something in the trash was. Raises UserError if it is not there any more."""
        origin = statefiles.read_json(trashed.with_name(trashed.name + ".json"), {}).get("was")
        if origin is None or not trashed.exists():
            raise UserError("not_found", f"{trashed.name} is not in the trash any more", "")
        return self.home / origin

    def restore(self, trashed: Path) -> Path:
        """Undo `move_to_trash`. Raises UserError if something of that name is there again."""
        target = self.origin(trashed)
        if target.exists():
            raise UserError("conflict", f"{target.name} exists again", "Rename or delete that one first.")
        os.rename(trashed, target)
        trashed.with_name(trashed.name + ".json").unlink(missing_ok=True)
        return target
