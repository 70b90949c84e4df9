"""A real sweep of the embedded model on the bundled sample, as docs/sweeps.md shows it.

    python -m benchmarks.sweep [--home DIR] [--steps 12]

Four learning rates, 4 rows a step; some minutes on two cores. Prints the table of trials.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

SPACE = """
space:
  learning_rate: [3.0e-3, 1.0e-3, 1.0e-4, 1.0e-5]
preset: demo
config: {{max_steps: {steps}, save_steps: 1000}}
sampler: grid
evaluations: 3
pruner_startup: 2
"""


def ftui(home: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "ftui", *words, "--home", str(home)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="A sweep of the embedded model on the bundled sample.")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    from engines.llm import SAMPLE

    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        space = Path(temporary) / "space.yaml"
        space.write_text(SPACE.format(steps=arguments.steps))
        ftui(home, "llm", "prepare", str(SAMPLE), "--name", "sample")
        ftui(home, "llm", "sweep", str(space), "--dataset", "sample", "--name", "tuned")


if __name__ == "__main__":
    main()
