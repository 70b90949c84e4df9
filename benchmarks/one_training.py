"""What the benchmarks of training share: the job, how a training is watched from outside, what two are compared by.

The job: the rows of the bundled sample in one order, 4 rows to an optimizer step, LoRA of rank 8 on q, k, v,
learning rate 1e-3, the embedded model. Figures count real tokens, no padding, from the second step on. The sample's
dialogs are all short, of 54 to 177 tokens; with --rows mixed one to four of them make a row, so that lengths differ
as they do in chats, from 54 to 461 tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.terminal import TICKS
from engines.config.train import TrainConfig, preset

ROWS_PER_STEP = 4
DATASET = "sample_dataset.jsonl"
WARM_STEPS = 2  # not counted
DIALOGS_OF_ROW = (1, 1, 1, 2, 2, 3, 4)  # drawn from, for mixed rows
MOST_LOSS_DIFFERENCE = 0.05  # of mean losses over the run, in nats


def arguments_of(description: str | None, *hidden: str) -> argparse.ArgumentParser:
    """The command line of each: steps, runs, model; `hidden` ones take a path, for a process that it starts itself."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a folder with the embedded model; made when not given")
    parser.add_argument("--rows", choices=("sample", "mixed"), default="sample")
    for name in hidden:
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    return parser


@dataclass
class Measured:
    """One training seen from outside: after each step (seconds, CPU seconds since its start), its loss; peak bytes."""

    steps: list[tuple[float, float]]
    losses: list[float]
    peak: int

    def speeds(self, tokens: list[int]) -> tuple[float, float]:
        """Real tokens per second and per CPU second, from the end of the warm steps. tokens: of each step."""
        done = sum(tokens[WARM_STEPS : len(self.steps)])
        (wall0, cpu0), (wall1, cpu1) = self.steps[WARM_STEPS - 1], self.steps[-1]
        return done / (wall1 - wall0), done / (cpu1 - cpu0)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def metrics(stream: Any) -> Iterator[dict[str, Any]]:
    """The metrics events of training steps, as they are printed."""
    for line in stream:
        if line.startswith('{"event"'):
            event = json.loads(line)
            if event.get("event") == "metrics" and "loss" in event:
                yield event


def measure(command: list[str], steps: int, env: dict[str, str] | None = None) -> Measured:
    """Run a training until its last step. Raises RuntimeError if it ends before."""
    began = time.monotonic()
    errors = tempfile.TemporaryFile("w+")
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(env or {})}
    )
    marks, losses, peak = [], [], 0
    try:
        for event in metrics(child.stdout):
            marks.append((time.monotonic() - began, cpu_seconds(child.pid)))
            losses.append(event["loss"])
            peak = peak_bytes(child.pid)
            if event["step"] >= steps:
                break
    finally:
        child.kill()
        child.communicate()
    if len(marks) < steps:
        errors.seek(0)
        raise RuntimeError(f"{command} ended after {len(marks)} steps:\n{errors.read()[-3000:]}")
    return Measured(marks, losses, peak)


def sample_config(steps: int) -> TrainConfig:
    """The preset of the demo, without evaluation or checkpoints on the way, and without a warm-up: of a few steps
    others make one with the rate 0."""
    changes = {"max_steps": steps, "save_steps": 10_000, "eval_share": 0.0, "warmup_ratio": 0.0}
    return preset("demo").model_copy(update=changes)


