"""Who waits for a device, and in which order. Standard library only (the supervisor uses it).

A run waits while its status says `queued` and its supervisor lives. Its place is
`queued_at`, a reading of the monotonic clock, which all processes of one boot share
and which nobody can set; or the place in its queue.json, where somebody moved it. Whoever
moves a run, or comes back to an old place, touches a stamp beside the device's lock, by
which the waiting supervisors know.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engines.contract import statefiles

MOVED = "queue.json"


def place_of(run: Path, queued_at: int) -> int:
    """Where a run stands: lower comes first."""
    place = statefiles.read_object(run / MOVED).get("place")
    return place if isinstance(place, int) else queued_at


def waiting_before(run: Path, device_lock: str, place: int) -> list[Path]:
    """The runs beside `run` that wait for the same device before `place`: one look at every run there is."""
    others = [other for other in run.parent.iterdir() if other != run]
    return [other for other in others if still_waits(other, before=place) and _device(other) == device_lock]


def still_waits(run: Path, before: int) -> bool:
    status = statefiles.read_object(run / "status.json")
    if status.get("state") != "queued" or place_of(run, status.get("queued_at", 0)) >= before:
        return False
    return statefiles.is_locked(run / "supervisor.lock")


def stamp(device_lock: str) -> int:
    """Another number whenever `changed` was called."""
    try:
        return _stamp_file(device_lock).stat().st_mtime_ns
    except OSError:
        return 0


def in_order(runs: Iterable[Path]) -> list[Path]:
    """Waiting runs of one device, the next one first."""
    return sorted(runs, key=lambda run: place_of(run, statefiles.read_object(run / "status.json").get("queued_at", 0)))


def move(run: Path, queue: list[Path], position: int) -> None:
    """Put `run` at `position` (0: next) of the queue, which holds it. Raises OSError."""
    order = [other for other in queue if other != run]
    order.insert(position, run)
    for number, other in enumerate(order):  # every one has its place written down, so that no two are the same
        statefiles.write_json(other / MOVED, {"place": number - len(order)})
    changed(str(_device(run)))


def changed(device_lock: str) -> None:
    """Let all who wait for the device look at the queue again. Raises OSError."""
    _stamp_file(device_lock).touch()


def _stamp_file(device_lock: str) -> Path:
    return Path(device_lock).with_suffix(".order")


def _device(run: Path) -> object:
    return statefiles.read_object(run / "spec.json").get("device_lock")
