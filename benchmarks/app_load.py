"""What the app costs beside a training: processor, bytes to the terminal, time to the first picture.

    python -m benchmarks.app_load [--seconds 20]

The real app in a real terminal (120 × 40), beside a run that says nothing and beside one
that prints 100 lines and one metric a second. Ends with 1 if a goal is missed. A busy
machine makes the start slower: the best of several starts counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.terminal import Terminal, report
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from engines.llm import LLMEngine
from engines.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
STARTS = 5
MOST_CPU_PERCENT = 3.0
MOST_KIB_PER_SECOND = 30.0
FIRST_PAINT_SECONDS = 0.6
LINES_PER_SECOND = 100


def talk(lines_per_second: int) -> None:
    """The job: until it is stopped."""
    emit("train", total_steps=100_000, first_step=0, epochs=1.0)
    step = number = 0
    while not stop_requested():
        step += 1
        if lines_per_second or step == 1:
            emit(
                "metrics", step=step, epoch=step / 1000, loss=1 + 3 / step, learning_rate=1e-4, tokens_per_second=100.0
            )
        for _ in range(10):
            for _ in range(lines_per_second // 10):
                number += 1
                print(f"line {number:>9} {'the trainer says something of no great weight ' * 2}")
            sys.stdout.flush()
            time.sleep(0.1)


def command(home: Path) -> list[str]:
    code = f"from pathlib import Path; from ftui.app import FtuiApp; FtuiApp(Path({str(home)!r})).run()"
    return [sys.executable, "-c", code]


def beside(home: Path, lines_per_second: int, seconds: float) -> tuple[float, float]:
    """(percent of a core, KiB a second) of the app beside a run."""
    engine = LLMEngine(Workspace(home))
    argv = [sys.executable, "-m", "benchmarks.app_load", "--talk", str(lines_per_second)]
    run = engine.runs.create("train", "beside", argv, env={"PYTHONPATH": str(ROOT)})
    engine.runs.start(run)
    try:
        with Terminal(command(home), env={"PYTHONPATH": str(ROOT)}) as app:
            app.wait_for("● running")
            app.wait_for("Preset")
            app.drain(3.0)
            cpu, drawn = app.cpu_seconds(), app.bytes
            app.drain(seconds)
            return (app.cpu_seconds() - cpu) / seconds * 100, (app.bytes - drawn) / seconds / 1024
    finally:
        engine.stop(run, 5)
        engine.runs.wait(run, 20)


def idle(home: Path, seconds: float) -> tuple[float, float]:
    """The same where nothing runs."""
    with Terminal(command(home), env={"PYTHONPATH": str(ROOT)}) as app:
        app.wait_for("Preset")
        app.drain(3.0)
        cpu, drawn = app.cpu_seconds(), app.bytes
        app.drain(seconds)
        return (app.cpu_seconds() - cpu) / seconds * 100, (app.bytes - drawn) / seconds / 1024


def first_paint(home: Path) -> float:
    with Terminal(command(home), env={"PYTHONPATH": str(ROOT)}) as app:
        app.wait_for("Dataset")
        return time.monotonic() - app.started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--talk", type=int, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.talk is not None:
        talk(arguments.talk)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        paint = min(first_paint(home) for _ in range(STARTS))
        alone = idle(home, arguments.seconds)
        quiet = beside(home, 0, arguments.seconds)
        busy = beside(home, LINES_PER_SECOND, arguments.seconds)
    rows = [
        ("first picture", f"{paint:.2f} s", f"{FIRST_PAINT_SECONDS} s", paint < FIRST_PAINT_SECONDS),
        *_rows("nothing runs", alone),
        *_rows("a quiet run", quiet),
        *_rows(f"{LINES_PER_SECOND} lines/s, 1 metric/s", busy),
    ]
    sys.exit(report(rows))


def _rows(title: str, figures: tuple[float, float]) -> list[tuple[str, str, str, bool]]:
    cpu, drawn = figures
    goal = MOST_CPU_PERCENT if "lines" not in title else None
    return [
        (f"{title}: of a core", f"{cpu:.1f} %", f"{goal:.0f} %" if goal else "", goal is None or cpu < goal),
        (
            f"{title}: to the terminal",
            f"{drawn:.1f} KiB/s",
            f"{MOST_KIB_PER_SECOND:.0f} KiB/s",
            drawn < MOST_KIB_PER_SECOND,
        ),
    ]


if __name__ == "__main__":
    main()
