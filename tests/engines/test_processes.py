"""Who a process is: start time, mark, children; and what of it is plausible on macOS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.running import processes

ROOT = Path(__file__).resolve().parents[2]


def until(predicate: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sleeper(mark: str | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **({processes.RUN_MARK: mark} if mark else {})}
    return subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)


def test_a_start_time_is_of_one_process(tmp_path: Path) -> None:
    process = sleeper()
    first = processes.start_time(process.pid)
    assert first and first == processes.start_time(process.pid)
    process.kill()
    until(lambda: processes.start_time(process.pid) is None)  # a zombie is gone, though its pid is not free yet
    process.wait()
    assert processes.start_time(process.pid) is None


@pytest.mark.skipif(not processes.LINUX, reason="/proc")
def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "600"])
    assert (processes.start_time(process.pid) or "").isdigit()
    process.kill()
    process.wait()


def test_the_boot_has_a_name() -> None:
    assert processes.boot_id() and processes.boot_id() == processes.boot_id()


def test_the_mark_is_found_whatever_became_of_the_process(tmp_path: Path) -> None:
    mark = f"test-{os.getpid()}-daemon"
    code = "import os, time\nos.fork() and os._exit(0)\nos.setsid()\nos.fork() and os._exit(0)\n"
    code += "open('settled', 'w').close()\ntime.sleep(600)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, processes.RUN_MARK: mark}, check=True)
    until((tmp_path / "settled").exists)
    until(lambda: len(processes.marked(mark)) == 1)  # those in between have ended
    [pid] = processes.marked(mark)
    assert processes.marked(mark, skip=[pid]) == []
    assert processes.signal_marked(mark, signal.SIGKILL) == 1
    until(lambda: not processes.marked(mark))
    assert processes.signal_marked(mark, signal.SIGKILL) == 0


def test_a_mark_that_begins_alike_is_another_one() -> None:
    mark = f"test-{os.getpid()}"
    other = sleeper(f"{mark}0")
    mine = sleeper(mark)
    until(lambda: processes.marked(mark) == [mine.pid])
    assert processes.signal_marked(mark, signal.SIGTERM) == 1
    mine.wait(60)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_kernel_without_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    process = sleeper(f"test-{os.getpid()}-old")
    assert processes.open_handle(process.pid) is None
    until(lambda: processes.marked(f"test-{os.getpid()}-old"))
    assert processes.signal_marked(f"test-{os.getpid()}-old", signal.SIGTERM) == 1
    assert process.wait(60) == -signal.SIGTERM


@pytest.mark.skipif(not processes.LINUX, reason="subreapers are Linux's")
def test_a_subreapers_children() -> None:
    code = (
        "import os, subprocess, time\nfrom engines.running import processes\n"
        "processes.become_subreaper()\n"
        "print(processes.children())\n"
        "subprocess.run(['sh', '-c', 'sleep 600 & sleep 601 &'])\n"
        "found = processes.children()\n"
        "print(len(found))\n"
        "for pid in found: os.kill(pid, 9)\n"
        "while processes.children(): time.sleep(0.01)\n"
        "print(processes.children())\n"
    )
    told = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True, timeout=60)
    assert told.split("\n")[:3] == ["[]", "2", "[]"]


def test_the_kernels_count() -> None:
    assert processes.out_of_memory_kills() >= 0


# --- macOS: the same functions over what its `ps` and `sysctl` print ---

PS_STAT = {"100": "S    Mon Jan  5 10:00:00 2026", "200": "Z    Mon Jan  5 10:00:00 2026"}
PS_ALL = """  1 /sbin/launchd
100 python -c pass HOME=/Users/a FTUI_RUN=mark-1 PATH=/bin
101 python -c pass FTUI_RUN=mark-10
102 sleep 600 A=b FTUI_RUN=mark-1
"""


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*argv: str) -> str:
        if argv[0] == "sysctl":
            return "6F1C9A5E-0000\n"
        return PS_STAT.get(argv[-1], "") + "\n" if "-p" in argv else PS_ALL

    monkeypatch.setattr(processes, "LINUX", False)
    monkeypatch.setattr(processes, "_ask", ask)


def test_on_macos(mac: None) -> None:
    assert processes.boot_id() == "6F1C9A5E-0000"
    assert processes.start_time(100) == "Mon Jan  5 10:00:00 2026"
    assert processes.start_time(200) is None and processes.start_time(300) is None
    assert processes.marked("mark-1") == [100, 102]
    assert processes.marked("mark-1", skip=[100]) == [102]
    assert processes.open_handle(100) is None and processes.children() == []
    processes.become_subreaper()


def test_everything_of_the_supervisor_can_be_imported_on_macos() -> None:
    code = (
        "import os, sys\nsys.platform = 'darwin'\ndel os.pidfd_open\n"
        "from engines.running import supervisor, processes, launch, job_start, device_queue\n"
        "assert not processes.LINUX\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=True, timeout=60)