def sample_rows(folder: Path, model: Path, config: TrainConfig, rows_are: str = "sample") -> Path:
    """The bundled sample as a dataset, in `folder`, and beside it its encoded rows as JSON. rows_are: see --rows."""
    from finetune import base_model, rows

    sample = Path(__file__).resolve().parent.parent / "finetune" / "sample"
    dataset = folder / DATASET
    subprocess.run(
        [sys.executable, "-m", "finetune.prepare_dataset", sample / "result.json", dataset],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    if rows_are == "mixed":
        dataset.write_text("".join(json.dumps(row) + "\n" for row in mixed(dataset.read_text().splitlines())))
    encoded = rows.encode(rows.read_dialogs(dataset), base_model.load_tokenizer(str(model)), config.max_seq_length)
    (folder / "rows.json").write_text(json.dumps({"input_ids": encoded.input_ids, "labels": encoded.labels}))
    return dataset


def mixed(lines: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of several dialogs each, in the order of the dataset."""
    drawn, dialogs = random.Random(1), [json.loads(line) for line in lines]
    while dialogs:
        count = drawn.choice(DIALOGS_OF_ROW)
        some, dialogs = dialogs[:count], dialogs[count:]
        yield {**some[0], "messages": [turn for dialog in some for turn in dialog["messages"]]}


def tokens_of_steps(folder: Path, seed: int, steps: int) -> list[int]:
    """Real tokens of each step: the order in which a Trainer draws its rows."""
    import torch
    from transformers.trainer_utils import set_seed

    lengths = [len(ids) for ids in json.loads((folder / "rows.json").read_text())["input_ids"]]
    set_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    found: list[int] = []
    while len(found) < steps:
        order = torch.randperm(len(lengths), generator=generator).tolist()
        found += [
            sum(lengths[row] for row in order[at : at + ROWS_PER_STEP]) for at in range(0, len(order), ROWS_PER_STEP)
        ]
    return found[:steps]


def our_command(folder: Path, model: Path, config: TrainConfig, run: int) -> list[str]:
    """Our script on the dataset of `folder`."""
    (folder / "config.json").write_text(config.model_dump_json())
    return [
        sys.executable, "-m", "finetune.train", "--dataset", str(folder / DATASET), "--model", str(model),
        "--checkpoints", str(folder / f"checkpoints-{run}"), "--output", str(folder / f"adapter-{run}"),
        "--config", str(folder / "config.json"),
    ]  # fmt: skip


def interleaved(
    folder: Path, model: Path, steps: int, runs: int, other: str, command: list[str]
) -> tuple[dict[str, list[Measured]], list[int]]:
    """Runs of our script and of `command`, in turn, by name; and the real tokens of each step.

    folder: has been filled by `sample_rows`.
    """
    config = sample_config(steps)
    found: dict[str, list[Measured]] = {other: [], "ftui": []}
    for run in range(runs):
        found[other].append(measure(command, steps))
        found["ftui"].append(measure(our_command(folder, model, config, run), steps))
    return found, tokens_of_steps(folder, config.seed, steps)


@dataclass(frozen=True)
class Compared:
    """Ours against another: ratios of real tokens per second and per CPU second; peaks in GB; mean losses in nats."""

    wall: float
    cpu: float
    peaks: dict[str, float]
    loss_difference: float

    def row_of_losses(self) -> tuple[str, str, str, bool]:
        """For `report`: the same was learned."""
        return (
            "mean loss, difference", f"{self.loss_difference:.3f}", f"{MOST_LOSS_DIFFERENCE}",
            self.loss_difference <= MOST_LOSS_DIFFERENCE,
        )  # fmt: skip


def compared(found: dict[str, list[Measured]], tokens: list[int]) -> Compared:
    """Medians over the runs; prints both speeds and loss curves."""
    (other, _), *_ = found.items()
    speeds = {
        name: [statistics.median(values) for values in zip(*(one.speeds(tokens) for one in all_), strict=True)]
        for name, all_ in found.items()
    }
    peaks = {name: statistics.median(one.peak for one in all_) / 1e9 for name, all_ in found.items()}
    means = {name: statistics.mean(all_[0].losses) for name, all_ in found.items()}
    print(f"{len(tokens)} steps, {sum(tokens)} real tokens, {len(found[other])} runs each")
    for name, all_ in found.items():
        wall, cpu = speeds[name]
        print(f"{name}: {wall:.0f} tokens/s, {cpu:.0f} per CPU second, {peaks[name]:.2f} GB")
        print("       losses " + " ".join(f"{loss:.3f}" for loss in all_[0].losses))
    ratios = [speeds["ftui"][at] / speeds[other][at] for at in (0, 1)]
    return Compared(ratios[0], ratios[1], peaks, abs(means["ftui"] - means[other]))


def with_model(arguments: argparse.Namespace, work: Any) -> int:
    """`work(folder, model)` in a temporary folder, with the model asked for or one made in it."""
    with tempfile.TemporaryDirectory() as place:
        model = arguments.model or make_model(Path(place) / "model")
        return int(work(Path(place), model.absolute()))


def make_model(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "finetune.embedded_model", str(folder)], check=True, stdout=subprocess.DEVNULL
    )
    return folder
