"""A stand-in for a trainer: steps, checkpoints that count once they are complete, events, a cooperative stop.

    python -S job.py --steps 40 --seconds 0.01 --every 10 --busy FILE [--mode MODE]

Before step N it waits while there is a file hold-N beside FILE, and shows by the file's time that it does.
The loss of a step depends on all steps before, through the checkpoint, so a wrong resume shows.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engines.contract import statefiles
from engines.contract.events import emit
from engines.contract.run_protocol import run_dir, run_script, stop_requested, write_result

MODES = ("plain", "family", "stubborn", "deaf", "launcher", "crash", "exit", "segfault", "chatty")
CHANGE = 7  # the step at which `crash`, `exit` and `segfault` happen, in the first attempt


def next_state(state: int, step: int) -> int:
    return zlib.crc32(f"{state} {step}".encode())


def loss_of(state: int) -> float:
    return state / 2**32


def newest_checkpoint(folder: Path) -> tuple[int, int]:
    """(step, state) of the newest complete checkpoint; (0, 0) if there is none."""
    marks = [statefiles.read_json(mark) for mark in folder.glob("checkpoint-*/.complete")]
    return max(((mark["step"], mark["state"]) for mark in marks), default=(0, 0))


def save(folder: Path, step: int, state: int) -> None:
    checkpoint = folder / f"checkpoint-{step}"
    try:
        checkpoint.mkdir(parents=True, exist_ok=True)
        statefiles.write_bytes(checkpoint / "weights", os.urandom(20_000))
        statefiles.write_json(checkpoint / ".complete", {"step": step, "state": state})
    except OSError as error:
        emit("warning", text=f"no checkpoint at step {step}: {error.strerror}")
        return
    emit("checkpoint", step=step, path=str(checkpoint))


def claim(busy: Path) -> None:
    """Be the only trainer of the device, or leave word that there were two."""
    fd = os.open(busy, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        busy.with_name("two-trainers").write_text(str(run_dir()))
        sys.exit("two trainers at the same time")


def have_a_family() -> None:
    """Two workers that share our descriptors, and a daemon in a session of its own."""
    for _ in range(2):
        if os.fork() == 0:
            while True:
                time.sleep(1)
    subprocess.Popen(["sleep", "1000"], start_new_session=True)


def wait_before(step: int, folder: Path) -> None:
    hold = folder / f"hold-{step}"
    while hold.exists() and not stop_requested():
        try:
            os.utime(hold, (0, 0))
        except FileNotFoundError:
            return
        time.sleep(0.01)


def go_wrong(mode: str) -> None:
    if mode == "crash":
        raise ValueError("bad row 7")
    if mode == "exit":
        print("the data is not to my liking")
        sys.exit(3)
    if mode == "segfault":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)


def train(options: argparse.Namespace) -> None:
    folder = (run_dir() or Path.cwd()) / "checkpoints"
    attempt = int(os.environ["FTUI_ATTEMPT"])
    step, state = newest_checkpoint(folder)
    emit("train", total_steps=options.steps, first_step=step)
    while step < options.steps:
        step += 1
        wait_before(step, options.busy.parent)
        state = next_state(state, step)
        print(f"L {attempt} {step}" + " …" * 200 * (options.mode == "chatty"))
        emit("metrics", step=step, loss=loss_of(state))
        if step % options.every == 0:
            save(folder, step, state)
        if step == CHANGE and attempt == 1:
            go_wrong(options.mode)
        if stop_requested() and options.mode not in ("stubborn", "deaf"):
            save(folder, step, state)
            return write_result("stopped", step=step)
        time.sleep(options.seconds)
    save(folder, step, state)
    print(f"END {attempt}")
    write_result("done", steps=step)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.01)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--busy", type=Path, required=True)
    parser.add_argument("--mode", choices=MODES, default="plain")
    options = parser.parse_args()
    if options.mode == "launcher":  # like torchrun: the trainer is a child that inherits no descriptor of ours
        argv = [sys.executable, "-S", __file__, *(word for word in sys.argv[1:] if word not in ("--mode", "launcher"))]
        sys.exit(subprocess.call(argv))
    if options.mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    claim(options.busy)
    if options.mode in ("family", "stubborn"):
        have_a_family()
    train(options)


if __name__ == "__main__":
    run_script(main)
