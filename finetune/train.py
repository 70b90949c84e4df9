"""Train an adapter, or all weights, on a dataset of dialogs.

    python -m finetune.train --dataset D_dataset.jsonl --model FOLDER --checkpoints DIR --output OUTPUT \
        [--config CONFIG.json] [--name NAME]

Loss on the assistant's turns alone, each with its end-of-turn token. Every `save_steps` a
checkpoint with optimizer, schedule and random state; started again it goes on from the
newest complete one and gives the very losses of a run that was never interrupted. The
adapter appears at OUTPUT/final (a model, with method full, at OUTPUT) whole or not at all.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import time
from pathlib import Path
from typing import Any

from engines.config.job import load
from engines.config.train import TrainConfig
from engines.contract import checkpoints, fingerprints
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from finetune import gauges, saving
from finetune.prepared import Prepared, prepare

BEGAN = time.monotonic()  # of the process, but for the interpreter's start


def train(arguments: argparse.Namespace) -> None:
    gc.disable()  # what is imported and loaded stays; looking through it again and again costs a second
    config = load(TrainConfig, arguments.config)
    prepared = prepare(arguments.dataset, arguments.model, config, arguments.checkpoints)
    resume = checkpoints.to_resume(arguments.checkpoints, prepared.data)
    reporter = prepared.trainer.reporter
    gauges.reset_peak()
    if resume:
        reporter.seconds_before = (checkpoints.read_mark(resume) or {}).get("seconds", 0.0)
    else:
        probe_longest(prepared.trainer)
    start = time.monotonic() - BEGAN
    emit("train", first_step=checkpoints.step_of(resume) if resume else 0, **prepared.told)
    gc.freeze()
    gc.enable()
    prepared.trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    finish(prepared, arguments, config, reporter.seconds(), start)


def probe_longest(trainer: Any) -> None:
    """Run the longest rows first, side by side as in a step, and let the watch know how fast it went."""
    from finetune import longest_batch

    emit("phase", name="probe", text="trying the longest batch")
    probe = longest_batch.run(trainer, quick=trainer.args.device.type == "cpu")
    trainer.reporter.watch.seconds_per_token = probe.seconds_per_token
    emit("probe", tokens=probe.tokens, seconds=round(probe.seconds, 4), memory=probe.memory)


def finish(
    prepared: Prepared, arguments: argparse.Namespace, config: TrainConfig, seconds: float, start: float
) -> None:
    """Evaluate, save and report; or report that the run was stopped before its end.

    seconds: of the training; start: seconds of this attempt before its first step.
    """
    trainer, parts = prepared.trainer, prepared.parts
    state = trainer.state
    early = trainer.reporter.ended_early
    if state.global_step < state.max_steps and not early:
        emit("phase", name="stopped", text=f"stopped at step {state.global_step} of {state.max_steps}")
        write_result("stopped", step=state.global_step, total_steps=state.max_steps)
        return
    if parts[1].input_ids and trainer.eval_loss_at(state.global_step) is None:
        trainer.evaluate()
    pace = pace_of(prepared, start)
    step, eval_loss = take_best(trainer, config)
    check_finite(trainer, eval_loss)
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry and entry["step"] <= step]
    figures = {
        "steps": state.global_step,
        "taken_step": step,
        "loss": losses[-1] if losses else None,
        "eval_loss": eval_loss,
        "tokens_per_second": trainer.reporter.mean_speed(),
        "seconds": seconds,
        "memory": gauges.peak_memory(trainer.args.device.type),
    }
    card = {
        "name": arguments.name or arguments.output.name,
        "base_model": arguments.model,
        "base_identity": fingerprints.of_model(arguments.model),
        "dataset": {
            "name": arguments.dataset.name,
            "path": str(arguments.dataset.absolute()),
            "fingerprint": prepared.data,
            "rows": len(parts[0].input_ids),
        },
        "run": os.environ.get("FTUI_RUN_DIR", "").rpartition("/")[2],
        "config": config.model_dump(),
        "figures": figures,
        "created_at": time.time(),
    }
    emit("phase", name="save", text=f"saving {arguments.output.name}")
    saving.save_result(trainer, arguments.output, card, adapter=config.method == "lora")
    named = {"adapter" if config.method == "lora" else "model": arguments.output.name}
    write_result("done", **named, **figures, pace=pace, **({"ended_early": early} if early else {}))


def pace_of(prepared: Prepared, start: float) -> dict[str, float | None]:
    """What a like training is expected to take, see engines/expected_time.py. start: seconds before the first step."""
    reporter, (training, held_out) = prepared.trainer.reporter, prepared.parts
    rest = reporter.attempt_seconds() - reporter.step_seconds - reporter.evaluation_seconds - reporter.answer_seconds
    evaluated = reporter.evaluations * held_out.tokens
    return {
        "row_tokens": training.tokens / len(training.input_ids),
        "start_seconds": start,
        "save_seconds": rest / max(1, reporter.saves),
        "answer_seconds": reporter.answer_seconds / max(1, reporter.evaluations),
        "evaluation_tokens_per_second": evaluated / reporter.evaluation_seconds if evaluated else None,
    }


def take_best(trainer: Any, config: TrainConfig) -> tuple[int, float | None]:
    """Put the weights of the best checkpoint into the model, if they are better than the last ones.

    Returns the step whose weights the model has now, and its held-out loss.
    """
    step = trainer.state.global_step
    last = trainer.eval_loss_at(step)
    best = checkpoints.best(Path(trainer.args.output_dir)) if config.use_best else None
    if best is None or (last is not None and last <= best[1]):
        return step, last
    trainer._load_from_checkpoint(str(best[0]))
    taken = checkpoints.step_of(best[0])
    emit("phase", name="best", text=f"taking step {taken}: its held-out loss of {best[1]:.4f} is the lowest")
    return taken, best[1]


def check_finite(trainer: Any, eval_loss: float | None) -> None:
    """Raises UserError if what was learned is worth nothing: weights, or the held-out loss, that are no numbers."""
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    if all(bool(parameter.isfinite().all()) for parameter in trained) and math.isfinite(eval_loss or 0):
        return
    raise UserError(
        "failed",
        "the training went wrong: what it learned or its held-out loss is not a number (NaN) any more",
        "Train again with a lower learning_rate, a larger warmup_ratio, or precision bf16 or fp32.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an adapter, or all weights, on a dataset of dialogs.")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--model", required=True, help="folder, GGUF file or hub name")
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the folder of what comes of it, not there yet")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--name")
    train(parser.parse_args())


if __name__ == "__main__":
    run_script(main)
