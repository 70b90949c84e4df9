"""A face without a screen, to be killed: makes and starts runs, adopts orphans, follows the log.

python face.py HOME JOB_ARGUMENT...
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engines.running.follow import LogFile
from engines.running.runs import Run, Runs
from engines.workspace import Workspace


def current(runs: Runs, argv: list[str]) -> Run:
    for run in runs.reconcile():
        if run.status().state != "done":
            return run
    return runs.create("train", "a run", argv, device="cpu")


def main() -> None:
    runs, argv = Runs(Workspace(sys.argv[1])), sys.argv[2:]
    print("ready", flush=True)
    while True:
        run = current(runs, argv)
        runs.start(run)
        log = LogFile(run.log)
        while run.status().active:
            log.poll()
            time.sleep(0.01)


if __name__ == "__main__":
    main()
