"""What ftui adds to a training: before its first step, and at every step.

    python -m benchmarks.training_overhead [--steps 12] [--runs 3] [--model FOLDER]

The start is the processor time from `ftui llm train` (command line, supervisor, script, everything they import)
to the first step's figures in the log. The overhead is the CPU time per real token of that run, supervisor
included, against a bare loop of the same computation: `finetune.fast`, AdamW, gradient clipping,
no trainer, no callbacks, no events. Run in turn, medians. Ends with 1 if a goal is missed.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.one_training import (
    ROWS_PER_STEP,
    Measured,
    arguments_of,
    cpu_seconds,
    measure,
    peak_bytes,
    sample_config,
    sample_rows,
    tokens_of_steps,
    with_model,
)
from benchmarks.terminal import report
from engines.contract.events import emit
from engines.llm import LLMEngine
from engines.workspace import Workspace

MOST_CPU_TO_START = 12.0
MOST_OVERHEAD = 0.15


def supervised(home: Path, dataset: Path, config: Path, name: str, steps: int) -> Measured:
    """A run of the real command line, seen from outside: the CPU time of the job and of its supervisor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    command = [
        sys.executable, "-m", "ftui", "llm", "train", str(dataset), "--config", str(config), "--name", name,
        "--detach", "--json", "--home", str(home),
    ]  # fmt: skip
    started = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    engine = LLMEngine(Workspace(home))
    run = engine.runs.get(started["id"])
    marks: list[tuple[float, float]] = []
    losses: list[float] = []
    peak = 0
    while len(marks) < steps:
        time.sleep(0.01)
        seen = [json.loads(line) for line in run.log.read_text().splitlines() if line.startswith('{"event": "metrics"')]
        seen = [event for event in seen if "loss" in event]
        status = run.status()
        if status.ended and len(seen) < steps:
            raise RuntimeError(run.log.read_text()[-3000:])
        processes = json.loads((run.folder / "status.json").read_text())
        for event in seen[len(marks) :]:
            used = cpu_seconds(processes["pid"]) + cpu_seconds(processes["supervisor"])
            marks.append((time.monotonic() - began, spent + used))
            losses.append(event["loss"])
            peak = peak_bytes(processes["pid"])
    engine.stop(run, 5)
    engine.runs.wait(run, 60)
    return Measured(marks, losses, peak)


def bare_loop(model: str, folder: Path, steps: int) -> None:
    """The same rows in the same order through the same computation, and nothing else."""
    import torch
    import transformers
    from peft import get_peft_model

    from engines.config.families import USUAL
    from finetune import base_model, fast, methods
    from finetune.fast.packs import Row

    config = sample_config(steps)
    transformers.set_seed(config.seed)
    base_model.set_threads()
    loaded = base_model.load_model(model, "cpu", base_model.choose_precision("auto", "cpu"))
    adapted = get_peft_model(loaded, methods.adapter_config(config, USUAL))
    data = json.loads((folder / "rows.json").read_text())
    rows = [Row(torch.tensor(a), torch.tensor(b)) for a, b in zip(data["input_ids"], data["labels"], strict=True)]
    precision = base_model.choose_precision("auto", "cpu")
    step = fast.prepare(adapted, rows, batch_size=1, rows_per_step=ROWS_PER_STEP, precision=precision)
    assert step is not None
    adapted.train()
    optimizer = torch.optim.AdamW(step.parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    order: list[int] = []
    generator = torch.Generator().manual_seed(config.seed)
    for number in range(1, steps + 1):
        if len(order) < ROWS_PER_STEP:
            order = torch.randperm(len(rows), generator=generator).tolist()
        batch, order = [rows[at] for at in order[:ROWS_PER_STEP]], order[ROWS_PER_STEP:]
        items = sum(int((row.labels[1:] != -100).sum()) for row in batch)
        loss = step.gradients(batch, items, lambda loss: loss.backward())
        torch.nn.utils.clip_grad_norm_(step.parameters, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        emit("metrics", step=number, loss=float(loss))


def compare(steps: int, runs: int, rows_are: str, folder: Path, model: Path) -> int:
    # A run ends with its adapter: ten steps more, so that the last one measured is an ordinary one.
    config = sample_config(steps + 10).model_copy(update={"base_model": str(model)})
    dataset = sample_rows(folder, model, config, rows_are)
    (folder / "config.json").write_text(config.model_dump_json())
    tokens = tokens_of_steps(folder, config.seed, steps)
    bare = [sys.executable, "-m", "benchmarks.training_overhead", "--bare", str(folder), "--model", str(model)]
    ours, plain = [], []
    for number in range(runs):
        ours.append(supervised(folder / "home", dataset, folder / "config.json", f"run-{number}", steps))
        plain.append(measure([*bare, "--steps", str(steps)], steps))
    start = statistics.median(one.steps[0][1] for one in ours)
    per_token = [statistics.median(1 / one.speeds(tokens)[1] for one in all_) for all_ in (ours, plain)]
    overhead = per_token[0] / per_token[1] - 1
    print(f"CPU per real token: {per_token[0] * 1e3:.2f} ms under ftui, {per_token[1] * 1e3:.2f} ms in a bare loop")
    return report(
        [
            ("CPU time from the key press to the first step", f"{start:.1f} s", f"{MOST_CPU_TO_START:.0f} s",
             start < MOST_CPU_TO_START),
            ("added to a step by trainer, events and supervisor", f"{overhead:.0%}", f"{MOST_OVERHEAD:.0%}",
             overhead <= MOST_OVERHEAD),
        ]
    )  # fmt: skip


def main() -> int:
    arguments = arguments_of(__doc__, "--bare").parse_args()
    if arguments.bare:
        bare_loop(str(arguments.model), arguments.bare, arguments.steps)
        return 0
    return with_model(arguments, partial(compare, arguments.steps, arguments.runs, arguments.rows))


if __name__ == "__main__":
    raise SystemExit(main())
