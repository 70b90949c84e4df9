"""Paths that servers load adapters from: one for each content, never two contents at one path.

    finetune/adapters/.versions/{fingerprint}/    what servers read of an adapter, links to the same bytes

vLLM keeps what it computed under an adapter's name and path: other weights at the same path
get wrong answers from that cache. Names move (rename, delete, train again under the same
name), so a server is never given `{name}/final` but the path of that content. Hard links
cost no space, and live on while a server needs them though the adapter is deleted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from engines.contract import fingerprints, statefiles
from engines.weights.adapters import Adapter
from engines.workspace import Workspace, is_real_dir

READ_ONLY = 0o400


def folder(workspace: Workspace) -> Path:
    return statefiles.make_private_dir(workspace.adapters / ".versions")


def path_of(workspace: Workspace, adapter: Adapter) -> Path:
    """Where servers load `adapter` from; made if it is not there, and never trusted unread."""
    fingerprint = fingerprints.of_adapter(adapter.final)
    version = folder(workspace) / fingerprint
    if _holds(version, adapter.final, fingerprint):
        return version
    if version.exists():  # somebody wrote into it
        workspace.move_to_trash(version, "version")
    partial = version.with_name(f".{fingerprint}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    statefiles.make_private_dir(partial)
    try:
        for file in fingerprints.adapter_files(adapter.final):
            _link(file, partial / file.name)
        os.rename(partial, version)
    except OSError:
        if not _holds(version, adapter.final, fingerprint):  # else another face was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    statefiles.sync_dir(version.parent)
    return version


def _holds(version: Path, final: Path, fingerprint: str) -> bool:
    """Has the version that content? Links to the files just read need not be read again."""
    if not is_real_dir(version) or not all((version / name).is_file() for name in fingerprints.ADAPTER_FILES):
        return False
    ours, theirs = fingerprints.adapter_files(version), fingerprints.adapter_files(final)
    same = len(ours) == len(theirs) and all(one.samefile(other) for one, other in zip(ours, theirs, strict=True))
    return same or fingerprints.of_adapter(version) == fingerprint


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
    os.chmod(target, READ_ONLY)


def prune(workspace: Workspace, needed: Iterable[Path]) -> None:
    """Remove the versions whose adapter is gone and that no server has loaded."""
    kept = {path.resolve() for path in needed}
    for version in folder(workspace).iterdir():
        weights = version / fingerprints.ADAPTER_FILES[1]
        if version.resolve() not in kept and weights.is_file() and weights.stat().st_nlink == 1:
            shutil.rmtree(version, ignore_errors=True)
