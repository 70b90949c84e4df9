"""The trained voices of a workspace, in qwen3-tts/finetuning/; each has epochs (voice_files.py)."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.voice.voice_files import Epoch, Voice, read_voice
from engines.workspace import NAME, Workspace, check_name, is_real_dir, numbered

README = """A voice for qwen_tts (Qwen3-TTS). Unpack it, then:

from qwen_tts import Qwen3TTSModel
model = Qwen3TTSModel.from_pretrained("FOLDER")
sounds, rate = model.generate_custom_voice("Hello.", speaker="{speaker}", language="Auto", max_new_tokens=1000)
"""


class Voices:
    """The registry of a workspace. Nothing is cached: a training may have added an epoch."""

    def __init__(self, workspace: Workspace, elsewhere: Callable[[], Iterable[Path]] = tuple):
        self.workspace = workspace
        self.elsewhere = elsewhere  # folders of voices that were trained outside of the workspace (`output_dir`)

    @property
    def folder(self) -> Path:
        return self.workspace.folder("qwen3-tts", "finetuning")

    def list(self) -> list[Voice]:
        """Newest first, those without an epoch yet among them."""
        found = [entry for entry in self.folder.iterdir() if NAME.fullmatch(entry.name) and is_real_dir(entry)]
        found += [path for path in dict.fromkeys(self.elsewhere()) if is_real_dir(path)]
        return sorted((read_voice(entry) for entry in found), key=lambda voice: (-voice.created_at, voice.name))

    def get(self, name: str) -> Voice:
        """A voice by its name, or by its folder. Raises UserError."""
        if os.sep in name and Path(name).expanduser().is_dir():
            return read_voice(Path(name).expanduser().resolve())
        places = [self.folder / check_name(name, "a voice"), *(p for p in self.elsewhere() if p.name == name)]
        path = next(filter(is_real_dir, places), None)
        if path is None:
            names = ", ".join(voice.name for voice in self.list()[:10]) or "none yet"
            raise UserError("not_found", f"there is no voice {name}", f"There are: {names}.")
        return read_voice(path)

    def choose(self, name: str | None, epoch: int | None = None) -> tuple[Voice, Epoch]:
        """The voice named, or else the newest that has an epoch; and its epoch named, or else its best."""
        if name is None:
            found = [voice for voice in self.list() if voice.epochs]
            if not found:
                raise UserError("not_found", "there is no voice yet", "Train one: ftui tts train.")
            return found[0], found[0].epoch(epoch)
        voice = self.get(name)
        return voice, voice.epoch(epoch)

    def free_name(self, wanted: str, root: Path | None = None) -> str:
        """`wanted`, or `wanted-2`, `wanted-3` … if a voice has it, or something in the folder `root` of voices."""
        known, folders = {path.name for path in self.elsewhere()}, (self.folder, root or self.folder)
        free = (name for name in numbered(wanted) if name not in known)
        return next(name for name in free if not any((folder / name).exists() for folder in folders))

    def delete(self, name: str, epoch: int | None = None) -> Path:
        """Move a voice, or one epoch of it, to the trash. Returns where it went."""
        voice = self.get(name)
        if not voice.path.is_relative_to(self.workspace.home):
            raise UserError("usage", f"{voice.path} is not in the workspace", "Delete it by hand.")
        path = voice.path if epoch is None else voice.epoch(epoch).path
        return self.workspace.move_to_trash(path, "voice" if epoch is None else "epoch")

    def restore(self, trashed: Path) -> Path:
        """Bring back what `delete` took. Returns where it is."""
        return self.workspace.restore(trashed)

    def export(self, name: str, target: Path, epoch: int | None = None) -> Path:
        """Write an epoch as a zip archive that unpacks to a folder qwen_tts loads. Whole or not at all."""
        voice, chosen = self.choose(name, epoch)
        target = target.expanduser().absolute()
        if target.is_dir():
            target = target / f"{voice.name}-epoch-{chosen.number}.zip"
        if target.exists():
            raise UserError("conflict", f"{target} exists", "Choose another name.")
        if not target.parent.is_dir():
            raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        inside = f"{voice.name}-epoch-{chosen.number}"
        try:
            with (
                statefiles.open_private(partial) as file,
                zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,  # weights do not get smaller
            ):
                for path in sorted(chosen.path.rglob("*")):
                    if path.is_file():
                        archive.write(path, f"{inside}/{path.relative_to(chosen.path)}")
                speaker = str(voice.card.get("speaker") or voice.name.lower())
                archive.writestr(f"{inside}/README.txt", README.format(speaker=speaker))
            os.rename(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        return target
