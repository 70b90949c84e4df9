"""Train a LoRA adapter on a dataset of dialogs.

    python -m finetune.train --dataset D_dataset.jsonl --model FOLDER --checkpoints DIR --output ADAPTER_DIR \
        [--config CONFIG.json] [--name NAME]

Loss on the assistant's turns alone, each with its end-of-turn token. Every `save_steps` a
checkpoint with optimizer, schedule and random state; started again it goes on from the
newest complete one and gives the very losses of a run that was never interrupted. The
adapter appears at ADAPTER_DIR/final whole or not at all.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

from engines import checkpoints, fingerprints, statefiles
from engines.config import TrainConfig, load
from engines.errors import UserError
from engines.estimate import check_steps, optimizer_steps
from engines.events import emit
from engines.run_protocol import run_script, stop_requested, write_result
from finetune import base_model, rows

KEPT_CHECKPOINTS = 2  # at least two: while one is written the one before must stand


def encode_parts(dataset: Path, tokenizer: Any, config: TrainConfig) -> tuple[rows.Encoded, rows.Encoded]:
    """The rows to train on and the held-out ones; what was cut or dropped is said."""
    train, held_out = rows.read_parts(dataset, config.eval_share)
    parts = []
    for title, dialogs in (("training", train), ("held-out", held_out)):
        encoded = rows.encode(dialogs, tokenizer, config.max_seq_length)
        if encoded.shortened or encoded.dropped:
            emit(
                "warning",
                text=f"{title}: of {len(dialogs)} dialogs {encoded.shortened} were shortened to whole turns and "
                f"{encoded.dropped} left out, to fit {config.max_seq_length} tokens",
            )
        parts.append(encoded)
    if not parts[0].input_ids:
        raise UserError("bad_input", "no dialog is left to train on", "Raise max_seq_length or lower eval_share.")
    return parts[0], parts[1]


def training_arguments(config: TrainConfig, device: str, precision: str, folder: Path, has_eval: bool) -> Any:
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_epochs,
        max_steps=config.max_steps or -1,
        warmup_steps=config.warmup_ratio,  # a float below 1 is a share of all steps
        weight_decay=config.weight_decay,
        activation_checkpointing=config.gradient_checkpointing,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device == "cpu",
        logging_strategy="steps",
        logging_steps=config.logging_steps,
        logging_first_step=True,
        save_steps=config.save_steps,
        save_total_limit=KEPT_CHECKPOINTS,
        eval_strategy="steps" if has_eval else "no",
        eval_steps=config.save_steps,
        prediction_loss_only=True,
        seed=config.seed,
        data_seed=config.seed,
        max_length=None,  # rows are cut at turns before
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=device != "cpu",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )


def adapter_config(config: TrainConfig) -> Any:
    from peft import LoraConfig

    targets: list[str] | str = config.target_modules
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        bias="none",
        task_type="CAUSAL_LM",
    )


def set_seed(config: TrainConfig) -> None:
    """Fix the adapter's first weights, dropout and everything else that is drawn."""
    import transformers

    transformers.set_seed(config.seed)


def build_trainer(
    model: Any, tokenizer: Any, config: TrainConfig, arguments: Any, parts: tuple[rows.Encoded, rows.Encoded], data: str
) -> Any:
    """The trainer with the adapter that `config` describes. data: the dataset's fingerprint."""
    from finetune.trainer import Trainer

    return Trainer(model, tokenizer, arguments, adapter_config(config), parts, data)


def resume_point(folder: Path, data: str) -> Path | None:
    """The checkpoint to go on from. Raises UserError if it belongs to other data."""
    newest = checkpoints.newest_complete(folder)
    mark = checkpoints.read_mark(newest) if newest else None
    if mark is not None and mark.get("data") != data:
        raise UserError(
            "conflict",
            "the dataset has changed since this run's last checkpoint",
            "Start a new run, or put the old dataset back.",
        )
    return newest


def check_disk(trainer: Any, folder: Path) -> None:
    """Refuse to start what cannot be saved: adapter and optimizer, for each checkpoint kept and the final one."""
    trainable = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    needed = trainable * 12 * (KEPT_CHECKPOINTS + 1) + trainable * 4 + (8 << 20)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            "not_ready",
            f"the checkpoints need {needed / 1e6:.0f} MB, but {folder} has {free / 1e6:.0f} MB free",
            "Free some space, or move the workspace with --home.",
        )


