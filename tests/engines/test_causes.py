"""Why a job ended, named in one line: from real jobs under a supervisor, and from logs."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from engines.running import causes, processes
from engines.running.runs import Runs, RunStatus
from engines.workspace import Workspace

CUDA = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"
CPU = (
    "RuntimeError: [enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 8000000000000 bytes."
)


def verdict_of(home: Path, *argv: str) -> RunStatus:
    runs = Runs(Workspace(home))
    run = runs.create("train", "a run", list(argv))
    runs.start(run)
    return runs.wait(run, timeout=60)


@pytest.mark.parametrize(
    ("code", "exit_code", "cause"),
    [
        ("raise ValueError('bad row 7')", 1, "ValueError: bad row 7"),
        ("class Odd(Exception): pass\nraise Odd('no suffix')", 1, "Odd: no suffix"),
        ("raise StopIteration", 1, "StopIteration"),
        ("try: 1 / 0\nexcept Exception as e: raise KeyError('outer') from e", 1, "KeyError: 'outer'"),
        ("open('/no/such/file')", 1, "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'"),
        ("raise ValueError('first\\nsecond line')", 1, "ValueError: first"),
        ("print('the data is bad'); raise SystemExit(3)", 3, "ended with exit code 3: the data is bad"),
        ("raise SystemExit(3)", 3, "ended with exit code 3"),
        ("raise SystemExit('the data is bad')", 1, "ended with exit code 1: the data is bad"),
        ("x = bytearray(1 << 62)", 1, "out of memory: MemoryError"),
        ("raise OSError(28, 'No space left on device')", 1, "the disk is full"),
    ],
)
def test_a_job_that_fails(tmp_path: Path, code: str, exit_code: int, cause: str) -> None:
    status = verdict_of(tmp_path, sys.executable, "-c", code)
    assert (status.state, status.exit_code, status.cause) == ("failed", exit_code, cause)
    assert status.next_step


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT, signal.SIGTERM, signal.SIGBUS])
def test_a_signal_is_named(tmp_path: Path, number: signal.Signals) -> None:
    status = verdict_of(tmp_path, "/bin/sh", "-c", f"kill -{int(number)} $$")
    assert (status.state, status.exit_code, status.cause) == ("failed", -number, f"ended by {number.name}")


def test_an_executable_that_is_missing(tmp_path: Path) -> None:
    status = verdict_of(tmp_path, "/no/such/program")
    assert (status.state, status.exit_code) == ("failed", 127)
    assert status.cause == "cannot start: No such file or directory: /no/such/program"


def test_an_error_event_speaks_for_the_job(tmp_path: Path) -> None:
    code = (
        "from engines.contract.errors import UserError\nfrom engines.contract.run_protocol import run_script\n"
        "def main(): raise UserError('bad_input', 'row 7 is no dialog', 'Mend it.')\nrun_script(main)"
    )
    root = Path(__file__).resolve().parents[2]
    runs = Runs(Workspace(tmp_path))
    run = runs.create("train", "a run", [sys.executable, "-c", code], cwd=str(root))
    runs.start(run)
    status = runs.wait(run, timeout=60)
    assert (status.state, status.exit_code) == ("failed", 3)
    assert (status.cause, status.next_step) == ("row 7 is no dialog", "Mend it.")


# --- from logs ---


def cause_in(
    tmp_path: Path, text: str | bytes, exit_code: int | None, offset: int = 0, oom_kills: int = 1 << 60
) -> str:
    log = tmp_path / "log"
    log.write_bytes(text.encode() if isinstance(text, str) else text)
    return causes.of_failure(log, offset, exit_code, oom_kills).get("cause", "")


def traceback_of(line: str) -> str:
    return f'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    work()\n{line}\n'


@pytest.mark.parametrize("line", [CUDA, CPU, "torch.cuda.OutOfMemoryError: CUDA out of memory.", "MemoryError"])
def test_out_of_memory_comes_with_what_to_lower(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log"
    log.write_text(traceback_of(line))
    assert causes.of_failure(log, 0, 1, 0) == {"cause": f"out of memory: {line}", "next_step": causes.LESS_MEMORY}


def test_the_kernels_killer_is_named(tmp_path: Path) -> None:
    now = processes.out_of_memory_kills()
    named = "killed by the kernel's out-of-memory killer"
    assert cause_in(tmp_path, "", -signal.SIGKILL, oom_kills=now - 1) == named
    assert cause_in(tmp_path, "", 137, oom_kills=now - 1) == named  # through a shell
    assert cause_in(tmp_path, "", -signal.SIGKILL, oom_kills=now) == "ended by SIGKILL"
    assert cause_in(tmp_path, "", -signal.SIGSEGV, oom_kills=now - 1) == "ended by SIGSEGV"
    worker = traceback_of("RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed. ")
    assert cause_in(tmp_path, worker, 1, oom_kills=now - 1) == named


def test_only_the_last_traceback_of_this_attempt_counts(tmp_path: Path) -> None:
    old, new = traceback_of("ValueError: old"), traceback_of("KeyError: 'new'")
    assert cause_in(tmp_path, old + "goes on\n" + new, 1) == "KeyError: 'new'"
    assert cause_in(tmp_path, old + "quiet\n", 1, offset=len(old)) == "ended with exit code 1: quiet"


def test_a_launchers_prefix_is_left_out(tmp_path: Path) -> None:
    text = "".join(f"[rank0]: {line}\n" for line in traceback_of("ValueError: bad row 7").splitlines())
    assert cause_in(tmp_path, text, 1) == "ValueError: bad row 7"


def test_an_unknown_end_is_only_explained_by_the_very_last_words(tmp_path: Path) -> None:
    """Nobody saw the exit code: an exception that was survived must not become the verdict."""
    text = traceback_of("ValueError: bad row 7")
    assert cause_in(tmp_path, text, None) == "ValueError: bad row 7"
    assert cause_in(tmp_path, text + "never mind\nstep 8\n", None) == ""
    assert cause_in(tmp_path, "step 8\n", None) == ""


def test_garbage_bars_and_escapes_do_not_hide_the_cause(tmp_path: Path) -> None:
    bar = b"\r".join(b" %d%%|###| %d/100 [00:01<00:02]" % (n, n) for n in range(100))
    text = bar + b"\xff\xfe\x00\n" + traceback_of("ValueError: bad row 7").encode()
    assert cause_in(tmp_path, text, 1) == "ValueError: bad row 7"
    assert cause_in(tmp_path, bar + b"\rthe end", 2) == "ended with exit code 2: the end"


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    text = traceback_of("ValueError: long ago") + "x" * 80 + "\n" * (2 * causes.TAIL_BYTES)
    assert cause_in(tmp_path, text + "last words\n", 1) == "ended with exit code 1: last words"
    assert len(cause_in(tmp_path, "y" * 10_000, 1)) < 300
    assert len(cause_in(tmp_path, traceback_of("ValueError: " + "y" * 10_000), 1)) <= 300


def test_no_log_at_all(tmp_path: Path) -> None:
    assert causes.of_failure(tmp_path / "none", 0, None, 0) == {}
    assert causes.of_failure(tmp_path / "none", 0, 2, 0)["cause"] == "ended with exit code 2"
    assert causes.of_failure(tmp_path / "none", 0, -200, 0)["cause"] == "ended by signal 200"
