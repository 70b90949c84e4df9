"""Asking a script something and waiting for the answer: for what takes seconds and changes nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from engines import events
from engines.errors import UserError
from engines.runs import PRIVACY

LONGEST_SECONDS = 120


def ask_script(python: Path, module: str, arguments: list[str], env: dict[str, str] | None = None) -> dict[str, Any]:
    """The figures of the script's result event. Raises UserError, the script's own or for one that tells nothing."""
    argv = [str(python), "-m", module, *arguments]
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=LONGEST_SECONDS, env={**os.environ, **PRIVACY, **(env or {})},
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError("failed", f"{module} took more than {LONGEST_SECONDS} seconds", "Try a smaller file.") from None
    for line in reversed(done.stdout.splitlines()):
        event = events.parse(line)
        if event is not None and event.get("event") == "result":
            return {key: value for key, value in event.items() if key not in ("event", "time", "state")}
        if event is not None and event.get("event") == "error":
            raise UserError(event["code"], event["cause"], event["next_step"])
    last = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:200]
    raise UserError("failed", f"{module} ended with {done.returncode}: {last}", "Run `ftui doctor`.")