def save_adapter(trainer: Any, output: Path, card: dict[str, Any]) -> None:
    """Write the adapter and its card, whole or not at all; on a full disk wait for space or a stop."""
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    while True:
        try:
            shutil.rmtree(partial, ignore_errors=True)
            statefiles.make_private_dir(partial / "final")
            trainer.model.save_pretrained(partial / "final")
            trainer.processing_class.save_pretrained(partial / "final")
            checkpoints.mark_complete(partial / "final")
            (partial / "final" / checkpoints.MARK).unlink()
            statefiles.write_json(partial / "card.json", card)
            os.rename(partial, output)
            statefiles.sync_dir(output.parent)
            return
        except Exception as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not checkpoints.is_disk_full(error) or stop_requested():
                raise
            emit("warning", text="the disk is full: the adapter waits to be saved; free some space")
            time.sleep(5)


def train(arguments: argparse.Namespace) -> None:
    config = load(TrainConfig, arguments.config)
    set_seed(config)
    device = base_model.choose_device(config.device)
    precision = base_model.choose_precision(config.precision, device)
    quantization = base_model.choose_quantization(config.quantization, device)
    threads = base_model.set_threads()
    emit("phase", name="load", text=f"loading {arguments.model} on {device}, {precision}, quantization {quantization}")
    tokenizer = base_model.load_tokenizer(arguments.model)
    parts = encode_parts(arguments.dataset, tokenizer, config)
    warning = check_steps(len(parts[0].input_ids), config)
    if warning:
        emit("warning", text=warning)
    model = base_model.load_model(arguments.model, device, precision, quantization)
    data = rows.fingerprint(arguments.dataset)
    folder = statefiles.make_private_dir(arguments.checkpoints)
    resume = resume_point(folder, data)
    trainer = build_trainer(
        model,
        tokenizer,
        config,
        training_arguments(config, device, precision, folder, bool(parts[1].input_ids)),
        parts,
        data,
    )
    check_disk(trainer, folder)
    emit(
        "train",
        total_steps=optimizer_steps(len(parts[0].input_ids), config),
        first_step=checkpoints.step_of(resume) if resume else 0,
        epochs=config.num_epochs,
        rows=len(parts[0].input_ids),
        eval_rows=len(parts[1].input_ids),
        tokens_per_epoch=parts[0].tokens,
        learned_tokens_per_epoch=parts[0].learned_tokens,
        device=device,
        precision=precision,
        quantization=quantization,
        threads=threads,
    )
    began = time.time()
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    finish(trainer, arguments, config, data, parts, time.time() - began)


def finish(trainer: Any, arguments: Any, config: TrainConfig, data: str, parts: Any, seconds: float) -> None:
    """Evaluate, save and report; or report that the run was stopped before its end."""
    state = trainer.state
    if state.global_step < state.max_steps:
        emit("phase", name="stopped", text=f"stopped at step {state.global_step} of {state.max_steps}")
        write_result("stopped", step=state.global_step, total_steps=state.max_steps)
        return
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    held_out = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
    if parts[1].input_ids and (not held_out or state.log_history[-1].get("step") != state.global_step):
        held_out.append(trainer.evaluate()["eval_loss"])
    figures = {
        "steps": state.global_step,
        "loss": losses[-1] if losses else None,
        "eval_loss": held_out[-1] if held_out else None,
        "seconds": round(seconds, 1),
    }
    card = {
        "name": arguments.name or arguments.output.name,
        "base_model": arguments.model,
        "base_identity": fingerprints.of_model(arguments.model),
        "dataset": {
            "name": arguments.dataset.name,
            "path": str(arguments.dataset.absolute()),
            "fingerprint": data,
            "rows": len(parts[0].input_ids),
        },
        "run": os.environ.get("FTUI_RUN_DIR", "").rpartition("/")[2],
        "config": config.model_dump(),
        "figures": figures,
        "created_at": time.time(),
    }
    emit("phase", name="save", text=f"saving the adapter {arguments.output.name}")
    save_adapter(trainer, arguments.output, card)
    write_result("done", adapter=arguments.output.name, **figures)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a LoRA adapter on a dataset of dialogs.")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--model", required=True, help="folder, GGUF file or hub name")
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the adapter's folder, not there yet")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--name")
    train(parser.parse_args())


if __name__ == "__main__":
    run_script(main)
