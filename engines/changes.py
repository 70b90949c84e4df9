"""Telling a face that something in the workspace changed, so that two faces at once show the same.

The folders are watched (not what is below them): every change that matters is a rename
into one of them. Where the system cannot watch, or does not see everything (a network
disk, no inotify instances left), their times are looked at once a second too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from engines.workspace import Workspace

STEP_MS = 200
DEBOUNCE_MS = 400
POLL_SECONDS = 1.0


async def changes(workspace: Workspace, *, poll: bool = False) -> AsyncIterator[None]:
    """Yield each time a dataset, an adapter, the active one, a sample, a voice or a run came, went or was replaced."""
    samples, voices = workspace.folder("qwen3-tts", "voice_samples"), workspace.folder("qwen3-tts", "finetuning")
    folders = [workspace.datasets, workspace.adapters, workspace.runs, workspace.voice, samples, voices]
    seen = _times(folders)
    async for told in _wake_ups(folders, poll):
        now = _times(folders)
        if told or now != seen:
            seen = now
            yield


async def _wake_ups(folders: list[Path], poll: bool) -> AsyncIterator[bool]:
    """True as soon as the system says that something changed; False every second, to look by ourselves."""
    if not poll:
        try:
            from watchfiles import awatch

            async for found in awatch(
                *folders, recursive=False, step=STEP_MS, debounce=DEBOUNCE_MS, watch_filter=None,
                rust_timeout=round(POLL_SECONDS * 1000), yield_on_timeout=True,
            ):  # fmt: skip
                yield bool(found)
        except (ImportError, OSError, RuntimeError):
            pass
    while True:
        await asyncio.sleep(POLL_SECONDS)
        yield False


def _times(folders: list[Path]) -> list[int]:
    return [folder.stat().st_mtime_ns if folder.exists() else 0 for folder in folders]
