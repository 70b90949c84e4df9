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
import os
import time
from itertools import islice
from pathlib import Path
from typing import Any

from engines import checkpoints, fingerprints, statefiles
from engines.config import TrainConfig, load
from engines.config.families import Family
from engines.errors import UserError
from engines.estimate import check_steps, optimizer_steps
from engines.events import emit
from engines.run_protocol import run_script, write_result
from finetune import base_model, methods, rows, saving
from finetune.gauges import Gauges, peak_memory
from finetune.watch import Watch, evaluations_without_gain

HELD_OUT_QUESTIONS = 2


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


def training_arguments(
    config: TrainConfig, family: Family, device: str, precision: str, folder: Path, has_eval: bool
) -> Any:
    from trl import SFTConfig

    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder.parent / "tensorboard"))
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_epochs,
        max_steps=config.max_steps or -1,
        warmup_steps=config.warmup_ratio,  # a float below 1 is a share of all steps
        lr_scheduler_type=config.lr_schedule,
        optim=methods.optimizer_name(config, family),
        max_grad_norm=config.max_grad_norm,
        weight_decay=config.weight_decay,
        activation_checkpointing=config.gradient_checkpointing,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device == "cpu",
        logging_strategy="steps",
        logging_steps=config.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # what went wrong must be seen
        save_steps=config.save_steps,
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
        report_to=["tensorboard", *([config.report_to] if config.report_to != "none" else [])],
    )


def set_seed(config: TrainConfig) -> None:
    """Fix the adapter's first weights, dropout and everything else that is drawn."""
    import transformers

    transformers.set_seed(config.seed)


def sample_prompts(config: TrainConfig, held_out: list[rows.Dialog]) -> list[str]:
    """What is asked at each evaluation: the config's prompts, else the first held-out questions."""
    if not config.sample_tokens:
        return []
    if config.sample_prompts:
        return config.sample_prompts
    questions = (turn["content"] for dialog in held_out for turn in dialog.messages[:2] if turn["role"] == "user")
    return list(islice(questions, HELD_OUT_QUESTIONS))


def build_trainer(
    model: Any,
    tokenizer: Any,
    config: TrainConfig,
    family: Family,
    arguments: Any,
    parts: tuple[rows.Encoded, rows.Encoded],
    data: str,
    prompts: list[str],
) -> Any:
    """The trainer with the adapter that `config` describes. data: the dataset's fingerprint."""
    from finetune.generate import answer
    from finetune.reporter import Reporter
    from finetune.trainer import Trainer

    def ask(prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        trainer.model.eval()
        return answer(trainer.model, tokenizer, messages, max_new_tokens=config.sample_tokens)

    reporter = Reporter(
        Watch(optimizer_steps(len(parts[0].input_ids), config)),
        Gauges(arguments.device.type),
        patience=config.early_stopping,
        prompts=prompts,
        answer=ask,
    )
    methods.freeze_towers(model, family)
    trainer = Trainer(
        model,
        tokenizer,
        arguments,
        methods.adapter_config(config, family),
        parts,
        data,
        reporter,
        kept=config.keep_checkpoints,
        loss=methods.custom_loss(config.loss) if config.loss else None,
        token_types=family.token_types,
    )
    return trainer


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


def train(arguments: argparse.Namespace) -> None:
    config = load(TrainConfig, arguments.config)
    set_seed(config)
    device = base_model.choose_device(config.device)
    precision = base_model.choose_precision(config.precision, device)
    quantization = base_model.choose_quantization(config.quantization, device) if config.method == "lora" else "none"
    threads = base_model.set_threads()
    emit("phase", name="load", text=f"loading {arguments.model} on {device}, {precision}, quantization {quantization}")
    tokenizer = base_model.load_tokenizer(arguments.model, config.text_template)
    parts = encode_parts(arguments.dataset, tokenizer, config)
    warning = check_steps(len(parts[0].input_ids), config)
    if warning:
        emit("warning", text=warning)
    family = base_model.family(arguments.model)
    weights = "fp32" if config.method == "full" else precision  # what is trained is kept whole
    model = base_model.load_model(arguments.model, device, weights, quantization)
    data = rows.fingerprint(arguments.dataset)
    folder = statefiles.make_private_dir(arguments.checkpoints)
    resume = resume_point(folder, data)
    held_out = rows.read_parts(arguments.dataset, config.eval_share)[1]
    trainer = build_trainer(
        model,
        tokenizer,
        config,
        family,
        training_arguments(config, family, device, precision, folder, bool(parts[1].input_ids)),
        parts,
        data,
        sample_prompts(config, held_out),
    )
    saving.check_disk(trainer, folder, config.keep_checkpoints)
    trainer.speed_up(precision)
    if not resume:
        probe_longest(trainer)
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


def probe_longest(trainer: Any) -> None:
    """Run the longest batch first, and let the watch know how fast it went."""
    from finetune import longest_batch

    emit("phase", name="probe", text="trying the longest batch")
    probe = longest_batch.run(trainer)
    trainer.reporter.watch.seconds_per_token = probe.seconds_per_token
    emit("probe", tokens=probe.tokens, seconds=round(probe.seconds, 4), memory=probe.memory)


def finish(trainer: Any, arguments: Any, config: TrainConfig, data: str, parts: Any, seconds: float) -> None:
    """Evaluate, save and report; or report that the run was stopped before its end."""
    state = trainer.state
    ended_early = bool(config.early_stopping) and evaluations_without_gain(state.log_history) >= config.early_stopping
    if state.global_step < state.max_steps and not ended_early:
        emit("phase", name="stopped", text=f"stopped at step {state.global_step} of {state.max_steps}")
        write_result("stopped", step=state.global_step, total_steps=state.max_steps)
        return
    if parts[1].input_ids and trainer.eval_loss_at(state.global_step) is None:
        trainer.evaluate()
    step, eval_loss = take_best(trainer, config)
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    figures = {
        "steps": state.global_step,
        "taken_step": step,
        "loss": losses[-1] if losses else None,
        "eval_loss": eval_loss,
        "tokens_per_second": trainer.reporter.mean_speed(),
        "seconds": round(seconds, 1),
        "memory": peak_memory(trainer.args.device.type),
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
    emit("phase", name="save", text=f"saving {arguments.output.name}")
    saving.save_result(trainer, arguments.output, card, adapter=config.method == "lora")
    write_result("done", **{"adapter" if config.method == "lora" else "model": arguments.output.name}, **figures)


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
