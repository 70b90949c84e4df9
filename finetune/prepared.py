"""Everything a training needs, made from its parameters: tokenizer, rows, model, adapter, trainer.

Nothing of it is trained here; finetune/train.py trains it, finetune/preflight.py probes it.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engines.config.families import Family
from engines.config.train import TrainConfig, check_together
from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.contract.estimate import check_steps, optimizer_steps
from engines.contract.events import emit
from finetune import base_model, methods, rows, saving
from finetune.gauges import Gauges
from finetune.watch import Watch

HELD_OUT_QUESTIONS = 2


def encode_parts(
    dialogs_of_parts: tuple[list[rows.Dialog], list[rows.Dialog]], tokenizer: Any, config: TrainConfig
) -> tuple[rows.Encoded, rows.Encoded]:
    """The rows to train on and the held-out ones, from `rows.read_parts`; what was cut or dropped is said."""
    parts = []
    for title, dialogs in zip(("training", "held-out"), dialogs_of_parts, strict=True):
        encoded = rows.encode(dialogs, tokenizer, config.max_seq_length)
        if encoded.shortened or encoded.dropped:
            emit(
                "warning",
                text=f"{title}: of {len(dialogs)} dialogs {encoded.shortened} were shortened to whole turns and "
                f"{encoded.dropped} left out, to fit {config.max_seq_length} tokens",
            )
        parts.append(encoded)
    refuse_nothing(parts[0])
    return parts[0], parts[1]


def refuse_nothing(training: rows.Encoded) -> None:
    """Raises UserError if no row is left to train on."""
    if not training.input_ids:
        raise UserError("bad_input", "no dialog is left to train on", "Raise max_seq_length or lower eval_share.")


def check_named(config: TrainConfig) -> None:
    """Raises UserError if something that the parameters name cannot be had; soon, before a model is loaded."""
    check_together(config)
    if config.report_to != "none" and not _is_installed(config.report_to):
        raise UserError(
            "not_ready",
            f"figures shall be reported to {config.report_to}, but its package is not installed",
            f"Install it in the training environment (pip install {config.report_to}), or set report_to none.",
        )
    if config.loss:
        methods.custom_loss(config.loss)


def training_arguments(
    config: TrainConfig, family: Family, device: str, precision: str, folder: Path, has_eval: bool
) -> Any:
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_epochs,
        max_steps=config.max_steps or -1,
        warmup_steps=min(config.warmup_ratio, math.nextafter(1, 0)),  # a share of all steps; 1 would be a single step
        lr_scheduler_type=config.lr_schedule,
        optim=methods.optimizer_name(config, family),
        max_grad_norm=config.max_grad_norm,
        weight_decay=config.weight_decay,
        activation_checkpointing=config.gradient_checkpointing,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device == "cpu",
        # Its kernels stand in for norms, rotations and gates; a loss of one's own wants logits, which it does not make.
        use_liger_kernel=device.startswith("cuda") and not config.loss and _is_installed("liger_kernel"),
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
        report_to=config.report_to,
    )


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


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
        Gauges(str(arguments.device)),
        patience=config.early_stopping,
        prompts=prompts,
        answer=ask,
    )
    methods.check_targets(model, config)
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
    )
    return trainer


def epochs_of(rows: int, config: TrainConfig) -> float:
    """How often the data is gone through, also where a number of steps decides."""
    if not config.max_steps:
        return config.num_epochs
    one = config.model_copy(update={"num_epochs": 1, "max_steps": 0})
    whole, steps = divmod(config.max_steps, optimizer_steps(rows, one))
    return round(whole + steps * config.rows_per_step / rows, 2)


@dataclass(frozen=True)
class Prepared:
    """A trainer with what is to be told of it. parts: training and held-out rows; data: the dataset's fingerprint."""

    trainer: Any
    parts: tuple[rows.Encoded, rows.Encoded]
    data: str
    told: dict[str, Any]


def prepare(dataset: Path, model: str, config: TrainConfig, folder: Path) -> Prepared:
    """Load the model and build the trainer whose checkpoints go to `folder`. Raises UserError for what cannot be."""
    check_named(config)
    base_model.check_packages(base_model.configuration(model).model_type, model)
    set_seed(config)
    device = base_model.choose_device(config.device)
    precision = base_model.choose_precision(config.precision, device)
    quantization = (
        base_model.choose_quantization(config.quantization, device, model) if config.method == "lora" else "none"
    )
    threads = base_model.set_threads()
    emit("phase", name="load", text=f"loading {model} on {device}, {precision}, quantization {quantization}")
    tokenizer = base_model.load_tokenizer(model, config.text_template)
    dialogs = rows.read_parts(dataset, config.eval_share)
    parts = encode_parts(dialogs, tokenizer, config)
    count = len(parts[0].input_ids)
    warning = check_steps(count, config)
    if warning:
        emit("warning", text=warning)
    family = base_model.family(model)
    if quantization == "none" and methods.optimizer_name(config, family) == "adamw_torch":
        base_model.leave_out_bitsandbytes()
    weights = "fp32" if config.method == "full" else precision  # what is trained is kept whole
    loaded = base_model.load_model(model, device, weights, quantization)
    data = fingerprints.of_dataset(dataset)
    trainer = build_trainer(
        loaded,
        tokenizer,
        config,
        family,
        training_arguments(config, family, device, precision, folder, bool(parts[1].input_ids)),
        parts,
        data,
        sample_prompts(config, dialogs[1]),
    )
    saving.check_disk(trainer, statefiles.make_private_dir(folder), config.keep_checkpoints)
    trainer.speed_up(precision)
    told = {
        "total_steps": optimizer_steps(count, config),
        "epochs": epochs_of(count, config),
        "rows": count,
        "eval_rows": len(parts[1].input_ids),
        "tokens_per_epoch": parts[0].tokens,
        "learned_tokens_per_epoch": parts[0].learned_tokens,
        "device": device,
        "precision": precision,
        "quantization": quantization,
        "threads": threads,
    }
    return Prepared(trainer, parts, data, told)
