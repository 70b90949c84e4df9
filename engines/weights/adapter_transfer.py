"""Adapters that come in and go out: as a folder or a zip archive that peft and vLLM load as it is.

Nothing of what comes in is trusted: only files of known names are taken, sizes are bounded,
weights are safetensors whose head was read, and the base model is one that is known here.
"""

from __future__ import annotations

import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from engines.config.job import HUB_NAME
from engines.config.train import EMBEDDED_FOLDER
from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.contract.fingerprints import ADAPTER_FILES
from engines.weights import adapter_card, adapter_check, chat_template
from engines.weights.adapter_check import AdapterShape
from engines.weights.adapters import Adapter, Adapters
from engines.weights.models import BaseModel, Models
from engines.workspace import name_from

# Beside the two files of the adapter: what belongs to its tokenizer, and our card. File: most bytes.
TAKEN = {
    "adapter_config.json": 1 << 20,
    "adapter_model.safetensors": 16 << 30,
    "card.json": 1 << 20,
    "chat_template.jinja": 1 << 20,
    "tokenizer.json": 64 << 20,
    "tokenizer_config.json": 4 << 20,
    "special_tokens_map.json": 1 << 20,
}
MOST_ENTRIES = 10_000
LARGEST_RATIO = 200  # weights hardly shrink; an entry that grows so much is a bomb
COPY_BYTES = 1 << 20
# What zipfile raises for damaged archives, encrypted ones, and methods of packing that it does not know.
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, ValueError, OSError)


def import_adapter(
    adapters: Adapters, models: Models, source: Path, *,
    name: str | None = None, base_model: str | None = None, tell: Callable[[str], object] = str,
) -> Adapter:  # fmt: skip
    """Take a folder or a zip archive in. Raises UserError for what cannot be used; then nothing is left behind.

    tell: is called with what could not be checked, in words.
    """
    if not source.exists():
        raise UserError("not_found", f"there is no file or folder {source}", "Check the path.")
    given = source.resolve()
    vague = given.name == "final" and source.is_dir()
    wanted = name or adapters.free_name(name_from(given.parent.name if vague else given.stem))
    partial = Path(tempfile.mkdtemp(prefix=".import-", suffix=".partial", dir=adapters.folder))
    try:
        final = statefiles.make_private_dir(partial / "final")
        _take_folder(given, final) if given.is_dir() else _take_archive(given, final)
        shape = adapter_check.check_folder(final)
        chat_template.write_out(final)
        card = _card_of(final)
        base = _base(models, shape.base_model, card, base_model)
        _check_base(models, shape, card, base, tell)
        known = {"base_model": base, "base_identity": fingerprints.of_model(base), "imported_from": given.name}
        return adapters.add(partial, wanted, {**card, **known})
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _take_folder(source: Path, final: Path) -> None:
    inner = next((folder for folder in (source, source / "final") if (folder / ADAPTER_FILES[0]).is_file()), source)
    for folder in dict.fromkeys((inner, source)):
        for name, most in TAKEN.items():
            _take_file(folder / name, most, final / name, _tree_of(source))
    if source.name == "final":  # of a workspace: the card lies beside it
        _take_file(source.parent / "card.json", TAKEN["card.json"], final / "card.json", source.parent)
    if not (final / ADAPTER_FILES[1]).exists():
        adapter_check.check_folder(inner)  # says what is wrong with what is there


def _take_file(file: Path, most: int, target: Path, tree: Path) -> None:
    """Copy a file that is there, if `target` is not. A link must lead to somewhere in the folder `tree`."""
    if not file.is_file() or target.exists():
        return
    if not file.resolve().is_relative_to(tree):
        raise UserError(
            "bad_input", f"{file.name} is a link to {file.resolve()}, outside of its folder",
            "Copy the folder with what its links lead to, cp -rL FOLDER COPY, and import that.",
        )  # fmt: skip
    if file.stat().st_size > most:
        raise _too_large(file.name)
    statefiles.copy_private(file, target)


def _tree_of(source: Path) -> Path:
    """Where links of a folder may lead: in the hub's cache to the blobs beside its snapshots, else only inside it."""
    repositories = (folder.parent for folder in source.parents if folder.name == "snapshots")
    return next((folder for folder in repositories if (folder / "blobs").is_dir()), source)


def _take_archive(source: Path, final: Path) -> None:
    if not zipfile.is_zipfile(source):
        raise UserError("bad_input", f"{source.name} is no zip archive", "Name a folder or a zip archive.")
    try:
        _unpack_adapter(source, final)
    except UNREADABLE as error:
        why = str(error)[:200]
        raise UserError("bad_input", f"{source.name} cannot be unpacked: {why}", "Get the archive again.") from None


