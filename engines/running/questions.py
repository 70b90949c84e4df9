"""Asking a script something that changes nothing, and waiting for the answer."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import IO, Any

from engines.contract import events
from engines.contract.errors import UserError
from engines.running.runs import PRIVACY

LONGEST_SECONDS = 120

OnProgress = Callable[[int, int], None]  # done, total
OnPhase = Callable[[str], None]  # what is done now, in words


def ask_script(
    python: Path,
    module: str,
    arguments: list[str],
    env: dict[str, str] | None = None,
    on_progress: OnProgress | None = None,
    on_phase: OnPhase | None = None,
) -> dict[str, Any]:
    """The figures of the script's result event. Raises UserError, the script's own or for one that tells nothing.

    A question whose progress or phases are watched may take as long as it wants; the script ends if this is
    interrupted.
    """
    watched = on_progress is not None or on_phase is not None
    argv = [str(python), "-m", module, *arguments]
    variables = {**os.environ, **PRIVACY, **(env or {})}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=variables
        )  # fmt: skip
        assert process.stdout is not None
        late = Timer(LONGEST_SECONDS, process.kill)
        if not watched:
            late.start()
        try:
            answer = _listen(process.stdout, on_progress, on_phase)
            code = process.wait()
        finally:
            late.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        if answer is not None:
            return answer
        if late.finished.is_set() and code < 0 and not watched:
            cause = f"{module} took more than {LONGEST_SECONDS} seconds"
            raise UserError("failed", cause, "Try a smaller file.")
        errors.seek(0)
        last = errors.read().decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:200]
    raise UserError("failed", f"{module} ended with {code}: {last}", "Run `ftui doctor`.")


def _listen(output: IO[bytes], on_progress: OnProgress | None, on_phase: OnPhase | None) -> dict[str, Any] | None:
    """Read to the end. Raises the UserError that the script tells."""
    answer = None
    for line in output:
        event = events.parse(line)
        kind = event.get("event") if event else None
        if event is None:
            continue
        if kind == "result":
            answer = {key: value for key, value in event.items() if key not in ("event", "time", "state")}
        elif kind == "error":
            raise UserError(event["code"], event["cause"], event["next_step"])
        elif kind == "progress" and on_progress is not None:
            on_progress(event["done"], event["total"])
        elif kind == "phase" and on_phase is not None:
            on_phase(event["text"])
    return answer
