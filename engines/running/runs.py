"""All jobs that ever ran, one folder each, and what can be done with them.

runs/{id}/spec.json     what was asked for: kind, name, argv, config, device
runs/{id}/status.json   how it stands; written by the supervisor alone
runs/{id}/log           what the script printed, events among it
runs/{id}/result.json   the script's last word, with its figures
runs/{id}/stop.json     somebody asked it to stop
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running import device_queue, processes
from engines.running.launch import launch
from engines.running.stop import DEFAULT_GRACE_SECONDS
from engines.running.supervisor import ENDED
from engines.workspace import Workspace, check_name, is_real_dir

FULL_BYTES = 1 << 20  # with less than this free a start that failed is put down to the disk

# Nothing that a child starts may report to anybody.
PRIVACY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}


@dataclass(frozen=True)
class RunStatus:
    """How a run stands now. `state` is one of: new, queued, running, stopping, orphan, or ENDED."""

    state: str
    attempt: int = 0
    pid: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    log_offset: int = 0
    earlier_seconds: float = 0.0  # how long earlier attempts took
    cause: str = ""
    next_step: str = ""

    def seconds(self, now: float | None = None) -> float | None:
        """How long all attempts have taken; None before the first, and while one goes on if `now` is not given."""
        end = self.ended_at or now
        if self.started_at is None or end is None:
            return None
        return self.earlier_seconds + max(0.0, end - self.started_at)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def active(self) -> bool:
        return self.state in ("queued", "running", "stopping", "orphan")


class Run:
    """One run on disk. Reading never changes anything."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.id = folder.name
        self.spec: dict[str, Any] = statefiles.read_object(folder / "spec.json")

    @property
    def kind(self) -> str:
        return str(self.spec.get("kind", "?"))

    @property
    def name(self) -> str:
        return str(self.spec.get("name", self.id))

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def status(self) -> RunStatus:
        known = self._recorded()
        if known.get("state") not in (None, *ENDED) and not self._is_owned():
            known = self._recorded()  # it is the supervisor's last deed to write how the run ended
            if known.get("state") not in ENDED:
                known["state"] = "orphan"
        elif known.get("state") == "running" and (self.folder / "stop.json").exists():
            known["state"] = "stopping"
        return RunStatus(**{"state": "new", **known})

    def _recorded(self) -> dict[str, Any]:
        raw = statefiles.read_object(self.folder / "status.json")
        return {key: raw[key] for key in RunStatus.__dataclass_fields__ if raw.get(key) is not None}

    def _is_owned(self) -> bool:
        return statefiles.is_locked(self.folder / "supervisor.lock")

    def result(self) -> dict[str, Any]:
        """The script's figures; empty while there are none."""
        return statefiles.read_object(self.folder / "result.json")

    def as_dict(self) -> dict[str, Any]:
        status = self.status()
        return {
            "id": self.id,
            "kind": self.kind,
            "name": self.name,
            "created_at": self.spec.get("created_at"),
            "device": self.spec.get("device"),
            **{key: getattr(status, key) for key in status.__dataclass_fields__},
            "log": str(self.log),
        }