def _unpack_adapter(source: Path, final: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES:
            raise UserError("bad_input", f"{source.name} has {len(entries)} entries", "An adapter has a few files.")
        configs = [PurePosixPath(entry.filename) for entry in entries]
        configs = [path for path in configs if path.name == ADAPTER_FILES[0]]
        if len(configs) != 1:
            what = "no adapter" if not configs else f"{len(configs)} adapters"
            raise UserError("bad_input", f"{source.name} holds {what}", f"It must hold one {ADAPTER_FILES[0]}.")
        folders = (configs[0].parent, configs[0].parent.parent)
        for entry in entries:
            path = PurePosixPath(entry.filename)
            if path.parent in folders and path.name in TAKEN and not (final / path.name).exists():
                _unpack(archive, entry, final / path.name)
        held = [path.name for path in map(PurePosixPath, archive.namelist()) if path.suffix in adapter_check.PICKLES]
    if not (final / ADAPTER_FILES[1]).exists() and held:
        (final / held[0]).touch()  # so that the check names it


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """One entry, never more than its bound, whatever its head says."""
    left = min(TAKEN[target.name], max(entry.compress_size * LARGEST_RATIO, COPY_BYTES))
    with archive.open(entry) as packed, statefiles.open_private(target) as file:
        while piece := packed.read(COPY_BYTES):
            left -= len(piece)
            if left < 0:
                raise _too_large(target.name)
            file.write(piece)


def _too_large(name: str) -> UserError:
    return UserError("bad_input", f"{name} is larger than such a file ever is", "It is not unpacked.")


def _card_of(final: Path) -> dict[str, Any]:
    """What an exported card says, as far as it can be believed; the file leaves the adapter's folder.

    Where its dataset lay elsewhere says nothing here, and might name a file of this machine.
    """
    file = final / "card.json"
    card = adapter_card.believed(statefiles.read_object(file))
    file.unlink(missing_ok=True)
    card.pop("base_model", None)
    card.get("dataset", {}).pop("path", None)
    return card


def _base(models: Models, named: str, card: dict[str, Any], wanted: str | None) -> str:
    """The base model's folder here, or its name on the hub. Raises UserError if it must be asked for."""
    if wanted:
        return models.resolve(wanted, "cpu")
    same = _of_identity(models, card.get("base_identity"))
    if same is not None:
        return str(same.path)
    if PurePath(named).name == EMBEDDED_FOLDER:
        return str(models.embedded)
    is_path = PurePath(named).is_absolute()
    if (is_path and _is_model(Path(named))) or (not is_path and HUB_NAME.fullmatch(named)):
        return named
    raise UserError(
        "usage",
        f"its base model {named[:80]!r} is not known here" if named else "it does not say which base model it is for",
        "Name it: --base-model FOLDER, or a name on the hub.",
    )


def _of_identity(models: Models, identity: str | None) -> BaseModel | None:
    return next((model for model in models.list() if fingerprints.of_model(str(model.path)) == identity), None)


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _check_base(
    models: Models, shape: AdapterShape, card: dict[str, Any], base: str, tell: Callable[[str], object]
) -> None:
    """Raises UserError where the adapter does not fit its base model, or where its card names another one."""
    folder = next((model.path for model in models.list() if model.from_hub and model.name == base), Path(base))
    identity = card.get("base_identity")
    is_other = identity and identity not in (fingerprints.of_model(base), fingerprints.of_model(str(folder)))
    named = _of_identity(models, identity) if is_other else None
    if folder.is_dir():
        if not _is_model(folder):
            raise UserError("bad_input", f"{folder} is no model", "It needs a config.json and *.safetensors.")
        adapter_check.check_fit(shape, folder)
        if is_other:
            tell(f"its card names another base model{f', {named.name}' if named else ''}; its layers fit this one too")
        return
    if named is not None:
        cause = f"its card says that it was trained on {named.name}, not on {base}"
        raise UserError("conflict", cause, "Leave --base-model out.")
    why = "is a GGUF file" if folder.is_file() else "is not on this machine"
    tell(f"{base} {why}, so it was not checked whether the adapter fits it")


def export_adapter(adapter: Adapter, target: Path) -> Path:
    """Write an adapter to a new folder, or to a new archive if `target` ends with .zip. Returns the path.

    No path of this machine goes along: models and datasets are named without their folders.
    """
    if target.exists() or target.is_symlink():
        raise UserError("conflict", f"{target} exists", "Name one that does not.")
    if not target.parent.is_dir():
        raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
    if not adapter.complete:
        raise UserError("conflict", f"the adapter {adapter.name} is incomplete", "Train it again.")
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".partial", dir=target.parent))
    try:
        folder = statefiles.make_private_dir(partial / target.stem)
        for name in TAKEN:
            if (adapter.final / name).is_file():
                statefiles.copy_private(adapter.final / name, folder / name)
        _write_portable(adapter, folder)
        if target.suffix.lower() != ".zip":
            os.rename(folder, target)
            return target
        with (
            statefiles.open_private(partial / "packed") as packed,
            zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive,
        ):
            for file in sorted(folder.iterdir()):
                archive.write(file, f"{target.stem}/{file.name}")
        os.rename(partial / "packed", target)
        return target
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_portable(adapter: Adapter, folder: Path) -> None:
    config = statefiles.read_object(folder / ADAPTER_FILES[0])
    base = adapter.base_model if HUB_NAME.fullmatch(adapter.base_model) else PurePath(adapter.base_model).name
    statefiles.write_json(folder / ADAPTER_FILES[0], {**config, "base_model_name_or_path": base})
    card = adapter_card.believed(statefiles.read_object(adapter.path / "card.json"))
    dataset = {key: value for key, value in card.get("dataset", {}).items() if key != "path"}
    job = {**card.get("config", {}), "base_model": base}
    statefiles.write_json(
        folder / "card.json", {**card, "name": adapter.name, "base_model": base, "dataset": dataset, "config": job}
    )
