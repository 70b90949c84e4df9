"""Can the log pane keep up with a burst, and do keys answer meanwhile?

    python -m benchmarks.log_pane [--lines 1000000] [--rate 100000]

The real app in a real terminal follows a real run that prints that many lines at that
rate. Ends with 1 if a line is missing, a key took too long, or memory passed the bound.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.terminal import Terminal, report
from engines.contract.events import emit
from engines.llm import LLMEngine
from engines.running.follow import LogFile
from engines.running.runs import Run
from engines.workspace import Workspace
from ftui.format import count

ROOT = Path(__file__).resolve().parent.parent
LARGEST_MEGABYTES = 100.0
LONGEST_KEY_SECONDS = 0.05
# Tab is the dearest key: all of the screen is drawn again.
PANES = ("Preset", "Follow", "Evaluate", "Demo")  # a word of each pane's footer, in the order of tab


def write(lines: int, rate: int) -> None:
    """The job: 110-character lines in ten batches a second, a metric every second."""
    batch = max(1, rate // 10)
    began = time.monotonic()
    for number, first in enumerate(range(0, lines, batch)):
        last = min(lines, first + batch)
        sys.stdout.write(
            "".join(
                f"line {line:>9} {'the trainer says something of no great weight ' * 2}\n"
                for line in range(first, last)
            )
        )
        sys.stdout.flush()
        if number % 10 == 0:
            emit("metrics", step=number // 10 + 1, loss=1.0 + 1 / (number + 1))
        time.sleep(max(0.0, began + (number + 1) * batch / rate - time.monotonic()))


def start(engine: LLMEngine, lines: int, rate: int) -> Run:
    argv = [sys.executable, "-m", "benchmarks.log_pane", "--write", "--lines", str(lines), "--rate", str(rate)]
    run = engine.runs.create("train", "burst", argv, env={"PYTHONPATH": str(ROOT)})
    engine.runs.start(run)
    return run


def measure(lines: int, rate: int, home: Path) -> int:
    engine = LLMEngine(Workspace(home))
    code = f"from pathlib import Path; from ftui.app import FtuiApp; FtuiApp(Path({str(home)!r})).run()"
    with Terminal([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}) as app:
        app.wait_for("No run yet")
        app.wait_for("Preset")  # the form stands: all is loaded
        app.drain(1.0)
        began = time.monotonic()
        run = start(engine, lines, rate)
        app.wait_for("● running")
        keys: list[float] = []
        while run.status().active and len(keys) < 10_000:
            for word in PANES:
                keys.append(app.press("\t", word))
                app.drain(0.05)
        written = time.monotonic() - began
        log = LogFile(run.log)
        log.poll_all()
        shown = f"log · {count(len(log))} lines"
        app.wait_for(shown, 120)
        late = time.monotonic() - began - written
        last = log.text(len(log) - 1).split("the")[0].strip()
        app.wait_for(last)
        memory = app.memory() / 1e6
    keys.sort()
    slow = sum(key > LONGEST_KEY_SECONDS for key in keys)
    half, nearly_all = statistics.median(keys), keys[int(len(keys) * 0.95)]
    bound = LONGEST_KEY_SECONDS
    return report(
        [
            ("lines written and followed", f"{count(len(log))}", f"at least {count(lines)}", len(log) >= lines),
            ("time of the burst", f"{written:.1f} s ({count(lines / written)} lines/s)", "", True),
            ("all lines shown after its end", f"{late:.2f} s", "2 s", late < 2),
            ("key to answer, half of them", f"{half * 1000:.0f} ms", "50 ms", half < bound),
            ("key to answer, 95 of 100", f"{nearly_all * 1000:.0f} ms", "50 ms", nearly_all < bound),
            ("key to answer, longest", f"{keys[-1] * 1000:.0f} ms ({slow} of {len(keys)} over 50 ms)", "", True),
            ("largest memory of the app", f"{memory:.0f} MB", "100 MB", memory < LARGEST_MEGABYTES),
        ]
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.lines, arguments.rate)
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(measure(arguments.lines, arguments.rate, Path(folder)))


if __name__ == "__main__":
    main()
