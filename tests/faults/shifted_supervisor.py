"""The real supervisor with a wall clock that is off.

python -S shifted_supervisor.py SECONDS  start|adopt RUN_DIR READY_FD ATTEMPT
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engines.running.launch import leave_terminal
from engines.running.supervisor import supervise

shift, mode, run, ready_fd, attempt = sys.argv[1:]
right_time = time.time
time.time = lambda: right_time() + int(shift)
os.set_inheritable(int(ready_fd), False)
leave_terminal(Path(run))
supervise(mode, Path(run), int(ready_fd), int(attempt))
