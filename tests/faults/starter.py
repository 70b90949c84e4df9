"""Start one run at the moment when a file appears.

python starter.py HOME RUN_ID FILE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engines.running.runs import Runs
from engines.workspace import Workspace

home, run_id, shot = sys.argv[1:]
runs = Runs(Workspace(home))
run = runs.get(run_id)
print("ready", flush=True)
while not Path(shot).exists():
    time.sleep(0.001)
runs.start(run)
