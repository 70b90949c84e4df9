"""A job that looks like a training from outside: the contract's events, checkpoints, stop, resume, an adapter.

It can be a run of its own, or stand where the training environment's interpreter is expected:

    python training_job.py [-m finetune.train …] --checkpoints DIR [--steps 20] [--seconds 0.02]
        [--fail-at STEP] [--say FILE] [--wait-for FILE] [--answers] [--output ADAPTER_DIR --name NAME]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

from engines.contract import statefiles
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested, write_result


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--fail-at", type=int, default=0)
    parser.add_argument("--say", type=Path, help="print this file first")
    parser.add_argument("--wait-for", type=Path, help="do not end before this file is there")
    parser.add_argument("--answers", action="store_true", help="sample answers at each evaluation")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--name", default="")
    return parser.parse_known_args()[0]


def save_adapter(output: Path, name: str, loss: float) -> None:
    final = output / "final"
    final.mkdir(parents=True)
    (final / "adapter_model.safetensors").write_bytes(b"\0" * 1000)
    statefiles.write_json(final / "adapter_config.json", {"r": 8})
    card = {"name": name, "base_model": "stand-in", "created_at": time.time(), "figures": {"loss": loss}}
    (output / "card.json").write_text(json.dumps(card))
    (output.parent / ".touched").touch()


def main() -> None:
    given = arguments()
    given.checkpoints.mkdir(parents=True, exist_ok=True)
    first = max((int(path.name) for path in given.checkpoints.iterdir()), default=0)
    emit("phase", name="load", text="loading the model")
    if given.say:
        sys.stdout.buffer.write(given.say.read_bytes())
    emit("train", total_steps=given.steps, first_step=first, epochs=2.0, rows=149, eval_rows=17)
    loss, step = 0.0, first
    while step < given.steps or (given.wait_for and not given.wait_for.exists()):
        time.sleep(given.seconds)
        step = min(step + 1, given.steps)
        loss = 2 + 3 * math.exp(-step / (given.steps / 3)) + 0.2 * math.sin(step * 1.7)
        epoch = 2 * step / given.steps
        print(f"step {step} took {given.seconds} s", flush=True)
        emit("metrics", step=step, epoch=epoch, loss=loss, learning_rate=2e-4, grad_norm=1.0, tokens_per_second=140.0)
        if step % max(1, given.steps // 8) == 0:
            emit("metrics", step=step, epoch=epoch, eval_loss=loss + 0.15)
            if given.answers:
                emit("sample", step=step, prompt="Tea?", answer=f"cup {step}\n~")
        if step == given.fail_at and first == 0:
            (given.checkpoints / str(step)).touch()
            cause = "out of memory: tried to allocate 2 GB"
            emit("error", code="failed", cause=cause, next_step="Lower the batch size.")
            sys.exit(1)
        if stop_requested():
            (given.checkpoints / str(step)).touch()
            emit("checkpoint", step=step, path=str(given.checkpoints / str(step)))
            write_result("stopped", steps=step, loss=loss)
            return
    if given.output:
        save_adapter(given.output, given.name, loss)
    write_result("done", steps=given.steps, loss=loss, eval_loss=loss + 0.15, seconds=1.0)


if __name__ == "__main__":
    main()