class Runs:
    """The runs of a workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    def list(self, kind: str | None = None) -> list[Run]:
        """Newest first."""
        folders = (entry for entry in os.scandir(self.workspace.runs) if not entry.name.startswith("."))
        runs = [Run(Path(entry.path)) for entry in folders if is_real_dir(Path(entry.path))]
        runs = [run for run in runs if run.spec and kind in (None, run.kind)]
        return sorted(runs, key=lambda run: run.spec.get("created_at", 0), reverse=True)

    def get(self, run_id: str, kind: str | None = None) -> Run:
        """The run of this id, or whose id begins so, or of this name. Raises UserError if there is none, or several.

        kind: a name means a run of this kind, for an evaluation is called like the training whose adapter it is of.
        """
        check_name(run_id, "a run")
        runs = self.list()
        for found, how in (
            ([run for run in runs if run.id == run_id], "are"),
            ([run for run in runs if run.id.startswith(run_id)], "begin with"),
            ([run for run in runs if run.name == run_id and kind in (None, run.kind)], "are called"),
        ):
            if len(found) == 1:
                return found[0]
            if found:
                newest = ", ".join(run.id for run in found[:3])
                raise UserError("not_found", f"{len(found)} runs {how} {run_id}", f"Name one by its id: {newest} …")
        raise UserError("not_found", f"there is no run {run_id}", "See `ftui runs list`.")

    def newest(self, kind: str, *, active: bool = False) -> Run | None:
        """active: of those that are under way; one that waits for its device comes after one that has it."""
        runs = self.list(kind)
        if not active:
            return next(iter(runs), None)
        states = [(run, run.status()) for run in runs]
        runs = [run for run, status in states if status.active and status.state != "queued"]
        return next(iter(runs + [run for run, status in states if status.state == "queued"]), None)

    def create(
        self,
        kind: str,
        name: str,
        argv: Sequence[str],
        *,
        device: str | None = None,
        config: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        **details: Any,
    ) -> Run:
        """Write down a run, without starting it. `argv` may hold {run}: the run's folder."""
        try:
            folder = self._new_folder(kind)
        except OSError as error:
            raise self._cannot_write(self.workspace.home, error) from None
        spec = {
            "id": folder.name,
            "mark": f"{folder.name}-{secrets.token_hex(8)}",
            "kind": kind,
            "name": name,
            "argv": [part.replace("{run}", str(folder)) for part in argv],
            "env": {**PRIVACY, **(env or {})},
            "device": device,
            "device_lock": str(self.workspace.device_lock(device)) if device else None,
            "config": config or {},
            "created_at": time.time(),
            **details,
        }
        try:
            if config is not None:
                statefiles.write_json(folder / "config.json", config)
            statefiles.write_json(folder / "spec.json", spec)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise self._cannot_write(folder, error) from None
        return Run(folder)

    def _new_folder(self, kind: str) -> Path:
        while True:
            run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}-{secrets.token_hex(2)}"
            folder = self.workspace.runs / run_id
            try:
                folder.mkdir(statefiles.PRIVATE_DIR)
                return folder
            except FileExistsError:  # another face, in the same second
                pass

    def _cannot_write(self, path: Path, error: OSError) -> UserError:
        if error.errno in statefiles.DISK_FULL:
            return UserError("not_ready", f"the disk of {path} is full", "Free some space, then try again.")
        return UserError("not_ready", f"{path} cannot be written: {error.strerror}", "Check the folder and its disk.")

    def start(self, run: Run) -> RunStatus:
        """Start or resume `run` under a supervisor. Two callers at once start it once."""
        status = run.status()
        if status.state == "orphan":
            self.adopt(run)
            status = run.status()
        if status.active:
            return status
        if launch(run.folder, "start", status.attempt):
            return run.status()
        status = run.status()
        if status.active:  # it died after it had started the job
            self.adopt(run)
            return run.status()
        if shutil.disk_usage(run.folder).free < FULL_BYTES:
            raise self._cannot_write(run.folder, OSError(errno.ENOSPC, ""))
        raise UserError("failed", "the supervisor did not start", f"Read {run.folder / 'supervisor.log'}.")

    def adopt(self, run: Run) -> str:
        """Give an orphaned run a supervisor again (its own was killed)."""
        return launch(run.folder, "adopt")

    def reconcile(self) -> Sequence[Run]:
        """Adopt every orphan. Returns all runs, newest first."""
        runs = self.list()
        for run in runs:
            if run.status().state == "orphan":
                self.adopt(run)
        return runs

    def request_stop(self, run: Run, grace_seconds: float = DEFAULT_GRACE_SECONDS) -> None:
        """Ask `run` to save and end; after `grace_seconds` it is ended. Returns at once."""
        status = run.status()
        if status.state == "orphan":
            self.adopt(run)
            if run.status().ended:
                return
        elif not status.active:
            raise UserError("conflict", f"{run.name} is not running ({status.state})", "Nothing to stop.")
        stop = run.folder / "stop.json"
        try:
            request = {"grace_seconds": grace_seconds, "asked_at": time.time()}
            statefiles.write_json(stop, request, run.folder / "reserve")
        except OSError as error:
            try:
                stop.touch(statefiles.PRIVATE_FILE)  # needs no room for content: a stop with the usual grace
            except OSError:
                raise self._cannot_write(stop, error) from None

    def queue(self, device: str | None = None) -> Sequence[Run]:
        """The runs that wait for a device (all devices if None), the next one first."""
        waiting = [run for run in self.list() if run.status().state == "queued"]
        waiting = [run for run in waiting if device in (None, run.spec.get("device"))]
        return [Run(folder) for folder in device_queue.in_order(run.folder for run in waiting)]

    def move_in_queue(self, run: Run, position: int) -> Sequence[Run]:
        """Put a waiting run at `position` (1: next) among those that wait for its device; returns their new order."""
        device = run.spec.get("device")
        queue = self.queue(device)
        if run.id not in {other.id for other in queue}:
            raise UserError("conflict", f"{run.name} is not waiting ({run.status().state})", "See `ftui runs queue`.")
        if not 1 <= position <= len(queue):
            raise UserError("usage", f"there is no place {position}", f"Name a place from 1 to {len(queue)}.")
        device_queue.move(run.folder, [other.folder for other in queue], position - 1)
        return self.queue(device)

    def wait(self, run: Run, timeout: float | None = None) -> RunStatus:
        """Block until `run` has ended (adopting it if need be) or `timeout` seconds are over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            status = run.status()
            if status.ended or (deadline is not None and time.monotonic() > deadline):
                return status
            if status.state == "orphan":
                self.adopt(run)
            time.sleep(0.1)

    def delete(self, run: Run) -> Path:
        """Move an ended run to the trash. Returns where it went."""
        if not run.folder.is_dir():
            raise UserError("not_found", f"there is no run {run.id} any more", "See `ftui runs list`.")
        status = run.status()
        running = UserError("conflict", f"{run.name} is still running", "Stop it first.")
        if status.state == "queued":
            raise UserError("conflict", f"{run.name} waits for its device", f"First `ftui runs stop {run.id}`.")
        if status.active:
            raise running
        owner = statefiles.lock(run.folder / "supervisor.lock", wait_seconds=1.0)  # nobody may start it meanwhile
        if owner is None:
            raise running
        try:
            if run.status().active:
                raise running
            return self.workspace.move_to_trash(run.folder, "run")
        finally:
            os.close(owner)

    def restore(self, trashed: Path) -> Run:
        """Bring a deleted run back."""
        return Run(self.workspace.restore(trashed))

    def leftovers(self, run: Run) -> Sequence[int]:
        """Pids that still carry the run's mark."""
        mark = run.spec.get("mark")
        return processes.marked(mark) if mark else []
