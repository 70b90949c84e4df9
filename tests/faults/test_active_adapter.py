"""`.active` names a complete adapter or nothing, whenever a face is killed that sets it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from harness import HERE, count

from engines.weights.adapters import FILES, Adapters
from engines.workspace import Workspace

KILLS = count(20, 200)
FACE = """
import sys
sys.path.insert(0, sys.argv[2])
from engines.weights.adapters import Adapters
from engines.workspace import Workspace
adapters = Adapters(Workspace(sys.argv[1]))
print("ready", flush=True)
while True:
    for name in ("first", "second"):
        adapters.activate(name)
    adapters.deactivate()
    adapters.restore(adapters.delete("third", even_if_active=True))
"""


def test_a_face_is_killed_while_it_changes_the_active_adapter(tmp_path: Path, chance: random.Random) -> None:
    adapters = Adapters(Workspace(tmp_path / "home"))
    for name in ("first", "second", "third"):
        (adapters.folder / name / "final").mkdir(parents=True)
        for file in FILES:
            (adapters.folder / name / "final" / file).write_text("{}")
    seen = set()
    for _ in range(KILLS):
        face = subprocess.Popen(
            [sys.executable, "-c", FACE, str(tmp_path / "home"), str(HERE.parents[1])], stdout=subprocess.PIPE
        )
        assert face.stdout is not None and face.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.05))
        assert face.poll() is None, "the face ended by itself"
        face.kill()
        face.wait()
        file = adapters.folder / ".active"
        written = file.read_text() if file.exists() else None
        assert written in (None, "first", "second"), "torn"
        assert adapters.active() == written
        seen.add(written)
        trashed = list((tmp_path / "home" / "trash").glob("adapter-*-third"))
        if not (adapters.folder / "third").exists():
            adapters.restore(trashed[0])
    assert len(seen) > 1
