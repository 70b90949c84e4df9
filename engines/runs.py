"""All jobs that ever ran, one folder each, and what can be done with them.

runs/{id}/spec.json     what was asked for: kind, name, argv, config, device
runs/{id}/status.json   how it stands; written by the supervisor alone
runs/{id}/log           what the script printed, events among it
runs/{id}/result.json   the script's last word, with its figures
runs/{id}/stop.json     somebody asked it to stop
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import processes, statefiles
from engines.errors import UserError
from engines.supervisor import DEFAULT_GRACE_SECONDS, ENDED, launch
from engines.workspace import Workspace, check_name, is_real_dir

# Nothing that a child starts may report to anybody.
PRIVACY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
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
    cause: str = ""
    next_step: str = ""

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
        self.spec: dict[str, Any] = statefiles.read_json(folder / "spec.json", {})

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
        raw = statefiles.read_json(self.folder / "status.json", {})
        known = {key: raw[key] for key in RunStatus.__dataclass_fields__ if raw.get(key) is not None}
        status = RunStatus(**{"state": "new", **known})
        if status.ended:
            return status
        if status.state != "new" and not statefiles.is_locked(self.folder / "supervisor.lock"):
            return RunStatus(**{**known, "state": "orphan"})
        if status.state == "running" and (self.folder / "stop.json").exists():
            return RunStatus(**{**known, "state": "stopping"})
        return status

    def result(self) -> dict[str, Any]:
        """The script's figures; empty while there are none."""
        return statefiles.read_json(self.folder / "result.json", {})

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

    def get(self, run_id: str) -> Run:
        """The run `run_id`, or the one whose id begins so. Raises UserError if there is none, or several."""
        check_name(run_id, "a run")
        found = [run for run in self.list() if run.id.startswith(run_id)]
        exact = [run for run in found if run.id == run_id]
        if len(exact or found) == 1:
            return (exact or found)[0]
        problem = f"there is no run {run_id}" if not found else f"{len(found)} runs begin with {run_id}"
        raise UserError("not_found", problem, "See `ftui runs list`.")

    def newest(self, kind: str, *, active: bool = False) -> Run | None:
        return next((run for run in self.list(kind) if not active or run.status().active), None)

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
        run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}-{secrets.token_hex(2)}"
        folder = self.workspace.folder("runs", run_id)
        spec = {
            "id": run_id,
            "mark": f"{run_id}-{secrets.token_hex(8)}",
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
        if config is not None:
            statefiles.write_json(folder / "config.json", config)
        statefiles.write_json(folder / "spec.json", spec)
        return Run(folder)

    def start(self, run: Run) -> RunStatus:
        """Start or resume `run` under a supervisor. Two callers at once start it once."""
        status = run.status()
        if status.state == "orphan":
            self.adopt(run)
            status = run.status()
        if status.active:
            return status
        word = launch(run.folder, "start", status.attempt)
        if not word:
            free = shutil.disk_usage(run.folder).free
            if free < 1 << 20:
                raise UserError("not_ready", f"the disk of {run.folder} is full", "Free some space, then start again.")
            raise UserError("failed", "the supervisor did not start", f"Read {run.folder / 'supervisor.log'}.")
        return run.status()

    def adopt(self, run: Run) -> str:
        """Give an orphaned run a supervisor again (its own was killed)."""
        return launch(run.folder, "adopt")

    def reconcile(self) -> list[Run]:
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
        elif not status.active:
            raise UserError("conflict", f"{run.name} is not running ({status.state})", "Nothing to stop.")
        statefiles.write_json(run.folder / "stop.json", {"grace_seconds": grace_seconds, "asked_at": time.time()})

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
        if run.status().active:
            raise UserError("conflict", f"{run.name} is still running", "Stop it first.")
        return self.workspace.move_to_trash(run.folder, "run")

    def leftovers(self, run: Run) -> Sequence[int]:
        """Pids that still carry the run's mark."""
        return processes.marked(run.spec["mark"])
