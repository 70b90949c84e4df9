"""In a real terminal: it is left as it was, however the app ends, and a training goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmarks.terminal import Terminal
from engines.llm import LLMEngine
from tests.tui.conftest import ROOT, start_run

LEFT = b"\x1b[?1049l"  # back from the alternate screen


def app(engine: LLMEngine, **env: str) -> Terminal:
    code = (
        f"from pathlib import Path; from ftui.app import FtuiApp; FtuiApp(Path({str(engine.workspace.home)!r})).run()"
    )
    return Terminal([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT), **env})


def rest_of(terminal: Terminal) -> bytes:
    """All that the app writes until it is gone."""
    data, deadline = b"", time.monotonic() + 15
    while terminal.child.poll() is None:
        assert time.monotonic() < deadline
        data += terminal.read_bytes(0.05)
    return data + terminal.read_bytes(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_terminal_as_it_was(engine: LLMEngine, tmp_path: Path, number: signal.Signals) -> None:
    end = tmp_path / "end"
    run = start_run(engine, "--wait-for", str(end))
    with app(engine) as terminal:
        terminal.wait_for("● running")
        terminal.child.send_signal(number)
        assert LEFT in rest_of(terminal)
    assert run.status().state == "running"
    end.touch()
    assert engine.runs.wait(run, 20).state == "done"


def test_a_closed_terminal_ends_the_app_and_not_the_run(engine: LLMEngine, tmp_path: Path) -> None:
    end = tmp_path / "end"
    run = start_run(engine, "--wait-for", str(end))
    terminal = app(engine)
    terminal.wait_for("● running")
    os.close(terminal.master)
    assert terminal.child.wait(timeout=15) is not None
    assert run.status().state == "running"
    end.touch()
    assert engine.runs.wait(run, 20).state == "done"


def test_a_fault_of_the_app_is_one_line_and_a_file(engine: LLMEngine) -> None:
    (engine.workspace.home / "break.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom ftui.app import FtuiApp\n"
        "def broken(app):\n    raise RuntimeError('[bold]out of order[/nothing]')\n"
        "FtuiApp.on_resize = broken\n"
        f"app = FtuiApp(Path({str(engine.workspace.home)!r}))\napp.run()\nsys.exit(app.return_code)\n"
    )
    script = engine.workspace.home / "break.py"
    with Terminal([sys.executable, str(script)], env={"PYTHONPATH": str(ROOT)}) as terminal:
        text = rest_of(terminal).decode()
        assert terminal.child.returncode == 1
    assert "ftui ended by a fault: RuntimeError: [bold]out of order[/nothing]" in text and "Traceback" not in text
    assert "Traceback" in (engine.workspace.home / "ftui-errors.log").read_text()
