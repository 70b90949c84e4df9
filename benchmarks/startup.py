"""How long a person waits for `ftui --version` and `ftui --help`, and what they import.

    python -m benchmarks.startup [--runs 11]

Goal: `--version` under 0.15 s. Judged by CPU time, which on a quiet machine is the wall time and on a
busy one does not depend on the neighbours; the wall time is shown beside it. The app's first paint is
measured by app_load.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

GOAL_SECONDS = 0.15
HEAVY = ("torch", "transformers", "numpy", "textual")


def seconds(*arguments: str) -> tuple[float, float]:
    """(CPU, wall) seconds of one call."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", "ftui", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - began


def heavy_imports(*arguments: str) -> list[str]:
    """Which heavy packages a command imports, as the interpreter itself reports it."""
    command = [sys.executable, "-X", "importtime", "-m", "ftui", *arguments]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in report.splitlines() if "|" in line}
    return [name for name in HEAVY if name in loaded]


def main() -> int:
    parser = argparse.ArgumentParser(description="Start-up times of the command line.")
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    commands = (("--version",), ("--help",), ("llm", "train", "--help"))
    times: dict[tuple[str, ...], list[tuple[float, float]]] = {command: [] for command in commands}
    for _ in range(runs):
        for command in commands:
            times[command].append(seconds(*command))
    print(f"{'command':28}{'CPU median':>12}{'wall median':>12}{'wall min':>12}   imports of {', '.join(HEAVY)}")
    for command, values in times.items():
        heavy = ", ".join(heavy_imports(*command)) or "none"
        cpu, wall = (statistics.median(column) for column in zip(*values, strict=True))
        fastest = min(value[1] for value in values)
        print(f"ftui {' '.join(command):23}{cpu:11.3f}s{wall:11.3f}s{fastest:11.3f}s   {heavy}")
    passed = statistics.median(cpu for cpu, _ in times[commands[0]]) < GOAL_SECONDS
    print(f"goal: --version under {GOAL_SECONDS} s: {'reached' if passed else 'MISSED'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
