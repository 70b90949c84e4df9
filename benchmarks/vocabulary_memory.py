"""Peak memory of the loss over a vocabulary of 150,000, in chunks and whole, as the row grows.

    python -m benchmarks.vocabulary_memory [--lengths 256 1024]

Each measurement is a process of its own: a frozen head of 150,000 × 64 in fp32, all positions
learned, loss and gradient. Printed is the peak above what the process holds before. Ends with
1 if the chunked loss grows with the length by more than its states and their gradient do, twice over.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.terminal import report

VOCABULARY, WIDTH = 150_000, 64


def peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def one(kind: str, length: int) -> None:
    """Print the bytes that loss and gradient of `length` positions need at their peak."""
    import torch

    from finetune.fast.loss import chunked_loss

    torch.manual_seed(1)
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False).requires_grad_(False)
    states, targets = torch.randn(length, WIDTH, requires_grad=True), torch.randint(0, VOCABULARY, (length,))
    before = peak()
    if kind == "chunked":
        loss = chunked_loss(states, targets, head)
    else:
        loss = torch.nn.functional.cross_entropy(head(states).float(), targets, reduction="sum")
    loss.backward()
    print(peak() - before)


def measured(kind: str, length: int) -> float:
    """In MB."""
    command = [sys.executable, "-m", "benchmarks.vocabulary_memory", "--one", kind, str(length)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], int(arguments.one[1]))
        return 0
    lengths = sorted(arguments.lengths)
    chunked = {length: measured("chunked", length) for length in lengths}
    print(f"vocabulary of {VOCABULARY}, width {WIDTH}: peak of loss and gradient")
    for length in lengths:
        whole = measured("whole", length)
        print(f"{length:6} tokens  chunked {chunked[length]:7.0f} MB   whole logits {whole:7.0f} MB")
    growth = chunked[lengths[-1]] - chunked[lengths[0]]
    allowed = 4 * (lengths[-1] - lengths[0]) * WIDTH * 4 / 1e6 + 16
    return report([("growth of the chunked loss", f"{growth:.0f} MB", f"{allowed:.0f} MB", growth <= allowed)])


if __name__ == "__main__":
    raise SystemExit(main())
