"""Training the embedded model, against TRL's SFTTrainer as it comes.

    python -m benchmarks.training [--steps 12] [--runs 3] [--model FOLDER]

Both learn the same rows of the bundled sample in the same order, 4 rows to an optimizer step, LoRA of
rank 8 on q, k, v, learning rate 1e-3. Each run is a process of its own, run in turn; figures are
medians over runs and count real tokens, no padding, from the second step on. Ours is the script that `ftui llm train`
starts, with the preset `demo`. Prints both loss curves; ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.terminal import TICKS, report
from engines.config import TrainConfig, preset

ROWS_PER_STEP = 4
WARM_STEPS = 2  # not counted
LEAST_SPEED = 3.0
LEAST_SPEED_PER_CPU = 2.5
MOST_LOSS_DIFFERENCE = 0.05  # of mean losses over the run, in nats


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
    """The preset of the demo, without evaluation or checkpoints on the way."""
    return preset("demo").model_copy(update={"max_steps": steps, "save_steps": 10_000, "eval_share": 0.0})


def sample_rows(folder: Path, model: Path, config: TrainConfig) -> Path:
    """The bundled sample as a dataset, in `folder`, and beside it its encoded rows as JSON."""
    from finetune import base_model, rows

    sample = Path(__file__).resolve().parent.parent / "finetune" / "sample"
    dataset = folder / "sample_dataset.jsonl"
    subprocess.run(
        [sys.executable, "-m", "finetune.prepare_dataset", sample / "result.json", dataset,
         "--config", sample / "config.json"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    encoded = rows.encode(rows.read_dialogs(dataset), base_model.load_tokenizer(str(model)), config.max_seq_length)
    (folder / "rows.json").write_text(json.dumps({"input_ids": encoded.input_ids, "labels": encoded.labels}))
    return dataset


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


def train_with_trl(model: str, folder: Path, config: TrainConfig, seen: Path | None = None) -> None:
    """TRL's SFTTrainer with its own defaults; what is set is what the job is, and use_cpu, which it needs here."""
    import transformers
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from engines.contract.events import emit

    class Printer(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                emit("metrics", step=state.global_step, loss=logs["loss"])

    transformers.set_seed(config.seed)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=ROWS_PER_STEP,
            max_steps=config.max_steps,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_ratio,
            weight_decay=config.weight_decay,
            seed=config.seed,
            data_seed=config.seed,
            logging_steps=1,
            use_cpu=True,
            report_to=[],
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict(json.loads((folder / "rows.json").read_text())),
        peft_config=LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=config.target_modules,
            task_type="CAUSAL_LM",
        ),
        callbacks=[Printer()],
    )
    trainer.train()


def our_command(folder: Path, dataset: Path, model: Path, config: TrainConfig, run: int) -> list[str]:
    (folder / "config.json").write_text(config.model_dump_json())
    return [
        sys.executable, "-m", "finetune.train", "--dataset", str(dataset), "--model", str(model),
        "--checkpoints", str(folder / f"checkpoints-{run}"), "--output", str(folder / f"adapter-{run}"),
        "--config", str(folder / "config.json"),
    ]  # fmt: skip


def compare(folder: Path, model: Path, steps: int, runs: int) -> int:
    config = sample_config(steps)
    dataset = sample_rows(folder, model, config)
    tokens = tokens_of_steps(folder, config.seed, steps)
    found: dict[str, list[Measured]] = {"TRL": [], "ftui": []}
    trl = [sys.executable, "-m", "benchmarks.training", "--trl", str(folder), "--model", str(model)]
    for run in range(runs):
        found["TRL"].append(measure([*trl, "--steps", str(steps)], steps))
        found["ftui"].append(measure(our_command(folder, dataset, model, config, run), steps))
    speeds = {
        name: [statistics.median(values) for values in zip(*(one.speeds(tokens) for one in all_), strict=True)]
        for name, all_ in found.items()
    }
    peaks = {name: statistics.median(one.peak for one in all_) / 1e9 for name, all_ in found.items()}
    means = {name: statistics.mean(all_[0].losses) for name, all_ in found.items()}
    print(f"{steps} steps, {sum(tokens)} real tokens, {runs} runs each")
    for name, all_ in found.items():
        print(
            f"{name:>5}: {speeds[name][0]:6.0f} tokens/s, {speeds[name][1]:6.0f} per CPU second, {peaks[name]:.2f} GB"
        )
        print("       losses " + " ".join(f"{loss:.3f}" for loss in all_[0].losses))
    wall, cpu = (speeds["ftui"][at] / speeds["TRL"][at] for at in (0, 1))
    difference = abs(means["ftui"] - means["TRL"])
    return report(
        [
            ("tokens per second, against TRL", f"{wall:.2f} times", f"{LEAST_SPEED}", wall >= LEAST_SPEED),
            ("tokens per CPU second", f"{cpu:.2f} times", f"{LEAST_SPEED_PER_CPU}", cpu >= LEAST_SPEED_PER_CPU),
            ("peak memory", f"{peaks['ftui']:.2f} GB", f"{peaks['TRL']:.2f} GB", peaks["ftui"] <= peaks["TRL"]),
            ("mean loss, difference", f"{difference:.3f}", f"{MOST_LOSS_DIFFERENCE}",
             difference <= MOST_LOSS_DIFFERENCE),
        ]
    )  # fmt: skip


def make_model(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "finetune.embedded_model", str(folder)], check=True, stdout=subprocess.DEVNULL
    )
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a folder with the embedded model; made when not given")
    parser.add_argument("--trl", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trl:
        train_with_trl(str(arguments.model), arguments.trl, sample_config(arguments.steps))
        return 0
    with tempfile.TemporaryDirectory() as place:
        model = arguments.model or make_model(Path(place) / "model")
        return compare(Path(place), model.absolute(), arguments.steps, arguments.runs)


if __name__ == "__main__":
    raise SystemExit(main())
