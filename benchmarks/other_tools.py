"""A single-chat Telegram export to JSONL: our script against the packages chatpack and tg-parser.

    python -m benchmarks.other_tools [--megabytes 500] [--runs 3]

Makes an environment with both in a temporary folder (pip needs a package index). Interleaved,
CPU seconds, medians. Their output is less than ours (no owner, no dialogs); each does what it
does by default, chatpack with its merging of consecutive messages. Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.data import medians, prepare
from benchmarks.telegram import write_single_chat
from benchmarks.terminal import report

GOALS = {"chatpack": 2.0, "tg-parser": 15.0}
CHATPACK = """
import json, sys
import chatpack
with open(sys.argv[2], "w") as out:
    for message in chatpack.parse_telegram(sys.argv[1], merge=True):
        out.write(json.dumps({"sender": message.sender, "content": message.content}, ensure_ascii=False) + "\\n")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=500)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        python = folder / "env" / "bin" / "python"
        venv.create(folder / "env", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *GOALS], check=True, timeout=300)
        source = folder / "result.json"
        write_single_chat(source, arguments.megabytes)
        theirs = {
            "chatpack": [str(python), "-c", CHATPACK, str(source), str(folder / "chatpack.jsonl")],
            "tg-parser": [
                str(python.with_name("tg-parser")),
                "parse",
                str(source),
                "-f",
                "json",
                "-o",
                str(folder / "parsed"),
            ],
        }
        found = medians({"ours": prepare(source, folder), **theirs}, arguments.runs)
        for name, (cpu, peak) in found.items():
            print(f"{name:12}{cpu:8.2f} s of CPU {peak:8.0f} MB", file=sys.stderr)
        ratios = {name: found[name][0] / found["ours"][0] for name in theirs}
        return report(
            [(f"times less CPU than {name}", f"{ratio:.1f}", f"{GOALS[name]:.0f}", ratio >= GOALS[name])
             for name, ratio in ratios.items()]
        )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
