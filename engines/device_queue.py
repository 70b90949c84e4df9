"""Who waits for a device, and since when. Standard library only (the supervisor uses it).

A run waits while its status says `queued` and its supervisor lives. Its place is
`queued_at`, a reading of the monotonic clock, which all processes of one boot share
and which nobody can set.
"""

from __future__ import annotations

from pathlib import Path

from engines import statefiles


def waiting_before(run: Path, device_lock: str, queued_at: int) -> list[Path]:
    """The runs beside `run` that wait for the same device for longer: one look at every run there is."""
    others = [other for other in run.parent.iterdir() if other != run]
    return [other for other in others if still_waits(other, before=queued_at) and _device(other) == device_lock]


def still_waits(run: Path, before: int) -> bool:
    status = statefiles.read_object(run / "status.json")
    if status.get("state") != "queued" or status.get("queued_at", 0) >= before:
        return False
    return statefiles.is_locked(run / "supervisor.lock")


def _device(run: Path) -> object:
    return statefiles.read_object(run / "spec.json").get("device_lock")
